"""A value that grows from 0 over the first steps of training: learning rates, the KL weight."""


def warmup_factor(step: int, steps: int) -> float:
    """What the value is multiplied by at `step`, where it grows over `steps`; 0 steps: at once."""
    return min(1.0, (step + 1) / steps) if steps else 1.0
