"""The process of a tracker: messages from standard input, a line each, until it is closed.

What the package prints goes to standard error, which is a file. What fails is said once on standard
output, in a line, and then the process ends: the run does without it.
"""

import json
import os
import signal
import sys
import threading
from importlib import import_module
from typing import Any, Protocol

_END_S = 60.0  # to finish in, where nobody is left to wait for it


class Tracker(Protocol):
    """What each module of a tracker has as `Writer`."""

    def __init__(self, start: dict[str, Any]) -> None:
        """start: id, folder, run_name, task_name, flags, step of the state it resumes from"""

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Keep some numbers of a step."""

    def images(self, step: int, paths: dict[str, str]) -> None:
        """Keep pictures, PNG files by name."""

    def close(self) -> None:
        """Write what waits."""


def main(name: str) -> int:
    """Hand on every message; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        _serve(name)
    except Exception as error:  # whatever a package raises
        text = str(error).strip().partition("\n")[0][:500]
        said.write(f"{type(error).__name__}: {text}\n")
        said.flush()
        raise
    return 0


def _serve(name: str) -> None:
    module = import_module(f"act.trackers.{name}_writer")
    tracker: Tracker = module.Writer(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        message = json.loads(line)
        if message["kind"] == "numbers":
            tracker.numbers(message["step"], message["values"])
        else:
            tracker.images(message["step"], message["paths"])
    ends = threading.Timer(_END_S, lambda: os._exit(1))
    ends.daemon = True
    ends.start()
    tracker.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
