"""Frozen batch norm without ImageNet's statistics: taken from frames of the dataset instead.

At the identity, where the constructor leaves it, activations grow from layer to layer, and such a
network learns badly.
"""

import contextlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from act.batches.order import Purpose, rng
from act.network.backbone import Backbone, FrozenNorm
from act.policies.policy import Policy
from episodes.episode_set import Episodes
from episodes.frames import FrameSource, open_frames

FRAMES = 256
_WINDOW_PX = 160  # larger images are seen through a window of this size, for memory


@torch.no_grad()
def set_statistics(
    policy: Policy, episodes: Episodes, chosen: list[int], seed: int, device: torch.device
) -> None:
    """Set every frozen norm to the mean and variance of what reaches it from FRAMES frames."""
    image = policy.normalised(_frames(episodes, chosen, seed).to(device))
    backbones = [module for module in policy.modules() if isinstance(module, Backbone)]
    parts = [image] if len(backbones) == 1 else [image[:, [c]] for c in range(len(backbones))]
    for backbone, part in zip(backbones, parts, strict=True):  # CNNMLP has one for each camera
        backbone(part.flatten(0, 1), _conv_fitted_norm)  # each norm set before it is used


def _frames(episodes: Episodes, chosen: list[int], seed: int) -> Tensor:
    """(B, C, h, w, 3) uint8, at random places of random frames."""
    with contextlib.closing(open_frames(episodes)) as source:
        return torch.from_numpy(_crops(source, episodes, chosen, rng(seed, 0, Purpose.BATCH_NORM)))


def _crops(
    source: FrameSource, episodes: Episodes, chosen: list[int], random: np.random.Generator
) -> NDArray[np.uint8]:
    cameras, height, width, _ = source.shape
    samples = -(-FRAMES // cameras)
    episode = random.choice(np.asarray(chosen), samples)
    ts = random.integers(0, np.asarray(episodes.lengths)[episode])
    size = (min(height, _WINDOW_PX), min(width, _WINDOW_PX))
    crops = np.empty((samples, cameras, *size, 3), np.uint8)
    whole = np.empty((1, *source.shape), np.uint8)
    for sample in range(samples):
        source.copy_into(episode[[sample]], ts[[sample]], whole)
        top = random.integers(0, height - size[0] + 1)
        left = random.integers(0, width - size[1] + 1)
        crops[sample] = whole[0, :, top : top + size[0], left : left + size[1]]
    return crops


def _conv_fitted_norm(conv: nn.Conv2d, norm: FrozenNorm, x: Tensor) -> Tensor:
    found = conv(x)
    norm.running_mean.copy_(found.mean(dim=(0, 2, 3)))
    norm.running_var.copy_(found.var(dim=(0, 2, 3), correction=0))
    norm.fold()
    return norm(found)
