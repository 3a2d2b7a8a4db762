"""One machine at a time writes a run to a bucket: a lease, renewed while it lives.

The lease is an object with its holder's name. It is renewed every `BEAT_S`, and may be taken over
when it was not for `LOST_S`, by the clock of the server alone: machines' clocks differ.
"""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from typing import Self

from job.errors import Interrupted, JobError
from job.remote.store import Store

NAME = ".lease.json"
BEAT_S, LOST_S = 60.0, 180.0
_SETTLE_S = 2.0  # two that begin at once have both written by then


class Lease:
    """The lease on a run, which this process holds for as long as the context lasts.

    Raises Interrupted while another machine holds it, and where its store cannot be reached.
    """

    def __init__(
        self, store: Store, folder: str, beat_s: float = BEAT_S, lost_s: float = LOST_S
    ) -> None:
        """folder: of the run, below the store's address"""
        self._store = store
        self._name, self._probe = f"{folder}/{NAME}", f".clock_{uuid.uuid4().hex[:8]}"
        self._beat_s, self._lost_s = beat_s, lost_s
        self._owner = uuid.uuid4().hex
        self._over = threading.Event()
        self._renewing = threading.Lock()
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self.is_lost = threading.Event()  # another machine has taken it over

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _take(self) -> None:
        """Take it; raises Interrupted while another machine holds it."""
        holder = self._holder()
        if holder is not None and (age_s := self._age_s()) < self._lost_s:
            raise self._held(holder, f"renewed {age_s:.0f} s ago")
        if holder is not None:
            self._write()
            time.sleep(_SETTLE_S)
        elif self._store.create(self._content(), self._name):
            time.sleep(_SETTLE_S)
        found = self._holder() or {}
        if found.get("owner") != self._owner:
            raise self._held(found, "taken at the same moment")
        self._renewed = time.monotonic()
        self._thread.start()

    def _leave(self) -> None:
        """Give it back, unless another machine has it."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        with contextlib.suppress(JobError):
            if (self._holder() or {}).get("owner") == self._owner:
                self._store.remove(self._name)

    def check(self) -> None:
        """Raise Interrupted where another machine has it, also where it may have had since."""
        self.raise_if_lost()
        if time.monotonic() - self._renewed > self._lost_s / 2:  # it was cut off for a while
            self._renew()
            self.raise_if_lost()

    def raise_if_lost(self) -> None:
        """Raise Interrupted where another machine is known to have it."""
        if self.is_lost.is_set():
            raise Interrupted(
                f"{self._store.address}/{self._name}: another machine has taken the run over, "
                f"expected to be the only one; what was trained here since is not sent",
                code="run-in-use",
            )

    def _renew(self) -> None:
        """Renew it, unless another machine has it, which is then known; raises JobError."""
        with self._renewing:
            found = self._holder()
            if found is not None and found.get("owner") != self._owner:
                self.is_lost.set()
                return
            self._write()
            self._renewed = time.monotonic()

    def _keep(self) -> None:
        """Renew it until the end; one that another machine has is lost."""
        while not self._over.wait(self._beat_s):
            with contextlib.suppress(JobError):  # it cannot be reached: it may be at the next beat
                self._renew()
            if self.is_lost.is_set():
                return

    def _held(self, holder: dict[str, str], when: str) -> Interrupted:
        host = holder.get("host", "another machine")
        return Interrupted(
            f"{self._store.address}/{self._name}: the run is held by {host} ({when}), expected no "
            f"other machine; wait until it has ended, or choose another --run_name; a machine "
            f"that is gone loses it after {self._lost_s:.0f} s",
            code="run-in-use",
        )

    def _holder(self) -> dict[str, str] | None:
        if self._store.written_at(self._name) is None:
            return None
        with contextlib.suppress(ValueError):
            found = json.loads(self._store.read(self._name))
            if isinstance(found, dict):
                return found
        return {}

    def _age_s(self) -> float:
        """How long ago it was renewed, by the server's clock."""
        self._store.put_bytes(b"", self._probe)
        now, then = self._store.written_at(self._probe), self._store.written_at(self._name)
        self._store.remove(self._probe)
        return self._lost_s if now is None or then is None else now - then

    def _write(self) -> None:
        self._store.put_bytes(self._content(), self._name)

    def _content(self) -> bytes:
        holder = {"owner": self._owner, "host": platform.node(), "pid": str(os.getpid())}
        return json.dumps(holder).encode()
