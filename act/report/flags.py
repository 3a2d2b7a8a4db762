"""The flags of `report`, and of the reports while a run trains."""

from dataclasses import dataclass

from job.bounds import at_least
from job.flags import Flags, flag
from job.run_flags import OutputFlags


@dataclass(frozen=True, kw_only=True)
class ReportIntervalFlags(Flags):
    """Reports while a run trains."""

    title = "run"

    report_interval_minutes: float = flag(
        "Minutes between reports while it trains; 0 = one at its end.",
        0.0,
        check=at_least(0),
        same_run=True,
    )


@dataclass(frozen=True, kw_only=True)
class LastReportFlags(Flags):
    """The report at the end of a job."""

    title = "run"

    report: str = flag(
        "Whether report.html and report.json are written when the run has ended.",
        "on",
        choices=("on", "off"),
        same_run=True,
    )


@dataclass(frozen=True, kw_only=True)
class ReportFlags(OutputFlags):
    """The command `report`."""

    title = "run"

    run: str = ""  # its name, or the path of its folder
