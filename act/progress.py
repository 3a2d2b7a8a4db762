"""The progress bar: live on a terminal, a line now and then in a log file."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

_LOG_INTERVAL_S = 30.0


@contextlib.contextmanager
def progress_bar(total: int, what: str, unit: str) -> Iterator["tqdm[Any]"]:
    """A bar with the rate and the time left; what is logged meanwhile stands above it."""
    watched = sys.stderr.isatty()
    quiet: dict[str, Any] = {} if watched else {"mininterval": _LOG_INTERVAL_S, "ascii": True}
    bar = tqdm(total=total, desc=what, unit=unit, smoothing=0.05, **quiet)
    with logging_redirect_tqdm([logging.getLogger("act")]), bar:
        yield bar
