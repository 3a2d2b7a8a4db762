"""Where the decoder layer that feeds the heads attends: to latent, state, and places of cameras.

B batch   K chunk   S tokens   C cameras   h, w size of a feature map
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from act.load.torch_backend import TorchBackend
from act.network.act import ACT
from act.network.transformer import Attention
from episodes.arrays import FloatArray, Frame
from job.sections.look import AttentionShares

_STRIDE = 32  # pixels of an image for each of a ResNet's features


@dataclass(frozen=True)
class Attended:
    """The weights of the tokens, the mean of heads and queries."""

    weights: FloatArray  # (B, S)
    vectors: int  # tokens before the images: latent, state, environment state
    cameras: tuple[str, ...]
    size: tuple[int, int]  # h, w
    images: Frame | None = None  # (B, C, H, W, 3) that were shown

    def shares(self) -> AttentionShares:
        """The section."""
        mean = self.weights.mean(axis=0)
        of_cameras = self.maps().mean(axis=0).sum(axis=(1, 2)) if self.cameras else []
        return AttentionShares(
            latent=_share(mean[0]),
            state=_share(mean[1]),
            env_state=_share(mean[2]) if self.vectors > 2 else None,
            cameras={name: _share(one) for name, one in zip(self.cameras, of_cameras, strict=True)},
        )

    def maps(self) -> FloatArray:
        """(B, C, h, w): the weight of each place of each camera."""
        height, width = self.size
        images = self.weights[:, self.vectors :]
        in_rows = images.reshape(len(images), height, len(self.cameras), width)
        return in_rows.transpose(0, 2, 1, 3)


def _share(value: Any) -> float:
    return min(1.0, float(value))  # sums of rounded shares


def attended(
    backend: TorchBackend, state: FloatArray, images: Frame | None, env_state: FloatArray | None
) -> Attended | None:
    """Ask the policy once, and look at the attention; None for a policy without it.

    state (B, Q), images (B, C, H, W, 3), env_state (B, E): as `Backend.infer` takes them
    """
    model = backend.policy.model
    if not isinstance(model, ACT):
        return None
    decoder = model.transformer.decoder
    seen: list[FloatArray] = []

    def keep(layer: Attention, inputs: tuple[Any, ...]) -> None:
        seen.append(_weights(layer, *inputs[:2]).float().cpu().numpy())

    layer = decoder.layers[decoder.num_computed - 1].multihead_attn
    assert isinstance(layer, Attention)
    handle = layer.register_forward_pre_hook(keep)
    try:
        backend.infer(state, images, env_state)
    finally:
        handle.remove()
    cameras = tuple(camera.name for camera in backend.source.contract.cameras)
    size = (0, 0) if images is None else tuple(-(-side // _STRIDE) for side in images.shape[2:4])
    vectors = 2 if env_state is None else 3
    return Attended(seen[0], vectors, cameras, (size[0], size[1]), images)


def _weights(layer: Attention, query: Tensor, key: Tensor) -> Tensor:
    """(B, S): what `layer` weighs its values by, the mean of heads and queries."""
    weights, biases = layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
    q, k = (
        F.linear(x, weight, bias).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
        for x, weight, bias in zip((query, key), weights[:2], biases[:2], strict=True)
    )
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return torch.softmax(scores.float(), dim=-1).mean(dim=(1, 2))
