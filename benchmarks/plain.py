"""The plain path: what upstream ACT does with the hardware, as a yardstick. Never used in training.

A file opened for each item, floats made on the host, cameras through the backbone one by one with
norms of their own, attention spelled out, every decoder layer computed, AdamW parameter by
parameter. The weights, and with dropout 0 the numbers, are those of the network in `act/`.
"""

import math

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from act.batches.order import Order, Purpose, epoch_order
from act.batches.vectors import VectorStore
from act.network.act import ACT
from act.network.backbone import Backbone
from act.network.position import image_position
from act.network.transformer import Attention, Decoder
from act.policies.act import ACTPolicy
from act.policies.policy import Policy
from act.policies.statistics import norm_stats
from episodes.arrays import FloatArray
from episodes.episode_set import Episodes
from episodes.jpeg import decode_jpeg


def plain_loader(
    episodes: Episodes, batch: int, count: int, chunk_size: int, *, pinned: bool = False
) -> DataLoader[tuple[Tensor, ...]]:
    """Upstream's loader of `count` batches: a process of its own, started for each epoch."""
    chosen = list(range(len(episodes.infos)))
    chosen *= -(-count * batch // len(chosen))
    order = epoch_order(chosen, episodes.lengths, 0, 0, Purpose.TRAIN_ORDER)
    order = Order(order.episode[: count * batch], order.start_ts[: count * batch])
    items = PlainItems(episodes, norm_stats(episodes), order, chunk_size)
    return DataLoader(items, batch, num_workers=1, prefetch_factor=1, pin_memory=pinned)


class PlainItems(torch.utils.data.Dataset[tuple[Tensor, ...]]):
    """Samples as upstream's dataset gives them: image (C, 3, H, W) float32 in [0, 1], qpos, …"""

    def __init__(
        self, episodes: Episodes, stats: dict[str, FloatArray], order: Order, chunk_size: int
    ) -> None:
        self._episodes = episodes
        self._vectors = VectorStore(episodes, stats, chunk_size)
        self._order = order

    def __len__(self) -> int:
        return len(self._order.episode)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        order = Order(self._order.episode[[index]], self._order.start_ts[[index]])
        episode, ts = int(order.episode[0]), int(order.start_ts[0])
        info = self._episodes.infos[episode]
        with h5py.File(info.path, "r") as file:
            names = self._episodes.camera_names
            images = [file[f"observations/images/{name}"][ts] for name in names]
            if info.compressed:
                images = [decode_jpeg(row) for row in images]
            file["action"][()]  # upstream reads the whole of it for each item
        image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255.0
        vectors = self._vectors.gather(order)
        small = (vectors.qpos[0], vectors.action[0], vectors.is_pad[0])
        return image, *map(torch.from_numpy, small)


def make_plain(policy: Policy) -> Policy:
    """Have a policy compute the plain way from now on, with the same weights."""
    for module in policy.modules():
        plain = _PLAIN.get(type(module))
        if plain is not None:
            module.__class__ = plain
    return policy.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


class _PlainPolicy(ACTPolicy):
    def normalised(self, image: Tensor, augment: Tensor | None = None) -> Tensor:
        return (image - self.image_mean) / self.image_std  # (B, C, 3, H, W) in [0, 1] already


class _PlainACT(ACT):
    def image_tokens(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = [self.input_proj(self.backbones[0](frame)) for frame in image.unbind(1)]
        _, hidden_dim, height, width = features[0].shape
        pos = image_position(height, width, hidden_dim, image.device).repeat(1, len(features), 1)
        return torch.cat(features, dim=3).flatten(2).transpose(1, 2), pos.flatten(0, 1)


class _PlainBackbone(Backbone):
    def forward(self, image: Tensor, conv_norm: object = None) -> Tensor:
        return self.body(image)


class _PlainAttention(Attention):
    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        inputs = zip(
            (query, key, value),
            self.in_proj_weight.chunk(3),
            self.in_proj_bias.chunk(3),
            strict=True,
        )
        q, k, v = (self._split_heads(F.linear(*one)) for one in inputs)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        dropout = self.dropout if self.training else 0.0
        weights = F.dropout(scores.softmax(dim=-1), dropout)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))


class _PlainDecoder(Decoder):
    def forward(self, query_pos: Tensor, memory: Tensor, pos: Tensor) -> Tensor:
        x = memory.new_zeros(memory.shape[0], *query_pos.shape)
        outputs = []
        for layer in self.layers:
            x = layer(x, query_pos, memory, pos)
            outputs.append(self.norm(x))
        return torch.stack(outputs)[0]


_PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    ACTPolicy: _PlainPolicy,
    ACT: _PlainACT,
    Backbone: _PlainBackbone,
    Attention: _PlainAttention,
    Decoder: _PlainDecoder,
}
