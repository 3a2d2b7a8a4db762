"""What the loader gives and a policy takes: the tensors of some samples.

B batch   C cameras   H, W pixels   K chunk   L >= K steps   A action dims   Q qpos dims
E environment state dims   Z latent
"""

from dataclasses import dataclass

from torch import Tensor

from act.batches.order import Order


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What the losses of some samples are computed from."""

    qpos: Tensor  # (B, Q) normalised
    image: Tensor  # (B, C, H, W, 3), uint8 or float in [0, 1]; C is 0 where there is no camera
    action: Tensor  # (B, L, A) normalised
    is_pad: Tensor  # (B, L) bool, True at the padded time steps
    eps: Tensor  # (B, Z) standard normal, for the latent sample
    # (2,): 1 / samples and 1 / valid time steps of the whole step, of which this may be a part; the
    # losses of the parts then add up to those of the step. None: this is the whole.
    loss_weights: Tensor | None = None
    augment: Tensor | None = None  # (B, C, 7), changes to the images (act/batches/augmentation.py)
    env_state: Tensor | None = None  # (B, E) normalised; None: there is no environment state


@dataclass(frozen=True, kw_only=True)
class Batch(Samples):
    """The samples of a part of one step, and which part that is.

    The images of a batch are overwritten when the next batch is asked for.
    """

    order: Order  # which episodes and time steps
    step_samples: int  # of all processes
    ends_step: bool
