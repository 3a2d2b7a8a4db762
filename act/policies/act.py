"""The policy ACT: the network with its losses.

B batch   C cameras   H, W pixels   K chunk   A action dims   Q qpos dims
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from act.network.act import ACT
from act.policies.policy import Policy


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
