"""How chunks become one action per control tick: open loop, or temporal ensembling.

K chunk   A action dims
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from episodes.arrays import FloatArray

Query = Callable[[], FloatArray]  # predicts a chunk (K, A), whose first action is for now


class Execution(Protocol):
    """What is executed at each tick, from chunks that are predicted as they are needed."""

    @property
    def query_ticks(self) -> int:
        """From one query to the next."""

    def step(self, query: Query) -> FloatArray:
        """The action (A,) of this tick; asks for a chunk at most once."""

    def reset(self) -> None:
        """Forget what was predicted: another episode begins."""


class OpenLoop:
    """A chunk is executed from its first action on, then the next one is predicted."""

    def __init__(self, horizon: int) -> None:
        """horizon: actions of each chunk that are executed, at most K"""
        self._horizon = horizon
        self.reset()

    @property
    def query_ticks(self) -> int:
        """As `Execution` has it."""
        return self._horizon

    def reset(self) -> None:
        """As `Execution` has it."""
        self._chunk: FloatArray | None = None
        self._next = 0

    def step(self, query: Query) -> FloatArray:
        """As `Execution` has it."""
        if self._chunk is None or self._next >= self._horizon:
            self._chunk, self._next = query(), 0
        action: FloatArray = self._chunk[self._next].copy()
        self._next += 1
        return action


class TemporalEnsembling:
    """A chunk is predicted at each tick; executed is the mean of all that is predicted for it.

    Weights are exp(-weight * i), i = 0 for the oldest prediction: upstream's. Upstream takes a
    prediction that is all zeros for none; here it counts.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self.reset()

    @property
    def query_ticks(self) -> int:
        """As `Execution` has it."""
        return 1

    def reset(self) -> None:
        """As `Execution` has it."""
        self._chunks: deque[FloatArray] = deque()  # the oldest first

    def step(self, query: Query) -> FloatArray:
        """As `Execution` has it."""
        chunk = query()
        self._chunks.append(chunk)
        while len(self._chunks) > len(chunk):  # what is older predicted nothing for now
            self._chunks.popleft()
        newest = len(self._chunks) - 1
        predicted = np.stack([one[newest - i] for i, one in enumerate(self._chunks)])
        # counted from the largest, which is 1: with a weight below 0 exp would overflow
        largest = 0 if self._weight >= 0 else newest
        with np.errstate(over="ignore", under="ignore"):
            weights = np.exp(-self._weight * (np.arange(len(predicted)) - largest))
        mean: FloatArray = (weights @ predicted / weights.sum()).astype(np.float32)
        return mean
