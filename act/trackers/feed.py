"""Gives a tracker a run's numbers, in a process of its own, so that it cannot stop the run.

A line of JSON goes through a pipe for each message, and nobody waits for it to be read: what does
not fit into the pipe is dropped, with one warning. The process ends when its pipe is closed, also
where this one was killed; here it is given some seconds for that.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from job import signals
from job.errors import first_line
from job.warning import warn

_ROOT = Path(__file__).parent.parent.parent
_PIPE_BYTES = 1 << 20  # thousands of epochs
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux
_MOST_BYTES = 4096  # PIPE_BUF: written to a pipe whole or not at all
_POLL_S = 0.02
_SUDDEN_END_S = 2.0


class Feed:
    """A tracker's process, and the pipe to it."""

    def __init__(self, name: str, start: Mapping[str, Any], log: Path) -> None:
        """start: the first message; log: what the package prints goes there. Raises OSError."""
        self._name = name
        self._has_warned = False
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                # -P: a module of ours is named as its package is
                [sys.executable, "-P", "-m", "act.trackers.process", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # the terminal's signals are for the job
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipe, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        with contextlib.suppress(OSError):  # more than this user may have
            fcntl.fcntl(self._pipe, _SET_PIPE_SIZE, _PIPE_BYTES)
        os.set_blocking(self._answers, False)
        os.set_blocking(self._pipe, False)
        with contextlib.suppress(OSError):  # it is empty yet; that it ended is noticed later
            os.write(self._pipe, _line(start))

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand on a message, unless the pipe is full."""
        line = _line(message)
        try:
            if len(line) > _MOST_BYTES:
                self._warn(f"a message of {len(line)} bytes is too long, and left out")
                return
            os.write(self._pipe, line)
        except BlockingIOError:
            self._warn("it is too slow or hangs, and some numbers are left out")
        except OSError:  # it has ended; why, it has said
            pass
        self.hear()

    def hear(self) -> None:
        """Pass on what the process says of a failure."""
        with contextlib.suppress(OSError):  # nothing is said
            if text := os.read(self._answers, _MOST_BYTES).decode(errors="replace"):
                self._warn(first_line(ValueError(text)))

    def finish(self) -> None:
        """Tell it that there is no more."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self, ends: float) -> None:
        """Wait until it has finished; one that has not by `ends` is killed, with its children.

        ends: by the monotonic clock; where the job is asked to end, that is soon
        """
        assert self._process.stdout is not None
        hurried = False
        while self._process.poll() is None and time.monotonic() < ends:
            if signals.reason() is not None and not hurried:
                hurried, ends = True, min(ends, time.monotonic() + _SUDDEN_END_S)
            time.sleep(_POLL_S)
        if self._process.poll() is None:
            self._warn("it did not finish in time")
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.hear()
        if self._process.returncode:
            self._warn(f"its process ended with code {self._process.returncode}")
        self._process.stdout.close()

    def _warn(self, what: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            warn("tracker-failed", f"--tracker {self._name}: {what}; the run continues")


def _line(message: Mapping[str, Any]) -> bytes:
    return (json.dumps(message) + "\n").encode()
