"""The flags of every run: its name, its task, and where it writes."""

from dataclasses import dataclass
from pathlib import Path

from job.bounds import at_least, file_name, some_text
from job.flags import Flags, address, flag, place, required
from job.output_names import CHECKPOINTS


@dataclass(frozen=True, kw_only=True)
class TaskFlags(Flags):
    """The task."""

    title = "run"

    task_name: str = flag(
        "Name of the task, for the records; one that starts with sim_ also sets --sim.",
        "",
        check=some_text,
        same_run=True,
    )


@dataclass(frozen=True, kw_only=True)
class OutputFlags(Flags):
    """Where a command writes."""

    title = "run"

    output: Path = flag(
        "Folder that everything is written to.", Path("/data/output"), same_run=True
    )


@dataclass(frozen=True, kw_only=True)
class NoticeFlags(Flags):
    """Who is told of a job's end."""

    title = "while it trains"

    notify_url: str = address(
        "Address to which a message is posted when the job has ended, well or not.",
        environ="NOTIFY_URL",
    )


@dataclass(frozen=True, kw_only=True)
class RunFlags(TaskFlags, OutputFlags):
    """A run: a folder of its own in the output."""

    title = "run"

    output: Path = place("Folder or address that everything is written to.", OutputFlags.output)
    run_name: str = flag(
        "Name of the run, and of its folder under checkpoints/.", check=file_name, same_run=True
    )
    task_name: str = required(TaskFlags, "task_name")
    max_hours: float = flag(
        "Hours after which the job saves its state and ends with code 75; 0 = no limit.",
        0.0,
        check=at_least(0),
        same_run=True,
    )

    @property
    def run_folder(self) -> Path:
        """The folder of the run."""
        return self.output / CHECKPOINTS / self.run_name
