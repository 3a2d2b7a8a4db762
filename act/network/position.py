"""Sine position encodings: constants, computed once.

D hidden   K chunk   h, w size of a feature map
"""

import functools

import torch
from torch import Tensor

_TEMPERATURE = 10_000.0
_EPS = 1e-6  # keeps upstream's last bits; no division by zero is possible here


def sequence_position(length: int, hidden_dim: int) -> Tensor:
    """The 1-D encoding of the time steps 0, 1, ...: (length, D) float32."""
    return _sine(torch.arange(length, dtype=torch.float64), hidden_dim).float()


# A constant of the graph under torch.compile, which would otherwise recompute it at every step.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def image_position(height: int, width: int, hidden_dim: int, device: torch.device) -> Tensor:
    """The 2-D encoding of a feature map: (h, w, D) float32, rows in the first D / 2 features."""
    return _image_position(height, width, hidden_dim, device)


@functools.lru_cache(maxsize=8)
def _image_position(height: int, width: int, hidden_dim: int, device: torch.device) -> Tensor:
    # Validation comes first, and autograd refuses to save a tensor born in inference mode.
    with torch.inference_mode(False):
        rows = _sine(_full_turn(height), hidden_dim // 2)
        columns = _sine(_full_turn(width), hidden_dim // 2)
        size = (height, width, hidden_dim // 2)
        grid = torch.cat([rows[:, None].expand(size), columns.expand(size)], dim=-1)
        return grid.float().to(device)


def _full_turn(length: int) -> Tensor:
    """`length` equal steps that end at 2 pi: (length,) float64."""
    steps = torch.arange(1, length + 1, dtype=torch.float64)
    return steps / (length + _EPS) * (2 * torch.pi)


def _sine(position: Tensor, dim: int) -> Tensor:
    """Sine and cosine in turn, wavelengths from 2 pi to 20000 pi: (n,) -> (n, dim)."""
    wavelength = _TEMPERATURE ** (torch.arange(0, dim, 2, dtype=position.dtype) / dim)
    angle = position[:, None] / wavelength
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
