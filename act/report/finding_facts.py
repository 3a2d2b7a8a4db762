"""What the findings look at, and their thresholds; docs/report.md lists them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from act.report.curves import Curves
from job.sections.estimates import IdleEnds
from job.sections.evaluation import CheckpointErrors, Evaluation
from job.sections.training import Training

# The thresholds of each finding, by the name that its numbers have
THRESHOLDS: Mapping[str, Mapping[str, float]] = {
    "still-falling": {"fall": 0.05},
    "overfitting": {"rise": 0.1, "train_fall": 0.05},
    "stuck-high": {"left": 0.7, "error": 0.3},
    "oscillating": {"swing": 0.5, "swings": 3},
    "kl-zero": {"kl": 1e-4},
    "kl-dominates": {"share": 0.5},
    "always-clipped": {"share": 0.9},
    "waits-for-data": {"share": 0.2},
    "late-error": {"ratio": 2.0, "rise": 0.05},
    "camera-ignored": {},
    "no-better-than-baseline": {},
    "small-batch": {},
    "idle-frames": {"share": 0.1},
}
FEW_EPOCHS = 40  # below it a curve's shape is noise


@dataclass(frozen=True)
class Facts:
    """What the findings look at."""

    curves: Curves | None
    flags: Mapping[str, Any] = field(default_factory=dict)  # the job's, as the manifest has them
    training: Training | None = None
    evaluation: Evaluation | None = None
    idle: IdleEnds | None = None
    is_finished: bool = True
    takes_more_epochs: bool = False  # though it is finished

    @property
    def recommended(self) -> CheckpointErrors | None:
        """The errors of the checkpoint that the evaluation recommends."""
        return None if self.evaluation is None else self.evaluation.best
