"""Files with one JSON value a line, of which a crash may have torn the last one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convert.findings import Add, error, finding_of
from episodes.input_file import OnRead, check_file
from job.errors import DatasetError


def read_json_lines(path: Path, on_read: OnRead, add: Add) -> Iterator[tuple[int, Any]]:
    """The values and the numbers of their lines, from 1; what cannot be read is an error each."""
    on_read(path)
    try:
        check_file(path)
        lines = path.read_bytes().split(b"\n")  # not at every kind of line end
    except DatasetError as problem:
        add(finding_of(problem, path))
        return
    except OSError as problem:
        add(error("episodes-unreadable", path, f"not readable ({problem}); copy it again"))
        return
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig")
            if text.strip():
                yield number, json.loads(text)
        except (ValueError, RecursionError) as problem:
            what = (
                f"line {number} is not readable as JSON ({problem}), expected an episode; the "
                f"recording was not finished, or the copy is cut off; copy it again, or use the "
                f"episodes of the other lines with --only_whole_episodes"
            )
            add(error("episodes-unreadable", path, what))
