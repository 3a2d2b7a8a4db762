"""95 % confidence intervals by bootstrap over episodes: frames of one are not independent."""

import numpy as np
from numpy.typing import NDArray

from job.sections.evaluation import Interval

_DRAWS, _SEED = 2000, 0
_ENDS = 2.5, 97.5
_FEW = 3  # episodes, below which drawing them again says nothing


def interval(values: NDArray[np.float64]) -> Interval:
    """The mean of one value for each episode, with its interval; the same each time."""
    mean = float(values.mean())
    if len(values) < _FEW:
        return Interval(mean=mean, low=None, high=None)
    drawn = np.random.default_rng(_SEED).integers(0, len(values), (_DRAWS, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), _ENDS)
    return Interval(mean=mean, low=float(low), high=float(high))
