"""The policy CNNMLP: upstream's baseline with its loss.

B batch   C cameras   H, W pixels   A action dims   Q qpos dims
"""

from torch import Tensor
from torch.nn import functional as F

from act.batches.batch import Samples
from act.network.cnnmlp import CNNMLP
from act.policies.flags import PolicyFlags
from act.policies.policy import Policy
from act.policies.registry import Shapes
from job.errors import UsageError


class CNNMLPPolicy(Policy):
    """CNNMLP with its loss: the squared error of the first action."""

    model: CNNMLP

    def __init__(self, model: CNNMLP) -> None:
        super().__init__(model)
        self.chunk_size, self.latent_dim = 1, 0
        self.sizes = {}  # none to choose
        self.loss_titles = {
            "mse": "Squared error of the next action (normalised)",
            "loss": "loss = squared error of the next action",
        }

    def forward(self, qpos: Tensor, image: Tensor) -> Tensor:
        """qpos (B, Q) normalised, image (B, C, H, W, 3) -> a_hat (B, A) normalised."""
        return self.model(qpos, self.normalised(image))

    def losses(self, batch: Samples) -> dict[str, Tensor]:
        """As `Policy.losses`; the first action is never padding, so `is_pad` is not read."""
        a_hat = self.model(batch.qpos, self.normalised(batch.image, batch.augment)).float()
        samples = 1 / len(a_hat) if batch.loss_weights is None else batch.loss_weights[0]
        mean = samples / batch.action.shape[2]
        mse = F.mse_loss(a_hat, batch.action[:, 0], reduction="none").sum() * mean
        return {"mse": mse, "loss": mse}


def build(flags: PolicyFlags, shapes: Shapes) -> CNNMLPPolicy:
    """CNNMLP for those shapes; raises UsageError for images that are too small."""
    assert shapes.image_size is not None, "the flags have refused a run without cameras"
    try:
        model = CNNMLP(
            qpos_dim=shapes.qpos_dim,
            action_dim=shapes.action_dim,
            num_cameras=shapes.num_cameras,
            image_size=shapes.image_size,
        )
    except ValueError as error:
        raise UsageError(
            f"--policy_class {flags.policy_class}: {error}", code="image-too-small"
        ) from error
    return CNNMLPPolicy(model)
