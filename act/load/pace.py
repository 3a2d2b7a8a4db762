"""Whether queries keep up with the control ticks that their actions are for."""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("act")


class Pace:
    """Times queries, and warns once where they take too long; any thread may use it.

    The first query is not counted, as it takes longer than those that follow; one alone that is
    late is counted, and nobody is warned of it.
    """

    def __init__(self, fps: float | None, ticks: int, most_ticks: int) -> None:
        """fps: control ticks a second; None: not known, and nothing is too long
        ticks: for how many of them a query has to do; most_ticks: for how many it could"""
        self.late = 0  # queries that took longer than their ticks
        self._fps, self._ticks, self._most_ticks = fps, ticks, most_ticks
        self._is_first, self._was_late, self._has_warned = True, False, False
        self._counting = threading.Lock()

    @contextmanager
    def query(self) -> Iterator[None]:
        """Around a query that succeeds."""
        begun = time.perf_counter()
        yield
        self.took(time.perf_counter() - begun)

    def took(self, seconds: float) -> None:
        """Count a query."""
        with self._counting:
            if self._fps is None or self._is_first:
                self._is_first = False
                return
            is_late = seconds * self._fps > self._ticks
            self.late += is_late
            warns = is_late and self._was_late and not self._has_warned
            self._was_late = is_late
            self._has_warned |= warns
        if warns:
            self._warn(seconds, self._fps)

    def _warn(self, seconds: float, fps: float) -> None:
        enough = math.floor(seconds * fps) + 1
        advice = f"execute more of each chunk (mode open_loop, horizon {enough} or more), or use "
        advice = advice if self._ticks < enough <= self._most_ticks else "use "
        logger.warning(
            "a query takes %.3g ms, and has to do for %s at %g Hz, %.3g ms: the robot waits, and "
            "moves more slowly than in the data; %sa faster machine or smaller images",
            seconds * 1e3,
            "1 tick" if self._ticks == 1 else f"{self._ticks} ticks",
            fps,
            self._ticks / fps * 1e3,
            advice,
        )
