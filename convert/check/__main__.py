"""The command `check INPUT …`: `python -m convert.check`, in the container `check`."""

import errno
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.flags import CheckFlags
from job import signals
from job.command import log_to_terminal, report_error
from job.command_line import OneLineParser, add_flags, make
from job.errors import EXIT_DONE, DatasetError, Interrupted, JobError, OutputError, UsageError
from job.flag_sources import COMMAND_LINE
from job.remote.address import addresses, read_place
from job.whole_files import output_errors

if TYPE_CHECKING:
    from convert.findings import Report

logger = logging.getLogger("act")

BROKEN = DatasetError.exit_code


def main(argv: Sequence[str]) -> int:
    """`check INPUT …`: reports on standard output; 0 fine, 3 broken, 2 a wrong command."""
    signals.install()
    log_to_terminal()
    logger.setLevel(logging.WARNING)  # standard output is the report's alone
    try:
        flags = parse(argv)
        # these take a second to import, which a mistyped flag does not wait for
        from convert.check.own_process import check_files_apart
        from convert.input_kind import find_episode_folders, refuse_unused_flags

        flags = _fetched(flags)
        folders = find_episode_folders(flags.folders)
        refuse_unused_flags(flags, folders)
        if folders:
            return _show(flags, check_files_apart(folders, flags, deep=flags.deep), EXIT_DONE)
        return _check_datasets(flags)
    except JobError as problem:
        return report_error(problem)


def _fetched(flags: CheckFlags) -> CheckFlags:
    """The flags with the input on this machine; of broken metadata, that alone is fetched."""
    if not addresses(flags.input):
        return flags
    from convert.fetch import fetch_input

    return fetch_input(flags, whatever=True)[0]


def _check_datasets(flags: CheckFlags) -> int:
    """Each dataset of the input, and whether they go together; raises JobError."""
    from convert.check.gate import leave_out
    from convert.check.input import findings_of_input
    from convert.check.own_process import check_apart, check_together
    from convert.sources import NOTHING, find_datasets

    reports, code = [], EXIT_DONE
    roots, left_out = find_datasets(flags.folders), NOTHING
    # what is left out is what a job finds, which decodes everything for it
    options: dict[str, Any] = {
        "output": flags.output,
        "deep": flags.deep or flags.only_whole_episodes,
    }
    for root in roots:
        try:
            report = check_apart(root, flags, **options)
        except JobError as problem:  # of one dataset: the others are looked at all the same
            code = report_error(problem)
            if isinstance(problem, Interrupted):
                return code
            continue
        reports.append(report)
    if flags.only_whole_episodes and code == EXIT_DONE:
        reports, left_out = leave_out(flags, reports, **options)
    if len(roots) > 1 and code == EXIT_DONE and not any(report.errors for report in reports):
        check_together(flags, reports, left_out)
    for report in reports[:1]:
        report.findings += findings_of_input(flags)
    return _show(flags, reports, code)


def _show(flags: CheckFlags, reports: "Sequence[Report]", code: int) -> int:
    """Print the reports; gives the exit code, which is `code` where something went wrong before."""
    for report in () if flags.json else reports:
        code = _print(report.text()) or code
    if flags.json:
        values: Any = [report.as_json() for report in reports]
        shown = values[0] if len(values) == 1 else values
        code = _print(json.dumps(shown, indent=2, allow_nan=False) + "\n") or code
    return code or (BROKEN if any(report.errors for report in reports) else EXIT_DONE)


def _print(text: str) -> int:
    """Write to standard output; the exit code when it is closed or full."""
    try:
        with output_errors(Path("standard output")):
            if sys.stdout is None:
                raise OSError(errno.EBADF, "it is closed")
            sys.stdout.write(text.encode("utf-8", "backslashreplace").decode())
            sys.stdout.flush()
    except OutputError as problem:
        # what is left in the buffer would be a traceback at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return report_error(problem)
    return EXIT_DONE


def parse(argv: Sequence[str]) -> CheckFlags:
    """The check asked for; raises UsageError."""
    given = parser().values(argv)
    folders = given.pop("folders", [])
    if folders and given.on_line("input"):
        raise UsageError(
            f"found {str(folders[0])!r} besides --input, expected INPUT… or this flag, not both",
            code="flags-conflict",
        )
    if folders:
        given.add({"input": tuple(folders)}, COMMAND_LINE)
    return make(CheckFlags, given)


def parser() -> OneLineParser:
    """The command line of `check`."""
    made = OneLineParser(
        "check",
        "Report everything that is wrong with LeRobot datasets or folders of episode files.",
        "INPUT… [FLAG VALUE …]",
        "Exit codes: 0 fine (warnings allowed), 3 broken, 2 a wrong command.",
    )
    made.add_argument(
        "folders",
        nargs="*",
        type=read_place,
        metavar="INPUT",
        help="LeRobot dataset(s) or folder(s) of episode files, in place of --input.",
    )
    add_flags(made, CheckFlags)
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
