"""The flags of `evaluate`, and of the evaluation after a training."""

from dataclasses import dataclass
from pathlib import Path

from act.processes.flags import ComputeFlags
from job.bounds import at_least, distinct
from job.flags import Flags, flag
from job.run_flags import OutputFlags

SHARE, FLOOR_S = 0.04, 2.0  # of the training's time, and what a tiny training may take besides


@dataclass(frozen=True, kw_only=True)
class FailFlags(Flags):
    """What a verdict does to the exit code."""

    title = "evaluation"

    fail_on: str = flag(
        "Verdict that ends the command with exit code 6; never = none does.",
        "never",
        choices=("never", "no"),
        same_run=True,
    )


@dataclass(frozen=True, kw_only=True)
class AfterTrainingFlags(FailFlags):
    """The evaluation at the end of a job."""

    title = "evaluation"

    eval_after_train: str = flag(
        "Evaluation of the finished run, in 4 % of the training's time, 2 s at least.",
        "on",
        choices=("on", "off"),
        same_run=True,
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateFlags(FailFlags, OutputFlags, ComputeFlags):
    """The command `evaluate`."""

    title = "evaluation"

    run: str = ""  # its name, or the path of its folder
    checkpoints: tuple[str, ...] = flag(
        "Checkpoints to evaluate: best, last, epoch_1200, …; auto = all.", (), check=distinct
    )
    minutes: float = flag(
        "Minutes that it may take; 0 = as long as it takes.", 0.0, check=at_least(0)
    )
    input: tuple[Path, ...] = flag(
        "Dataset to evaluate on; auto = the run's, of which it takes the held-out part.", ()
    )
