"""Writes status.json: at each change of what a job does, and every few seconds in between.

A thread writes it, so that an output that answers late holds up no training; what it costs is
bounded. A file that cannot be written is a warning, once, and ends nothing.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from job.errors import JobError
from job.sections.status import (
    STATUS_VERSION,
    JobStatus,
    MirrorStatus,
    Phase,
    TrainingStatus,
)
from job.warning import warn
from job.whole_files import read_bytes, whole_file, write_json

Read = Callable[[], TrainingStatus]

# In the environment of a job whose output another process mirrors: where to, and the file that says
# how that does
MIRRORED_TO = "LEROBOT_TO_ACT_MIRRORED_TO"
MIRROR_STATUS = "LEROBOT_TO_ACT_MIRROR_STATUS"

_INTERVAL_S = 5.0
_SHARE = 1e-3  # of the time, where writing takes long
_LONGEST_S = 60.0  # between two writes, however long they take: a health probe waits no longer
_LAST_WAIT_S = 1.0  # for the thread, which may hang where the output does


def time_text(seconds: float | None = None) -> str:
    """A time as our files have it, in seconds since 1970; None: now."""
    at = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return at.isoformat(timespec="seconds")


def mirrored_to(environ: Mapping[str, str] = os.environ) -> str | None:
    """The address that this job's output is mirrored to by the process that started it."""
    return environ.get(MIRRORED_TO)


class StatusFile:
    """The status of a job; without a path nothing is written."""

    def __init__(self, path: Path | None, job: Mapping[str, Any]) -> None:
        """job: run_name, attempt and started_at"""
        self._path = path
        self._read: Read | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_warned = False
        self._has_written = False
        self._before: bytes | None = None  # what an earlier job left
        self._interval_s = _INTERVAL_S
        given: dict[str, Any] = dict.fromkeys(("exit_code", "code", "reason")) | dict(job)
        self.content = JobStatus(
            schema_version=STATUS_VERSION,
            status="running",
            phase="check",
            updated_at=time_text(),
            interval_s=_INTERVAL_S,
            training=None,
            **given,
        )

    def begin(self) -> None:
        """Write it from now on; once."""
        if self._path is None or self._thread is not None:
            return
        self._write()
        self._thread = threading.Thread(target=self._keep_writing, name="status", daemon=True)
        self._thread.start()

    def enter(self, phase: Phase, read: Read | None = None) -> None:
        """Begin a phase; `read` is asked for how far its training is, by another thread."""
        self.settle()
        self._read = read
        self._write(phase=phase)

    def settle(self) -> None:
        """Ask for the last time how far the training is."""
        read, self._read = self._read, None
        if read is not None:
            self.content = self.content.model_copy(update={"training": read()})

    def end(self, status: str, exit_code: int, code: str | None, reason: str) -> None:
        """Write how the job ended, as the manifest has it."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_LAST_WAIT_S)
        self._write(status=status, exit_code=exit_code, code=code, reason=reason)

    def restore(self) -> None:
        """Put back what an earlier job left, where this one has done nothing."""
        if self._path is not None and self._has_written:
            with contextlib.suppress(OSError, JobError):
                if self._before is None:
                    self._path.unlink(missing_ok=True)
                    return
                with whole_file(self._path) as file:
                    file.write(self._before)

    def _keep_writing(self) -> None:
        while not self._over.wait(self._interval_s):
            self._write()

    def _write(self, **changed: Any) -> None:
        if changed:  # else by the thread, which must not put back an older one
            self.content = self.content.model_copy(update=changed)
        if self._path is None or not self._lock.acquire(timeout=_LAST_WAIT_S):
            return
        try:
            started = time.monotonic()
            self._put(self._path)
            taken_s = time.monotonic() - started
            self._interval_s = min(max(_INTERVAL_S, taken_s / _SHARE), _LONGEST_S)
        except (OSError, JobError) as error:
            self._warn(error)
        finally:
            self._lock.release()

    def _put(self, path: Path) -> None:
        """Write the content as it is now, checked; raises OutputError."""
        if not self._has_written:
            with contextlib.suppress(OSError, ValueError):
                self._before = read_bytes(path)
            self._has_written = True
        now: dict[str, Any] = {"updated_at": time_text(), "interval_s": round(self._interval_s, 1)}
        if (read := self._read) is not None:
            now["training"] = read()
        if told := os.environ.get(MIRROR_STATUS):
            with contextlib.suppress(OSError, ValueError):
                now["mirror"] = MirrorStatus.model_validate_json(read_bytes(Path(told)))
        whole = JobStatus.model_validate(dict(self.content.model_copy(update=now)))
        write_json(path, whole.model_dump(mode="json"))

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            warn("status-unwritten", f"{error}; the job continues without its status")


def end_lost(path: Path, attempt: str, status: str, exit_code: int, code: str, reason: str) -> None:
    """Write how a job ended whose process was lost, unless it or another job has done so."""
    with contextlib.suppress(OSError, ValueError, JobError):
        found = JobStatus.model_validate_json(read_bytes(path))
        if found.status == "running" and found.attempt == attempt:
            ending = {"status": status, "exit_code": exit_code, "code": code, "reason": reason}
            ended = found.model_copy(update=ending | {"updated_at": time_text()})
            write_json(path, ended.model_dump(mode="json"))
