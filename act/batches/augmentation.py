"""Changes to the training images: drawn on the host, applied on the device.

What is drawn is a function of (seed, epoch) alone, so it does not depend on the device or on the
number of processes. Each image of a sample has its own changes, as cameras see different light.
B batch   C cameras   H, W pixels
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from episodes.arrays import FloatArray

# What stands in the last dimension of what is drawn.
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _DOWN, _RIGHT, _KEEP = range(7)
_GRAY = (0.2989, 0.587, 0.114)  # torchvision's weights


@dataclass(frozen=True)
class Augmentation:
    """How far the changes may go; 0 everywhere is none."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # part of a turn
    shift: int = 0  # pixels
    camera_dropout: float = 0.0

    @property
    def is_active(self) -> bool:
        """Whether anything is changed at all."""
        return any(vars(self).values())

    @property
    def recolours(self) -> bool:
        """Whether colours are changed."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))

    def draw(self, random: np.random.Generator, samples: int, cameras: int) -> FloatArray:
        """The changes of each image: (samples, cameras, 7), for `augmented` and `kept`."""
        unit = random.uniform(-1, 1, (samples, cameras, 6))
        kept = random.random((samples, cameras)) >= self.camera_dropout
        kept[np.arange(samples), random.integers(cameras, size=samples)] |= ~kept.any(axis=1)
        drawn = np.empty((samples, cameras, 7), np.float32)
        drawn[..., _BRIGHTNESS] = 1 + self.brightness * unit[..., 0]
        drawn[..., _CONTRAST] = 1 + self.contrast * unit[..., 1]
        drawn[..., _SATURATION] = 1 + self.saturation * unit[..., 2]
        drawn[..., _HUE] = self.hue * unit[..., 3]
        drawn[..., (_DOWN, _RIGHT)] = np.rint(self.shift * unit[..., 4:])
        drawn[..., _KEEP] = kept
        return drawn


def shifted(image: Tensor, drawn: Tensor) -> Tensor:
    """Move each image by whole pixels, its border repeated into what is uncovered.

    image (B, C, H, W, 3) of any type, drawn (B, C, 7)
    """
    _, _, height, width, _ = image.shape
    rows = _moved(height, drawn[..., _DOWN])
    columns = _moved(width, drawn[..., _RIGHT])
    samples = torch.arange(image.shape[0], device=image.device)[:, None, None, None]
    cameras = torch.arange(image.shape[1], device=image.device)[None, :, None, None]
    return image[samples, cameras, rows[..., :, None], columns[..., None, :]]


def _moved(size: int, by: Tensor) -> Tensor:
    """Where each of `size` pixels comes from: (B, C, size)."""
    places = torch.arange(size, device=by.device)
    return (places - by.long()[..., None]).clamp(0, size - 1)


def recoloured(image: Tensor, drawn: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue, in this order, each clamped to [0, 1].

    image (B, C, 3, H, W) in [0, 1], drawn (B, C, 7). The first three are torchvision's; hue is a
    rotation about the axis of greys, which keeps the mean of red, green and blue.
    """
    factors = drawn[..., None, None, None]
    image = (image * factors[:, :, _BRIGHTNESS]).clamp(0, 1)
    mean = _gray(image).mean(dim=(-3, -2, -1), keepdim=True)
    image = _blend(image, mean, factors[:, :, _CONTRAST])
    image = _blend(image, _gray(image), factors[:, :, _SATURATION])
    return torch.einsum("bcij,bcjhw->bcihw", _rotation(drawn[..., _HUE]), image).clamp(0, 1)


def _gray(image: Tensor) -> Tensor:
    red, green, blue = image.unbind(2)
    return (_GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue).unsqueeze(2)


def _blend(image: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (factor * image + (1 - factor) * other).clamp(0, 1)


def _rotation(turns: Tensor) -> Tensor:
    """(B, C) turns to (B, C, 3, 3): rotations about the axis (1, 1, 1)."""
    angle = 2 * math.pi * turns
    cos, sin = angle.cos(), angle.sin() / math.sqrt(3)
    same, minus, plus = (1 + 2 * cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    rows = [same, minus, plus, plus, same, minus, minus, plus, same]  # made where `turns` lies
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def kept(image: Tensor, drawn: Tensor) -> Tensor:
    """Blank the dropped cameras of normalised images (B, C, 3, H, W): ImageNet's mean colour."""
    return image * drawn[..., _KEEP, None, None, None]
