"""The one thread that computes, and the queue before it.

A connection has one request in the queue at most: it reads the next when it has answered. So first
come, first served is fair between robots: whoever asks a lot waits for each of the others once.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from job.errors import UsageError

T = TypeVar("T")


class ComputingThread:
    """Does what it is given, one thing after the other."""

    def __init__(self, most_waiting: int) -> None:
        """most_waiting: requests that may wait besides the one under way"""
        self._most = most_waiting
        self._thread = ThreadPoolExecutor(1, "computing")
        self._inside = 0

    @property
    def pending(self) -> int:
        """Requests that wait or are under way."""
        return self._inside

    async def do(self, work: Callable[[], T]) -> tuple[T, float]:
        """What `work` returns, and the seconds that it took; raises UsageError at once if busy."""
        if self._inside > self._most:
            raise UsageError(
                f"busy: {self._most} requests wait already besides the one under way, expected "
                f"fewer robots or a faster machine; ask again later",
                code="server-busy",
            )
        self._inside += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, _timed, work)
        finally:
            self._inside -= 1

    def close(self) -> None:
        """Have the thread end when it has done what is under way."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun
