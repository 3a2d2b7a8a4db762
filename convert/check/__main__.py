"""The command `check INPUT …`: `python -m convert.check`, in the container `check`."""

import argparse
import errno
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convert.check.apart import check_apart
from convert.findings import Report
from convert.sources import find_datasets
from job import signals
from job.command import log_to_terminal, tell
from job.command_line import OneLineParser
from job.config import INPUT
from job.errors import EXIT_DONE, DatasetError, Interrupted, JobError, OutputError
from job.whole_files import output_errors

logger = logging.getLogger("act")

BROKEN = DatasetError.exit_code


def main(argv: Sequence[str]) -> int:
    """`check INPUT …`: reports on standard output; 0 fine, 3 broken, 2 a wrong command."""
    signals.install()
    log_to_terminal()
    logger.setLevel(logging.WARNING)  # standard output is the report's alone
    try:
        asked = _parser().parse_args(argv)
        roots = find_datasets(asked.input)
    except JobError as problem:
        return tell(problem)
    reports, code = [], EXIT_DONE
    for root in roots:
        try:
            report = _check(root, asked)
        except JobError as problem:  # of one dataset: the others are looked at all the same
            code = tell(problem)
            if isinstance(problem, Interrupted):
                return code
            continue
        reports.append(report)
        if not asked.json:
            code = _print(report.text()) or code
    if asked.json:
        values: Any = [report.as_json() for report in reports]
        shown = values[0] if len(values) == 1 else values
        code = _print(json.dumps(shown, indent=2, allow_nan=False) + "\n") or code
    return code or (BROKEN if any(report.errors for report in reports) else EXIT_DONE)


def _check(root: Path, asked: argparse.Namespace) -> Report:
    return check_apart(
        root,
        camera_keys=asked.camera_keys,
        state_key=asked.state_key,
        action_key=asked.action_key,
        chunk_size=asked.chunk_size,
        state_dim=asked.state_dim,
        resized=asked.resized,
        deep=asked.deep,
        output=asked.output,
    )


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
        return tell(problem)
    return EXIT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="check",
        description="Say everything that is wrong with LeRobot datasets, without converting them.",
        epilog="Exit codes: 0 fine (warnings allowed), 3 broken, 2 a wrong command.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "input", nargs="*", type=Path, default=INPUT, metavar="INPUT", help=f"({INPUT[0]})"
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--deep", action="store_true", help="decode every frame too")
    parser.add_argument("--camera_keys", type=_keys, default=(), metavar="A,B,…")
    parser.add_argument("--state_key", default="auto", metavar="KEY")
    parser.add_argument("--action_key", default="auto", metavar="KEY")
    parser.add_argument("--chunk_size", type=_above_0, default=100, metavar="N")
    parser.add_argument("--state_dim", type=_above_0, default=0, metavar="N")
    parser.add_argument("--resized", action="store_true", help="as with --image_size: sizes differ")
    parser.add_argument("--output", type=Path, default=None, metavar="FOLDER")
    return parser


def _keys(text: str) -> tuple[str, ...]:
    return () if text == "auto" else tuple(name.strip() for name in text.split(","))


def _above_0(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number, 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
