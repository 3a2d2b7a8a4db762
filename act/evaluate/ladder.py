"""The checkpoints of a run beside each other: which can be told from the one of lowest error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from act.evaluate.bootstrap import interval
from job.sections.evaluation import CheckpointErrors, ChunkErrors


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
