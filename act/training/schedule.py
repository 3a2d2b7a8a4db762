"""How the learning rates change from step to step; constants as upstream."""

import math

from act.policies.warmup import warmup_factor
from act.training.flags import TrainingFlags


def lr_factor(config: TrainingFlags, step: int, steps: int) -> float:
    """What the learning rates are multiplied by at `step` of `steps`."""
    factor = warmup_factor(step, config.lr_warmup)
    if config.lr_schedule == "cosine":
        rest = max(1, steps - 1 - config.lr_warmup)
        factor *= 0.5 * (1 + math.cos(math.pi * min(1.0, max(0, step - config.lr_warmup) / rest)))
    return factor
