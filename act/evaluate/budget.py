"""How long an evaluation may take, and what fits into that."""

import time
from collections.abc import Sequence

_FOR_CHECKPOINTS = 0.6  # of the time; what is left is for the closer look


class Budget:
    """The time of an evaluation, from its start on."""

    def __init__(self, seconds: float | None) -> None:
        """seconds: None: as long as it takes"""
        self._started = time.monotonic()
        self._seconds = seconds

    @property
    def used_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be begun."""
        return self.left_s is not None and self.left_s <= 0

    @property
    def left_s(self) -> float | None:
        """Seconds that are left; None: as many as it takes."""
        return None if self._seconds is None else self._seconds - self.used_s

    def has(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return self.left_s is None or seconds <= self.left_s

    def stride(self, chunk_size: int, lengths: Sequence[int], query_s: float) -> int:
        """The least divisor of the chunk at which queries fit the time, all of it at worst.

        lengths: time steps of each episode, once for each checkpoint
        """
        divisors = [one for one in range(1, chunk_size + 1) if chunk_size % one == 0]
        if self._seconds is None:
            return 1
        left = _FOR_CHECKPOINTS * self._seconds - self.used_s
        for stride in divisors:
            if sum(-(-length // stride) for length in lengths) * query_s <= left:
                return stride
        return chunk_size
