"""The command `compare RUN RUN …`: what is asked for, and its exit code."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from act.compare.flags import CompareFlags
from job import signals
from job.command import log_to_terminal, report_error
from job.command_line import OneLineParser, add_flags, make
from job.errors import EXIT_DONE, JobError, UsageError
from job.output_names import CHECKPOINTS

logger = logging.getLogger("act")

PAGE, NUMBERS = "compare.html", "compare.json"


@dataclass(frozen=True, kw_only=True)
class CompareCommand(CompareFlags):
    """The command line of `compare`."""

    runs: tuple[str, ...] = ()  # names, or paths

    @property
    def folders(self) -> list[Path]:
        """The runs' folders; raises UsageError for one that is none."""
        found = [self._folder(run) for run in self.runs]
        if len({folder.resolve() for folder in found}) < max(2, len(found)):
            raise UsageError(
                f"found {len(found)} runs, expected two or more, each once: names below "
                f"--output, or paths of their folders",
                code="flag-missing",
            )
        return found

    def _folder(self, run: str) -> Path:
        named = self.output / CHECKPOINTS / run
        folder = named if named.is_dir() else Path(run)
        if not folder.is_dir():
            raise UsageError(
                f"{run!r}: there is no run of that name in {self.output / CHECKPOINTS}, and no "
                f"such folder; give names below --output, or paths of runs' folders",
                code="policy-missing",
            )
        return folder


def main(argv: Sequence[str]) -> int:
    """Compare what the command line names; returns the exit code."""
    signals.install()
    log_to_terminal()
    try:
        flags = parse(argv)
        folders = flags.folders
        from act.compare.page import page  # with matplotlib, which takes a second
        from act.compare.run import read_runs
        from act.compare.tables import compared
        from job.whole_files import whole_file, write_json

        runs = read_runs(folders)
        found = compared(runs)
        to = flags.to or flags.output / "compare"
        write_json(to / NUMBERS, found.model_dump(mode="json"))
        with whole_file(to / PAGE) as file:
            file.write(page(found, runs).encode(errors="replace"))  # half a character of UTF-16
        for difference in found.differences:
            logger.info("%s", difference.text)
        logger.info("done       %s", to / PAGE)
    except JobError as error:
        return report_error(error)
    return EXIT_DONE


def parse(argv: Sequence[str]) -> CompareCommand:
    """What the command line of `compare` asks for; raises UsageError."""
    given = parser().values(argv)
    given["runs"] = tuple(given.get("runs", ()))
    return make(CompareCommand, given)


def parser() -> OneLineParser:
    """The command line of `compare`."""
    made = OneLineParser(
        "compare",
        "Several runs on one page: flags, curves, errors and rates, and what differs.",
        "RUN RUN … [FLAG VALUE …]",
    )
    made.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="Names of runs below --output, or paths of their folders.",
    )
    add_flags(made, CompareCommand)
    return made
