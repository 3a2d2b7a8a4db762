"""The checkpoints of a run beside each other: which can be told from the one of lowest error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from act.evaluate.bootstrap import interval
from job.sections.evaluation import CheckpointErrors, ChunkErrors, Replay

_WORSE = 1.1  # times the lowest error: a longer horizon may cost so much
_MUCH = 0.67  # of that horizon's error: ensembling has to be so much better


@dataclass(frozen=True)
class Evaluated:
    """A checkpoint and its errors."""

    name: str
    file: str
    sha256: str
    epoch: int | None
    errors: ChunkErrors


def ladder(evaluated: Sequence[Evaluated]) -> list[CheckpointErrors]:
    """The sections, by error, the lowest first."""
    ordered = sorted(evaluated, key=lambda one: one.errors.mae_in_std.mean)
    lowest = np.array(ordered[0].errors.by_episode)
    found = []
    for one in ordered:
        above = interval(np.array(one.errors.by_episode) - lowest)
        found.append(
            CheckpointErrors(
                name=one.name,
                file=one.file,
                sha256=one.sha256,
                epoch=one.epoch,
                errors=one.errors,
                above_lowest=above,
                distinguishable=above.low is not None and above.low > 0,
            )
        )
    return found


def recommended_checkpoint(checkpoints: Sequence[CheckpointErrors]) -> CheckpointErrors:
    """Of those that cannot be told from the lowest: averaged weights, else the latest epoch.

    Rates in simulation rise long after errors have stopped to fall, and those of neighbouring
    checkpoints differ by chance, which averages do less. Where episodes are too few for an
    interval, the lowest.
    """
    lowest = checkpoints[0]
    if lowest.errors.mae_in_std.low is None:
        return lowest
    alike = [one for one in checkpoints if not one.distinguishable]
    return max(
        alike, key=lambda one: (one.name == "average", -1 if one.epoch is None else one.epoch)
    )


def recommended_way(replays: Sequence[Replay]) -> Replay:
    """The longest horizon in open loop whose error is at most a tenth above the lowest of them, or
    ensembling where its error is a third lower still.

    Recorded observations favour short horizons and ensembling, as they are never off course: so
    neither is chosen for a small gain.
    """
    open_loop = [one for one in replays if one.horizon is not None]
    lowest = min(one.mae_in_std.mean for one in open_loop)
    near = [one for one in open_loop if one.mae_in_std.mean <= _WORSE * lowest]
    longest = max(near, key=lambda one: one.horizon or 0)
    much_better = _MUCH * longest.mae_in_std.mean
    ensembled = [one for one in replays if one.horizon is None]
    return next((one for one in ensembled if one.mae_in_std.mean < much_better), longest)
