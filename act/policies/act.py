"""The policy ACT: the network with its losses.

B batch   C cameras   H, W pixels   K chunk   A action dims   Q qpos dims   E environment state dims
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from act.batches.batch import Samples
from act.network.act import ACT
from act.policies.act_flags import NUM_HEADS
from act.policies.flags import PolicyFlags
from act.policies.policy import Policy
from act.policies.registry import Shapes
from act.policies.warmup import warmup_factor

LATENT_DIM = 32  # upstream's


class ACTPolicy(Policy):
    """ACT with its losses: L1 of the chunk, and the KL divergence of the latent."""

    model: ACT
    kl_weight: Tensor

    def __init__(
        self, model: ACT, *, kl_weight: float, kl_warmup: int = 0, valid_only: bool = False
    ) -> None:
        """kl_warmup: training steps over which the weight grows from 0

        valid_only: the mean of l1 is over the steps that are not padded, not over all
        """
        super().__init__(model)
        self.chunk_size, self.latent_dim = model.chunk_size, model.latent_dim
        self.sizes = {"hidden_dim": model.hidden_dim, "dim_feedforward": model.dim_feedforward}
        titles = {"l1": "L1 error of the action chunk (normalised)"}
        if model.has_posterior:
            titles |= {"kl": "KL divergence of the latent"}
        weighted = f" + {kl_weight:g} x KL" if model.has_posterior else ""
        self.loss_titles = titles | {"loss": f"loss = L1{weighted}"}
        self.valid_only = valid_only
        self._full_kl_weight, self._kl_warmup = kl_weight, kl_warmup
        # a tensor, as it may change from step to step without the network being compiled again
        weight = torch.tensor(float(kl_weight), device="cpu")  # also where the rest has no values
        self.register_buffer("kl_weight", weight, persistent=False)

    def forward(
        self, qpos: Tensor, image: Tensor | None = None, env_state: Tensor | None = None
    ) -> Tensor:
        """qpos (B, Q) and env_state (B, E) normalised, image (B, C, H, W, 3) -> a_hat (B, K, A).

        a_hat is normalised; image and env_state are None where the policy has none.
        """
        frames = None if image is None else self.normalised(image)
        return self.model.predict(qpos, frames, env_state)

    def losses(self, batch: Samples) -> dict[str, Tensor]:
        action = batch.action[:, : self.chunk_size]
        is_pad = batch.is_pad[:, : self.chunk_size]
        weights = batch.loss_weights
        if weights is None:
            weights = torch.stack([batch.qpos.new_tensor(1 / len(action)), 1 / (~is_pad).sum()])
        sees = self.model.has_images
        image = self.normalised(batch.image, batch.augment) if sees else None
        a_hat, _, mu, logvar = self.model(
            batch.qpos, image, action, is_pad, batch.eps, batch.env_state
        )
        # Padded entries are zero but count in the mean, as upstream, unless `valid_only`.
        error = F.l1_loss(a_hat.float(), action, reduction="none") * ~is_pad[..., None]
        _, chunk_size, action_dim = action.shape
        values = chunk_size * action_dim
        mean = weights[1] / action_dim if self.valid_only else weights[0] / values
        l1 = error.sum() * mean
        if mu is None or logvar is None:
            return {"l1": l1, "loss": l1}
        mu, logvar = mu.float(), logvar.float()
        kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum() * weights[0]
        return {"l1": l1, "kl": kl, "loss": l1 + self.kl_weight * kl}

    def set_step(self, step: int | None) -> None:
        """Set the KL weight of a step; in validation it is the full one, so that losses compare."""
        if self._kl_warmup:
            factor = 1.0 if step is None else warmup_factor(step, self._kl_warmup)
            self.kl_weight.fill_(self._full_kl_weight * factor)

    def uncomputed_parameters(self) -> list[Tensor]:
        return self.model.uncomputed_parameters()


def build(flags: PolicyFlags, shapes: Shapes) -> ACTPolicy:
    """ACT as the flags say."""
    model = ACT(
        qpos_dim=shapes.qpos_dim,
        action_dim=shapes.action_dim,
        chunk_size=flags.chunk_size,
        hidden_dim=flags.hidden_dim,
        dim_feedforward=flags.dim_feedforward,
        num_heads=NUM_HEADS,
        enc_layers=flags.enc_layers,
        dec_layers=flags.dec_layers,
        dropout=flags.dropout,
        latent_dim=LATENT_DIM,
        decoder_output="first" if flags.decoder_output == "first" else "last",
        env_state_dim=shapes.env_state_dim,
        has_images=shapes.image_size is not None,
        has_posterior=flags.vae == "on",
    )
    return ACTPolicy(
        model,
        kl_weight=flags.kl_weight,
        kl_warmup=flags.kl_warmup,
        valid_only=flags.loss_norm == "valid",
    )
