"""The command line of `report RUN`."""

from act.report.flags import ReportFlags
from job.target_command import TargetCommand

REPORT = TargetCommand(
    "report",
    ReportFlags,
    "One page about a run, report.html in its folder, and the same numbers in report.json; "
    "also while it trains.",
    "[FLAG VALUE …]",
    "Exit codes: 0 written, 2 a wrong command, 4 the folder cannot be written to.",
)
