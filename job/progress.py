"""The progress bar: live on a terminal, a line now and then in a log file."""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

_LOG_INTERVAL_S = 30.0


@contextlib.contextmanager
def progress_bar(
    total: int, what: str, unit: str, done: int = 0, shown: bool = True
) -> Iterator["tqdm[Any]"]:
    """A bar with the rate and the time left; what is logged meanwhile stands above it.

    Off a terminal it is a whole line every 30 seconds: collectors show a line when it ends.
    """
    shape = {
        "total": total,
        "desc": what,
        "unit": unit,
        "unit_scale": unit == "B",
        "initial": done,
        "smoothing": 0.05,
        "disable": not shown,
    }
    if sys.stderr.isatty():
        with tqdm(**shape) as bar, logging_redirect_tqdm([logging.getLogger("act")]):
            yield bar
        return
    with tqdm(**shape, ascii=True, mininterval=_LOG_INTERVAL_S, file=_Lines()) as bar:
        yield bar


class _Lines(io.StringIO):
    """A stream for tqdm: what it draws over the line before becomes a line of its own."""

    def write(self, text: str) -> int:
        drawn = text.strip("\r\n ")
        if drawn:
            with contextlib.suppress(OSError):  # a log that is full or gone ends no training
                sys.stderr.write(f"{drawn}\n")
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
