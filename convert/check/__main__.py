"""The command `check INPUT …`: `python -m convert.check`, in the container `check`."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from act import stop
from act.config import INPUT, OneLineParser
from act.errors import DatasetError, JobError
from act.run import log_to_terminal, tell
from convert.check.apart import check_apart
from convert.sources import find_datasets

logger = logging.getLogger("act")

BROKEN = DatasetError.exit_code


def main(argv: Sequence[str]) -> int:
    """`check INPUT …`: reports on standard output; 0 fine, 3 broken, 2 a wrong command."""
    stop.install()
    log_to_terminal()
    logger.setLevel(logging.WARNING)  # standard output is the report's alone
    try:
        asked = _parser().parse_args(argv)
        reports = [
            check_apart(
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
            for root in find_datasets(asked.input)
        ]
    except JobError as problem:
        return tell(problem)
    if asked.json:
        values: Any = [report.as_json() for report in reports]
        text = json.dumps(values[0] if len(values) == 1 else values, indent=2, allow_nan=False)
    else:
        text = "\n".join(report.text() for report in reports)
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n" * asked.json)
    return BROKEN if any(report.errors for report in reports) else 0


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
