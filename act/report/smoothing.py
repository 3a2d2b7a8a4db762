"""The running mean of a curve."""

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]

_WINDOW_SHARE = 1 / 40  # of the epochs, on each side: what the running mean goes over


def smoothed(values: Curve) -> Curve:
    """The mean of each value and its neighbours.

    At the start, where losses fall, as many before as after; at the end those before are enough.
    """
    reach = max(1, round(len(values) * _WINDOW_SHARE))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    before = np.minimum(reach, place)
    after = np.minimum(before, place[::-1])
    return (sums[place + after + 1] - sums[place - before]) / (before + after + 1)
