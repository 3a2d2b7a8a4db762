"""How learning rates and the KL weight change from step to step; constants as upstream."""

import math

from act.training.flags import TrainingFlags


def lr_factor(config: TrainingFlags, step: int, steps: int) -> float:
    """What the learning rates are multiplied by at `step` of `steps`."""
    factor = _grown(step, config.lr_warmup)
    if config.lr_schedule == "cosine":
        rest = max(1, steps - 1 - config.lr_warmup)
        factor *= 0.5 * (1 + math.cos(math.pi * min(1.0, max(0, step - config.lr_warmup) / rest)))
    return factor


def kl_factor(config: TrainingFlags, step: int) -> float:
    """What the weight of the KL term is multiplied by at `step`."""
    return _grown(step, config.kl_warmup)


def _grown(step: int, over: int) -> float:
    return min(1.0, (step + 1) / over) if over else 1.0
