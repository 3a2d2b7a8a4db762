"""Policies: camera frames as they were recorded go in, losses or normalised actions come out.

B batch   C cameras   H, W pixels   K chunk   L >= K steps   A action dims   Q qpos dims   Z latent
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from act.batches.augmentation import kept, recoloured, shifted
from act.network.act import ACT, CNNMLP

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


class ACTPolicy(Policy):
    """ACT with its losses: L1 of the chunk, and the KL divergence of the latent."""

    loss_names = ("l1", "kl", "loss")
    model: ACT
    kl_weight: Tensor

    def __init__(
        self, model: ACT, *, kl_weight: float, valid_only: bool = False, recolours: bool = False
    ) -> None:
        """valid_only: the mean of l1 is over the steps that are not padded, not over all"""
        super().__init__(model, recolours=recolours)
        self.valid_only = valid_only
        # a tensor, as it may change from step to step without the network being compiled again
        self.register_buffer("kl_weight", torch.tensor(float(kl_weight)), persistent=False)

    def forward(self, qpos: Tensor, image: Tensor) -> Tensor:
        """qpos (B, Q) normalised, image (B, C, H, W, 3) -> a_hat (B, K, A) normalised."""
        a_hat, _, _, _ = self.model(qpos, self.normalised(image))
        return a_hat

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
        actions = actions[:, : self.model.chunk_size]
        is_pad = is_pad[:, : self.model.chunk_size]
        if share is None:
            share = torch.stack([qpos.new_tensor(1 / len(qpos)), 1 / (~is_pad).sum()])
        image = self.normalised(image, augment)
        a_hat, _, mu, logvar = self.model(qpos, image, actions, is_pad, eps)
        # Padded entries are zero but count in the mean, as upstream, unless `valid_only`.
        error = F.l1_loss(a_hat.float(), actions, reduction="none") * ~is_pad[..., None]
        _, chunk_size, action_dim = actions.shape
        mean = share[1] / action_dim if self.valid_only else share[0] / (chunk_size * action_dim)
        l1 = error.sum() * mean
        mu, logvar = mu.float(), logvar.float()
        kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum() * share[0]
        return {"l1": l1, "kl": kl, "loss": l1 + self.kl_weight * kl}

    def uncomputed_parameters(self) -> list[Tensor]:
        return self.model.uncomputed_parameters()


class CNNMLPPolicy(Policy):
    """CNNMLP with its loss: the squared error of the first action."""

    loss_names = ("mse", "loss")
    model: CNNMLP

    def forward(self, qpos: Tensor, image: Tensor) -> Tensor:
        """qpos (B, Q) normalised, image (B, C, H, W, 3) -> a_hat (B, A) normalised."""
        return self.model(qpos, self.normalised(image))

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
        """As `Policy.losses`; the first action is never padding, so is_pad and eps are not used."""
        a_hat = self.model(qpos, self.normalised(image, augment)).float()
        mean = (1 / len(qpos) if share is None else share[0]) / actions.shape[2]
        mse = F.mse_loss(a_hat, actions[:, 0], reduction="none").sum() * mean
        return {"mse": mse, "loss": mse}
