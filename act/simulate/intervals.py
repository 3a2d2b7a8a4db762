"""How sure a rate is, and whether two rates differ."""

import math
from collections.abc import Sequence

from job.sections.simulation import Rate

_Z = 1.959963984540054  # 97.5 % of the normal distribution lie below


def rate_of(happened: Sequence[bool]) -> Rate:
    """A rate with its 95 % Wilson interval, which stays within 0 and 1 also for few episodes."""
    count, of = sum(happened), len(happened)
    share = count / of
    scale = 1 + _Z**2 / of
    middle = (share + _Z**2 / (2 * of)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / of + _Z**2 / (4 * of**2))
    low = 0.0 if count == 0 else middle - half  # exactly, where rounding would leave 1e-17
    high = 1.0 if count == of else middle + half
    return Rate(count=count, of=of, rate=share, low=low, high=high)


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value of McNemar's exact test.

    Of the initial states on which one of two alone succeeded, each would have had half, were they
    the same: a binomial test.
    """
    differing = only_first + only_second
    fewer = min(only_first, only_second)
    below = sum(math.comb(differing, count) for count in range(fewer + 1))
    return min(1.0, 2 * below / 2**differing)
