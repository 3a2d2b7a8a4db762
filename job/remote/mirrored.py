"""A job whose output is an address: it runs on this machine's disk, and this process mirrors it.

lease → the run's folder is brought here → the job, as a process of its own, with its output in
--work_dir → what it writes is sent beside it → the last pass, the lease is given back.

The job knows nothing of this. So a bucket that is away holds up no training, and what a job that
was killed has left on the disk is still sent. A signal is passed on to the job; when it has saved
its state and ended, that is sent.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from job import signals
from job.command import report_error
from job.errors import JobError
from job.remote.address import Address
from job.remote.lease import Lease
from job.remote.local_job import LocalJob
from job.remote.mirror import Mirror
from job.remote.store import Store
from job.remote.tries import reason
from job.sections.status import MirrorStatus
from job.status import MIRROR_STATUS, time_text
from job.whole_files import write_json

logger = logging.getLogger("act")

_STATUS = ".mirror_status"
_PASS_S = 2.0  # between two passes
_TRY_S = 30.0  # of one request, before the pass is given up
_LOOK_S = 0.2


@dataclass
class _Passes:
    """Passes of the mirror beside the job, and how they go."""

    mirror: Mirror
    lease: Lease
    status_path: Path
    patience_s: float
    failure: JobError | None = None  # of the last pass
    behind_since: float | None = None  # by the monotonic clock
    sent_at: str | None = None
    over: threading.Event = field(default_factory=threading.Event)
    gave_up: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """One pass after another, until the job has ended or patience has."""
        while not self.over.wait(_PASS_S) and not self.lease.is_lost.is_set():
            self.once()
            behind = self.behind_since
            if behind is not None and time.monotonic() - behind > self.patience_s:
                self.gave_up.set()
                return

    def once(self) -> bool:
        """Send what has changed; False where that cannot be."""
        try:
            self.lease.check()
            self.mirror.send(self.lease.check)
        except JobError as error:
            if self.failure is None:
                logger.warning("%s; the job continues, and it is tried again", error)
            self.failure = error
            self.behind_since = self.behind_since or time.monotonic()
        else:
            if self.failure is not None:
                logger.info("mirror     the output is sent again")
            self.failure, self.behind_since, self.sent_at = None, None, time_text()
        self._note()
        return self.failure is None

    def _note(self) -> None:
        status = MirrorStatus(
            sent_at=self.sent_at,
            behind_s=None
            if self.behind_since is None
            else round(time.monotonic() - self.behind_since, 1),
            error=None if self.failure is None else reason(self.failure),
        )
        with contextlib.suppress(JobError):
            write_json(self.status_path, status.model_dump(mode="json"))


def run_mirrored(
    command: Sequence[str], address: Address, output: Path, run_name: str, patience_s: float
) -> int:
    """Run a job whose output is an address; returns its exit code.

    command: of the job, without its output
    output: where its output is on this machine
    """
    try:
        store = Store(address, is_output=True)
        mirror = Mirror(store, output, run_name)
        with Lease(Store(address, _TRY_S, is_output=True), mirror.run) as lease:
            logger.info("mirror     %s in %s: %s", address, output, mirror.restore())
            store.patience_s, store.ends_on_signal = _TRY_S, False
            status = output / _STATUS / f"{run_name}.json"
            passes = _Passes(mirror, lease, status, patience_s)
            return _run(command, output, address, passes, lease)
    except JobError as error:
        return report_error(error)


def _run(
    command: Sequence[str], output: Path, address: Address, passes: _Passes, lease: Lease
) -> int:
    sending = threading.Thread(target=passes.run, name="mirror", daemon=True)
    told = {MIRROR_STATUS: str(passes.status_path)}
    try:
        with LocalJob(command, output, address, told) as job:
            sending.start()
            code = job.wait(lambda: lease.is_lost.is_set() or passes.gave_up.is_set())
    finally:
        passes.over.set()
    sending.join()
    while not passes.once():
        lease.raise_if_lost()
        assert passes.failure is not None
        behind = passes.behind_since or time.monotonic()
        if time.monotonic() - behind > passes.patience_s or signals.reason() is not None:
            raise passes.failure
        time.sleep(_LOOK_S)
    return code
