"""A command that works on one thing, a run or a folder: its command line and its exit code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from job import signals
from job.command import log_to_terminal, report_error
from job.command_line import OneLineParser, add_flags, make
from job.errors import EXIT_DONE, JobError, UsageError
from job.flags import Flags
from job.machine import limit_threads

F = TypeVar("F", bound=Flags)


@dataclass(frozen=True)
class TargetCommand(Generic[F]):
    """A command and its flags, which have a field for what it works on."""

    name: str
    flags: type[F]
    does: str  # for --help
    usage: str  # of its flags, behind what it works on
    ends: str = ""  # its exit codes, for --help
    target: str = "run"  # the field
    expected: str = "a run's name, or the path of its folder"
    shown: str = "Name of a run below --output, or the path of its folder."
    as_value: Callable[[str], object] = str
    limits_threads: bool = True  # False: what it does chooses them itself, before torch is imported

    def parser(self) -> OneLineParser:
        """Its command line."""
        made = OneLineParser(self.name, self.does, f"{self.target.upper()} {self.usage}", self.ends)
        made.add_argument("targets", nargs="*", metavar=self.target.upper(), help=self.shown)
        add_flags(made, self.flags)
        return made

    def parse(self, argv: Sequence[str]) -> F:
        """What a command line asks for; raises UsageError."""
        given = self.parser().values(argv)
        found = given.pop("targets", [])
        if len(found) != 1:
            raise UsageError(
                f"{self.name}: found {len(found)} {self.target}s, expected one: {self.expected}; "
                f"--help lists the flags",
                code="flag-missing",
            )
        given[self.target] = self.as_value(found[0])
        return make(self.flags, given)

    def run(self, do: Callable[[F], object], argv: Sequence[str]) -> int:
        """Do what a command line asks for; returns the exit code."""
        signals.install()
        log_to_terminal()
        if self.limits_threads:
            limit_threads()
        try:
            do(self.parse(argv))
        except JobError as error:
            return report_error(error)
        return EXIT_DONE
