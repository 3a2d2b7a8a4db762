"""A job whose output is an address, as a process of its own that writes to this machine's disk."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from job import signals
from job.machine import WITH_PARENT
from job.remote.address import Address
from job.status import MIRRORED_TO

_LOOK_S = 0.2
_KILL_S = 60.0  # for a job that was asked to end


class LocalJob:
    """The process of a job; killed where the caller leaves it by an error."""

    def __init__(
        self,
        command: Sequence[str],
        output: Path,
        address: Address,
        told: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; raises Interrupted where a signal has come already.

        command: of the job, without its output
        output: where it writes on this machine
        address: what its manifest names as its output
        told: what it is told besides, by its environment
        """
        signals.wait_for_job()
        signals.check()
        environment = {**os.environ, MIRRORED_TO: str(address), WITH_PARENT: "1", **(told or {})}
        self._process = subprocess.Popen([*command, "--output", str(output)], env=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()

    def wait(self, ends: Callable[[], bool] = lambda: False) -> int:
        """Wait for its end, for which a signal or `ends` asks it; returns its exit code."""
        asked_at: float | None = None
        while self._process.poll() is None:
            if asked_at is None and (signals.reason() is not None or ends()):
                asked_at = time.monotonic()
                self._process.terminate()
            if asked_at is not None and time.monotonic() - asked_at > _KILL_S:
                self._process.kill()
            time.sleep(_LOOK_S)
        code = self._process.returncode
        return code if code >= 0 else 128 - code
