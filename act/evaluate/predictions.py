"""A checkpoint is asked about recorded observations.

N queries   K chunk   A action dims
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from act.evaluate.budget import Budget
from act.evaluate.held_out import Recorded, images_of
from act.load.backend import Backend
from act.load.own_dims import own
from episodes.arrays import FloatArray, IntArray
from episodes.frames import FrameSource, open_frames
from job import signals
from job.sections.contract import Contract

_BATCH = 8
_FEW = 10  # queries, of which an evaluation in a short time has no more


@dataclass(frozen=True)
class Asker:
    """Asks a policy what it would do at time steps of the episodes; latent 0, in eval mode."""

    recorded: Recorded
    frames: FrameSource
    contract: Contract
    backend: Backend

    def chunks(self, place: int, ts: IntArray) -> FloatArray:
        """The chunks (N, K, A) for time steps of an episode, in the dataset's own dims and units.

        Raises Interrupted when a signal has come.
        """
        found = []
        for first in range(0, len(ts), _BATCH):
            signals.check()
            found.append(self._answers(place, ts[first : first + _BATCH]))
        return np.concatenate(found)

    def _answers(self, place: int, ts: IntArray) -> FloatArray:
        episodes = self.recorded.episodes
        env_state = episodes.env_state[place][ts] if episodes.env_state else None
        images = images_of(self.frames, place, ts.tolist())
        actions = self.backend.infer(episodes.qpos[place][ts], images, env_state)
        return actions[..., own(self.contract.action)]

    def seconds_each(self, budget: Budget) -> float:
        """Seconds that a query takes; the first one is slow, and counts where time is short."""
        place, seconds = self.recorded.evaluated[0], 0.0
        for _ in range(2):
            started = time.monotonic()
            self._answers(place, np.zeros(1, np.int64))
            seconds = time.monotonic() - started
            if not budget.has(_FEW * seconds):
                break
        return seconds


@contextlib.contextmanager
def opened(recorded: Recorded) -> Iterator[FrameSource]:
    """The frames of the episodes, closed at the end."""
    with contextlib.closing(open_frames(recorded.episodes)) as frames:
        yield frames
