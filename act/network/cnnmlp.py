"""CNNMLP, upstream's baseline: a backbone per camera and an MLP that predicts the next action.

B batch   C cameras   H, W pixels   A action dims   Q qpos dims

Attribute names are upstream's (tonyzhaozh/act), so that state dicts fit in both directions.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from act.network.backbone import (
    FEATURE_DIM,
    STRIDE,
    Backbone,
    feature_size,
    joined,
)

_CONV_KERNEL = 5
_CONV_DIMS = (FEATURE_DIM, 128, 64, 32)
_CONV_SHRINK = (len(_CONV_DIMS) - 1) * (_CONV_KERNEL - 1)


class CNNMLP(nn.Module):
    """Upstream's baseline: a backbone per camera and an MLP that predicts the next action."""

    def __init__(
        self, *, qpos_dim: int, action_dim: int, num_cameras: int, image_size: tuple[int, int]
    ) -> None:
        """image_size: (H, W), at least 385 each; raises ValueError below that."""
        super().__init__()
        num_features = num_cameras * _flattened_size(image_size)
        self.backbones = nn.ModuleList(joined(Backbone()) for _ in range(num_cameras))
        self.backbone_down_projs = nn.ModuleList(_down_proj() for _ in range(num_cameras))
        self.mlp = nn.Sequential(
            nn.Linear(num_features + qpos_dim, 1024),
            nn.ReLU(),
            nn.Linear(1024, 1024),
            nn.ReLU(),
            nn.Linear(1024, action_dim),
        )
        # never used, but upstream's checkpoints hold it; processes would wait for its gradient
        self.action_head = nn.Linear(1000, action_dim).requires_grad_(False)

    def forward(self, qpos: Tensor, image: Tensor) -> Tensor:
        """qpos (B, Q), image (B, C, 3, H, W), both normalised -> a_hat (B, A)."""
        cameras = zip(self.backbones, self.backbone_down_projs, image.unbind(1), strict=True)
        features = [down_proj(backbone(frame)).flatten(1) for backbone, down_proj, frame in cameras]
        return self.mlp(torch.cat([*features, qpos], dim=1))

    def drop_training_parts(self) -> None:
        """Let go of the head that is there for upstream's checkpoints alone."""
        del self.action_head


def _down_proj() -> nn.Sequential:
    """Three 5x5 convolutions, with nothing between them, as upstream."""
    dims = pairwise(_CONV_DIMS)
    return nn.Sequential(*(nn.Conv2d(before, after, _CONV_KERNEL) for before, after in dims))


def _flattened_size(image_size: tuple[int, int]) -> int:
    """How many features one camera gives the MLP: 768 at 480x640."""
    height, width = (size - _CONV_SHRINK for size in feature_size(*image_size))
    if height < 1 or width < 1:
        least = _CONV_SHRINK * STRIDE + 1
        raise ValueError(
            f"images are {image_size[0]}x{image_size[1]} (height x width), "
            f"expected at least {least}x{least} for CNNMLP; use ACT or larger images"
        )
    return _CONV_DIMS[-1] * height * width
