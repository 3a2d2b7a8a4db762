"""95 % confidence intervals by bootstrap over episodes: frames of one are not independent."""

import numpy as np
from numpy.typing import NDArray

from job.sections.evaluation import Interval

_DRAWS, _SEED = 2000, 0
_ENDS = 2.5, 97.5
_FEW = 3  # episodes, below which drawing them again says nothing
# Drawing few episodes again makes intervals too narrow (75 % instead of 95 % with 3 of them), so
# they are widened as Student's are: the 97.5 % points of t for 2, 3, … degrees of freedom
_Z = 1.95996
_T = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145)


def interval(values: NDArray[np.float64]) -> Interval:
    """The mean of one value for each episode, with its interval; the same each time."""
    mean = float(values.mean())
    if len(values) < _FEW:
        return Interval(mean=mean, low=None, high=None)
    drawn = np.random.default_rng(_SEED).integers(0, len(values), (_DRAWS, len(values)))
    ends = np.percentile(values[drawn].mean(axis=1), _ENDS)
    low, high = mean + (ends - mean) * _widened(len(values))
    return Interval(mean=mean, low=float(low), high=float(high))


def _widened(count: int) -> float:
    """By what the interval of so many values is to be widened."""
    place = count - _FEW
    t = _T[place] if place < len(_T) else _Z + 2.4 / (count - 1)  # to 0.01 from there on
    return float(t / _Z * np.sqrt(count / (count - 1)))
