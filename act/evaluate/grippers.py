"""When grippers close and open: in what is executed, against the demonstration.

T time steps   A action dims
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from episodes.arrays import FloatArray
from job.sections.evaluation import GripperEvents

if TYPE_CHECKING:
    from act.evaluate.replay import Replayed

_LOW, _HIGH = 1, 99  # percentiles of what was demonstrated: closed and open
_CLOSES, _OPENS = 0.3, 0.7  # of the way between them; in between a gripper stays what it was
_TOLERANCE_S, _TOLERANCE_STEPS = 0.2, 10  # the latter where the rate is not known
_NEAR = 5  # times the tolerance: an event so much too early is that event, else another one


@dataclass(frozen=True)
class Gripper:
    """A dim that is a gripper, and where it counts as closed and as open."""

    dim: int
    closes: float  # below it
    opens: float  # above it

    def events(self, actions: FloatArray) -> list[tuple[int, bool]]:
        """The time steps at which it changes, and whether it is open then."""
        found: list[tuple[int, bool]] = []
        is_open: bool | None = None
        for t, value in enumerate(actions[:, self.dim].tolist()):
            now = True if value > self.opens else False if value < self.closes else is_open
            if is_open is not None and now is not is_open:
                found.append((t, bool(now)))
            is_open = now
        return found


@dataclass(frozen=True)
class Events:
    """How gripper events are found and compared."""

    grippers: tuple[Gripper, ...]
    tolerance_steps: int


def find_grippers(
    names: Sequence[str | None], actions: FloatArray, fps: float | None
) -> Events | None:
    """The grippers by their names, and their levels in what was demonstrated (T, A).

    None where no dim is called a gripper, or none of them moves.
    """
    found = []
    for dim, name in enumerate(names):
        low, high = np.percentile(actions[:, dim], (_LOW, _HIGH))
        if name is not None and "gripper" in name.lower() and high > low:
            way = high - low
            found.append(Gripper(dim, float(low + _CLOSES * way), float(low + _OPENS * way)))
    tolerance = _TOLERANCE_STEPS if fps is None else max(1, round(_TOLERANCE_S * fps))
    return Events(tuple(found), tolerance) if found else None


def count_events(episodes: "Sequence[Replayed]", how: Events) -> GripperEvents:
    """The section of some episodes' events."""
    counts = np.zeros(5, int)
    for one in episodes:
        for gripper in how.grippers:
            counts += _compared(
                gripper.events(one.demonstrated), gripper.events(one.executed), how.tolerance_steps
            )
    demonstrated, hit, missed, early, extra = counts.tolist()
    return GripperEvents(
        demonstrated=demonstrated,
        hit=hit,
        missed=missed,
        early=early,
        extra=extra,
        tolerance_steps=how.tolerance_steps,
    )


def _compared(
    demonstrated: Sequence[tuple[int, bool]], found: Sequence[tuple[int, bool]], tolerance: int
) -> tuple[int, int, int, int, int]:
    """How many were demonstrated, hit, missed, early, and found besides; each is used once."""
    left, hit, early = list(found), 0, 0
    for t, opens in demonstrated:
        same = [one for one in left if one[1] == opens and abs(one[0] - t) <= _NEAR * tolerance]
        nearest = min(same, key=lambda one: abs(one[0] - t), default=None)
        if nearest is None or nearest[0] > t + tolerance:
            continue
        left.remove(nearest)
        if nearest[0] < t - tolerance:
            early += 1
        else:
            hit += 1
    return len(demonstrated), hit, len(demonstrated) - hit - early, early, len(left)
