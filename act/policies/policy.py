"""What the policies share: camera frames as recorded go in, losses or normalised actions come out.

B batch   C cameras   H, W pixels   K chunk   L >= K steps   A action dims   Q qpos dims   Z latent
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from act.batches.augmentation import kept, recoloured, shifted
from act.network.act import ACT
from act.network.cnnmlp import CNNMLP

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Policy(nn.Module):
    """What the policies share: image normalisation and the split of the parameters."""

    loss_names: ClassVar[tuple[str, ...]]
    model: ACT | CNNMLP
    image_mean: Tensor
    image_std: Tensor

    def __init__(self, model: ACT | CNNMLP, *, recolours: bool = False) -> None:
        """recolours: whether drawn changes of colour are anything but 1 and 0"""
        super().__init__()
        self.recolours = recolours
        # Frames lie as (H, W, 3); convolutions in that layout need no copy of them.
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, value in (("image_mean", IMAGENET_MEAN), ("image_std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)

    def losses(
        self,
        qpos: Tensor,
        image: Tensor,
        actions: Tensor,
        is_pad: Tensor,
        eps: Tensor,
        share: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The scalars named in `loss_names`, of which `loss` is the one to minimise.

        qpos (B, Q) and actions (B, L, A), both normalised
        image (B, C, H, W, 3), uint8 or float in [0, 1]
        is_pad (B, L) bool, True at the padded time steps; eps (B, Z) standard normal
        share (2,): 1 / samples and 1 / valid time steps of the whole step, of which this may be a
            part; the parts' losses then add up to the step's. None: this is the whole
        augment (B, C, 7): changes to the images (act/batches/augmentation.py)
        """
        raise NotImplementedError

    def normalised(self, image: Tensor, augment: Tensor | None = None) -> Tensor:
        """(B, C, H, W, 3) uint8 or float in [0, 1] -> (B, C, 3, H, W) with ImageNet's statistics.

        The result keeps the order of the values in memory: it is channels-last.
        """
        if augment is not None:
            image = shifted(image, augment)
        image = image.permute(0, 1, 4, 2, 3)
        if image.dtype == torch.uint8:
            image = image / 255
        if augment is not None and self.recolours:
            image = recoloured(image, augment)
        image = (image - self.image_mean) / self.image_std
        return image if augment is None else kept(image, augment)

    def parameter_groups(self, lr: float, lr_backbone: float) -> list[dict[str, Any]]:
        """AdamW's groups, without the parameters that only `decay_uncomputed` moves."""
        uncomputed = set(self.uncomputed_parameters())
        groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad and parameter not in uncomputed:
                groups["backbone" in name].append(parameter)
        return [{"params": groups[False], "lr": lr}, {"params": groups[True], "lr": lr_backbone}]

    def uncomputed_parameters(self) -> list[Tensor]:
        """The parameters that upstream computes to no effect, and this network not at all."""
        return []

    @torch.no_grad()
    def decay_uncomputed(self, lr: float, weight_decay: float) -> None:
        """Do to `uncomputed_parameters` what an optimizer step of upstream does, to the last bit.

        Their gradient is zero there, and so are both moments: of AdamW only the decay is left.
        """
        factor = 1 - lr * weight_decay
        if torch.tensor(factor, dtype=torch.float32) == 1:
            return  # below float32's resolution: at upstream's lr 1e-5 the product is the weight
        if uncomputed := self.uncomputed_parameters():
            torch._foreach_mul_(uncomputed, factor)
