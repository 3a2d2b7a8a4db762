"""What is padding: of the action chunks how much, of the dims which."""

from collections.abc import Sequence

import numpy as np


def padding_share(lengths: Sequence[int], chunk_size: int) -> float:
    """The share of a chunk's steps behind the end of its episode.

    It is the average over all start steps of an episode, then over the episodes: training takes
    one random step of each. lengths: time steps of each episode, each above 0
    """
    steps = np.asarray(lengths, dtype=np.float64)
    short = np.minimum(steps, chunk_size)
    valid = short * (short + 1) / 2 / steps + chunk_size * (steps - short) / steps
    return float(1 - valid.mean() / chunk_size)


def padding_names(count: int) -> tuple[str, ...]:
    """The names of dims that were added to a vector, which are 0 throughout."""
    return tuple(f"padding[{i}]" for i in range(count))


def recorded_dims(names: Sequence[str] | None, width: int) -> int:
    """How many of a vector's dims were recorded; those that were added are the last."""
    if names is None:
        return width
    added = next(n for n in range(width, -1, -1) if tuple(names[width - n :]) == padding_names(n))
    return width - added
