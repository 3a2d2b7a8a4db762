"""How the learning rates change from step to step; constants as upstream."""

import math

from act.policies.warmup import warmup_factor
from act.training.flags import TrainingFlags


def lr_factor(flags: TrainingFlags, step: int, steps: int) -> float:
    """What the learning rates are multiplied by at `step` of `steps`."""
    factor = warmup_factor(step, flags.lr_warmup)
    if flags.lr_schedule == "cosine":
        rest = max(1, steps - 1 - flags.lr_warmup)
        factor *= 0.5 * (1 + math.cos(math.pi * min(1.0, max(0, step - flags.lr_warmup) / rest)))
    return factor
