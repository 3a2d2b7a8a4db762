"""Which dataset each sample of a training is of, where datasets do not count by their episodes.

The n-th sample of a training is of the dataset in whose share of 0 to 1 the fractional part of n
times the golden ratio falls. Such a sequence keeps each dataset's count within a few samples of its
share at any moment, needs no memory, and is the same on any number of processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from episodes.arrays import IntArray

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Shares:
    """The share of each dataset in the samples, and the dataset of each episode."""

    weights: tuple[float, ...]  # their sum is 1
    dataset: tuple[int, ...]  # of each episode, by its number

    def draw(
        self, chosen: Sequence[int], count: int, epoch: int, random: np.random.Generator
    ) -> IntArray:
        """The episodes of an epoch's samples (count,), shuffled.

        Within a dataset each chosen episode comes equally often, or once more.
        """
        numbers = np.arange(epoch * count, (epoch + 1) * count, dtype=np.float64)
        places = np.modf((numbers + 0.5) * _GOLDEN)[0]
        of = np.searchsorted(np.cumsum(self.weights)[:-1], places, side="right")
        drawn = [
            self._of_dataset(number, chosen, int((of == number).sum()), random)
            for number in range(len(self.weights))
        ]
        return random.permutation(np.concatenate(drawn))

    def _of_dataset(
        self, number: int, chosen: Sequence[int], count: int, random: np.random.Generator
    ) -> IntArray:
        mine = np.array([one for one in chosen if self.dataset[one] == number], np.int64)
        rounds = [random.permutation(mine) for _ in range(-(-count // max(1, len(mine))))]
        return np.concatenate([np.empty(0, np.int64), *rounds])[:count]


def shares_by_temperature(episodes: Sequence[int], temperature: float) -> tuple[float, ...]:
    """The shares of datasets of so many training episodes: their numbers to the power 1 / T.

    1 is as their episodes are; the higher, the more alike.
    """
    powers = np.array(episodes, np.float64) ** (1 / temperature)
    return tuple((powers / powers.sum()).tolist())
