"""What to do with a run now, and the command for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from act.evaluate.verdict import MAY_BE_TOO_SHORT
from act.report.finding_facts import FEW_EPOCHS
from act.report.report import command
from act.report.run_files import RunFiles
from job.sections.report import Report
from job.words import counted

_UPSTREAMS_EPOCHS = 2000
_MOST_PREFIX = 40  # characters of a run's name that the name of the longer one begins with


@dataclass(frozen=True)
class NextStep:
    """What to do, in a sentence; and the words of a command, where one does it."""

    text: str
    command: tuple[str, ...] = ()


def next_step(run: RunFiles, report: Report, defaults: Mapping[str, Any]) -> NextStep:
    """The first thing to do; defaults: of the job's flags, which a command need not name."""
    if report.status == "training":
        return NextStep("let it train to its end; the verdict is on the checkpoints so far")
    reasons = report.verdict.reasons if report.verdict else []
    if reasons and reasons[0].rule in MAY_BE_TOO_SHORT and _may_be_too_short(report):
        return _longer(run, report, defaults)
    step = next((one.next_step for one in reasons if one.next_step), None)
    return NextStep(
        step
        or "try the recommended checkpoint on the robot, slowly and with limits: "
        "examples/run_on_robot.py moves nothing until it is told to"
    )


def _may_be_too_short(report: Report) -> bool:
    """Whether the training has no shape yet, or its error was still falling."""
    done = report.training.epochs_done if report.training else FEW_EPOCHS
    return done < FEW_EPOCHS or any(one.code == "still-falling" for one in report.curves)


def _longer(run: RunFiles, report: Report, defaults: Mapping[str, Any]) -> NextStep:
    assert report.training is not None
    done, steps = report.training.epochs_done, report.training.steps
    samples_each = int(run.flags.get("samples_per_episode") or 1)
    epochs = max(math.ceil(_UPSTREAMS_EPOCHS / samples_each), 2 * done)
    text = (
        f"train longer: this run had {counted(done, 'epoch')} of "
        f"{counted(max(1, round(steps / max(done, 1))), 'step')}, --num_epochs {epochs} gives it "
        f"{epochs:,}"
    )
    if run.manifest is None:
        return NextStep(text)
    asked = {
        name: value for name, value in run.flags.items() if not _was_default(run, defaults, name)
    }
    flags = asked | {"num_epochs": epochs, "steps": defaults.get("steps")}
    if not run.takes_more_epochs:
        name = str(flags.get("run_name", ""))[:_MOST_PREFIX]
        flags |= {"run_name": f"{name}_{epochs}"}
        text += (
            ". It is a new run with a name of its own, as a finished one takes more epochs only "
            "with its state kept and a constant learning rate"
        )
    return NextStep(text, tuple(command(flags, defaults)))


def _was_default(run: RunFiles, defaults: Mapping[str, Any], name: str) -> bool:
    """Whether a flag was left to the job, which the manifest shows as what came of it.

    A run is resumed with the flags that it was started with.
    """
    started: Mapping[str, Any] = run.which.get("flags", {})
    return name in started and name in defaults and started[name] == defaults[name]
