"""The command `report RUN`: what is asked for, and its exit code."""

from collections.abc import Callable, Sequence

from act.report.flags import ReportFlags
from job import signals
from job.command import log_to_terminal, report_error
from job.command_line import OneLineParser, add_flags, make
from job.errors import EXIT_DONE, JobError, UsageError
from job.machine import limit_threads


def run_report(do: Callable[[ReportFlags], object], argv: Sequence[str]) -> int:
    """Do what the command line asks for; returns the exit code."""
    signals.install()
    log_to_terminal()
    limit_threads()
    try:
        do(parse(argv))
    except JobError as error:
        return report_error(error)
    return EXIT_DONE


def parse(argv: Sequence[str]) -> ReportFlags:
    """What the command line asks for; raises UsageError."""
    given = parser().values(argv)
    runs = given.pop("runs", [])
    if len(runs) != 1:
        raise UsageError(
            f"found {len(runs)} runs, expected one: a run's name, or the path of its folder; "
            f"--help lists the flags",
            code="flag-missing",
        )
    return make(ReportFlags, given | {"run": runs[0]})


def parser() -> OneLineParser:
    """The command line of `report`."""
    made = OneLineParser(
        "report",
        "One page about a run, report.html in its folder, and the same numbers in report.json; "
        "also while it trains.",
        "RUN [FLAG VALUE …]",
        "Exit codes: 0 written, 2 a wrong command, 4 the folder cannot be written to.",
    )
    made.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="Name of a run below --output, or the path of its folder.",
    )
    add_flags(made, ReportFlags)
    return made
