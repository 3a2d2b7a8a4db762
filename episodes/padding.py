"""How much of the action chunks is padding."""

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
