"""The policy CNNMLP: upstream's baseline with its loss.

B batch   C cameras   H, W pixels   A action dims   Q qpos dims
"""

from torch import Tensor
from torch.nn import functional as F

from act.network.cnnmlp import CNNMLP
from act.policies.policy import Policy


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
