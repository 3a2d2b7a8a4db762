"""The network as one graph: an observation in the dataset's dims and units in, actions out.

B batch   C cameras   H, W pixels   K chunk   A action dims   Q state dims   E environment state
dims; all dims are the dataset's own, without padding.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from act.load.own_dims import Layout, own_dims
from act.load.source import Source
from act.load.torch_backend import load_network
from act.network.backbone import Backbone, FrozenNorm
from job.sections.contract import Contract, Vector
from job.sections.export import Tensor as TensorSection

_UNIT = "in the dataset's units"


class Graph(nn.Module):
    """Normalisation, image scaling, the network and de-normalisation, for batches of any size."""

    state: Tensor
    action: Tensor
    env_state: Tensor

    def __init__(self, source: Source, layout: Layout) -> None:
        """Raises UsageError where the checkpoint does not fit its contract."""
        super().__init__()
        contract = source.contract
        self.policy = load_network(source)
        _fold_norms(self.policy.model)
        self._layout, self._cameras = layout, len(contract.cameras)
        self._has_env_state = contract.env_state is not None
        found = contract.statistics.model_dump()
        for name in ("qpos", "action", "env_state"):
            mean, std = (found[f"{name}_{what}"] for what in ("mean", "std"))
            if mean is not None:
                self.register_buffer(name, torch.tensor([mean, std]), persistent=False)
        self._widths = {
            "qpos": own_width(contract.state),
            "action": own_width(contract.action),
            "env_state": own_width(contract.env_state) if contract.env_state else 0,
        }

    def forward(self, state: Tensor, *others: Tensor) -> Tensor:
        """state (B, Q), C images (B, H, W, 3) or (B, 3, H, W) uint8, env_state (B, E), as far as
        the policy has them -> actions (B, K, A).
        """
        inputs = [self._normalised("qpos", state)]
        if self._cameras:
            images = torch.stack(others[: self._cameras], dim=1)
            inputs.append(images.permute(0, 1, 3, 4, 2) if self._layout == "chw" else images)
        by_name = {}
        if self._has_env_state:
            by_name["env_state"] = self._normalised("env_state", others[-1])
        a_hat = self.policy(*inputs, **by_name)
        a_hat = a_hat[:, None] if a_hat.dim() == 2 else a_hat  # CNNMLP's one action
        mean, std = self.action[:, : self._widths["action"]]
        return a_hat[..., : self._widths["action"]] * std + mean

    def _normalised(self, name: str, values: Tensor) -> Tensor:
        """Padded as training padded it: with zeros, before it is normalised."""
        mean, std = getattr(self, name)
        padding = len(mean) - self._widths[name]
        return (nn.functional.pad(values, (0, padding)) - mean) / std


def own_width(vector: Vector) -> int:
    """How many dims are the dataset's; those that were added are the last."""
    return len(own_dims(vector))


def _fold_norms(model: nn.Module) -> None:
    """Put each frozen norm into its convolution.

    While training, which of the two is cheaper is asked at each step, by the size of the batch:
    a graph would keep one answer.
    """
    for joined in cast(Any, model).backbones if hasattr(model, "backbones") else ():
        joined[0] = _Folded(joined[0])


class _Folded(nn.Module):
    """A backbone whose norms are in its convolutions."""

    @torch.no_grad()
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        backbone(torch.zeros(1, 3, 32, 32), _fold)  # comes by each convolution and its norm

    def forward(self, image: Tensor) -> Tensor:
        """As `Backbone.forward`."""
        return self.backbone(image, _conv_alone)


def _fold(conv: nn.Conv2d, norm: FrozenNorm, x: Tensor) -> Tensor:
    weight = conv.weight * norm.scale[:, None, None, None]
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(norm.shift.clone(), requires_grad=False)
    return conv(x)


def _conv_alone(conv: nn.Conv2d, norm: FrozenNorm, x: Tensor) -> Tensor:
    return conv(x)


def example_inputs(contract: Contract, layout: Layout, batch: int) -> tuple[Tensor, ...]:
    """Tensors of the shapes that the graph takes."""
    made = []
    for section in inputs_of(contract, layout, batch):
        shape = [batch if isinstance(axis, str) else axis for axis in section.shape]
        made.append(torch.zeros(shape, dtype=getattr(torch, section.dtype)))
    return tuple(made)


def inputs_of(contract: Contract, layout: Layout, batch: int) -> list[TensorSection]:
    """What the graph takes, in order. batch: 0 = any number."""
    found = [_vector("state", contract.state, batch)]
    for camera in contract.cameras:
        size = [camera.height, camera.width]
        found.append(
            TensorSection(
                name=f"images/{camera.name}",
                dtype="uint8",
                shape=[batch or "batch", *([*size, 3] if layout == "hwc" else [3, *size])],
                dims=None,
                meaning="RGB image of that camera, values 0 to 255.",
            )
        )
    if contract.env_state is not None:
        found.append(_vector("env_state", contract.env_state, batch))
    return found


def output_of(contract: Contract, batch: int) -> TensorSection:
    """What the graph returns."""
    action = _vector("actions", contract.action, batch)
    shape = [action.shape[0], contract.action.chunk_size, action.shape[1]]
    meaning = f"The chunk: actions of the next control ticks, {_UNIT}."
    return action.model_copy(update={"shape": shape, "meaning": meaning})


def _vector(name: str, vector: Vector, batch: int) -> TensorSection:
    return TensorSection(
        name=name,
        dtype="float32",
        shape=[batch or "batch", own_width(vector)],
        dims=[dim.name for dim in own_dims(vector)],
        meaning=f"As recorded, {_UNIT}; nothing is normalised.",
    )
