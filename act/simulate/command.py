"""The command `simulate RUN`: what is asked for, and its exit code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from act.simulate.flags import SimulateFlags
from job import signals
from job.command import log_to_terminal, report_error
from job.command_line import OneLineParser, add_flags, make
from job.errors import EXIT_DONE, JobError, UsageError


@dataclass(frozen=True, kw_only=True)
class SimulateCommand(SimulateFlags):
    """The command line of `simulate`."""

    run: str = ""  # its name, or a path


def run_simulate(do: Callable[[SimulateCommand], object], argv: Sequence[str]) -> int:
    """Do what the command line of `simulate` asks for; returns the exit code."""
    signals.install()
    log_to_terminal()
    try:
        do(parse_simulate(argv))
    except JobError as error:
        return report_error(error)
    return EXIT_DONE


def parse_simulate(argv: Sequence[str]) -> SimulateCommand:
    """What the command line of `simulate` asks for; raises UsageError."""
    given = simulate_parser().values(argv)
    runs = given.pop("runs", [])
    if len(runs) != 1:
        raise UsageError(
            f"simulate: found {len(runs)} runs, expected one: its name, or the path of its folder; "
            f"--help lists the flags",
            code="flag-missing",
        )
    return make(SimulateCommand, given | {"run": runs[0]})


def simulate_parser() -> OneLineParser:
    """The command line of `simulate`."""
    made = OneLineParser(
        "simulate",
        "How often a run's policy succeeds in a simulator, with intervals: "
        "simulation_<env>.json, upstream's result file and videos in the run's folder.",
        "RUN --env aloha_transfer_cube|aloha_insertion|module:factory [FLAG VALUE …]",
        "Exit codes: 0 done, 2 a wrong command, 4 output, disk or memory, 75 interrupted.",
    )
    made.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="Name of a run below --output, or the path of its folder or of a .ckpt in it.",
    )
    add_flags(made, SimulateCommand)
    return made
