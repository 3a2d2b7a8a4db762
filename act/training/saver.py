"""Writes the state of a run: beside training now and then, and at once when a run must end.

The state before stays until the new one is whole.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from act.policies.weights import save
from act.training.state import State, Stateful, copied, state_of, tensor_bytes
from job.machine import free_memory_bytes
from job.output_names import STATE

_SPARE = 1.25  # of a copy, which must fit the free memory


class Saver:
    """Writes the state of its owners, so that none is of the middle of a change."""

    def __init__(
        self, folder: Path | None, interval_s: float, owners: Mapping[str, Stateful]
    ) -> None:
        """folder: None on processes that write no files"""
        self._path = None if folder is None else folder / STATE
        self._interval_s = interval_s
        self._owners = owners
        self._saved_at = time.monotonic()
        self._writing: threading.Thread | None = None
        self._error: Exception | None = None
        self._lock = threading.RLock()
        self._torn = False
        self._is_saved = False  # what the owners hold now
        self.written_at: float | None = None  # the last state of this job, in seconds since 1970

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Make the changes inside atomic: no state is saved halfway, nor once one has failed."""
        with self._lock:
            self._torn, self._is_saved = True, False
            yield
            self._torn = False

    @property
    def is_due(self) -> bool:
        """Whether the state should be saved; raises OutputError when the last time failed."""
        if self._path is None or (self._writing is not None and self._writing.is_alive()):
            return False
        self.wait()
        return time.monotonic() - self._saved_at >= self._interval_s

    def save(self, beside: bool) -> None:
        """Write the state; `beside`: by a thread while training continues, if memory allows it."""
        if self._path is None:
            return
        with self._lock:
            self.wait()
            if self._torn or self._is_saved:
                return
            state = state_of(self._owners)
            if beside and _SPARE * tensor_bytes(state) < free_memory_bytes():
                state = copied(state)
                self._writing = threading.Thread(target=self._write, args=(state,), name="state")
                self._writing.start()
            else:
                self._put(state)
                self._is_saved = True
        self._saved_at = time.monotonic()

    def _write(self, state: State) -> None:
        try:
            self._put(state)
        except Exception as error:  # MemoryError among them
            self._error = error

    def _put(self, state: State) -> None:
        assert self._path is not None
        save(self._path, state)
        self.written_at = time.time()

    def wait(self) -> None:
        """Wait for what is being written; raises what went wrong with it."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def settle(self) -> None:
        """Let what is being written, by whatever thread, come to its end."""
        with self._lock:
            self.wait()
