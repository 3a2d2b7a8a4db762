"""A policy server in this process, in a thread of its own."""

import asyncio
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from act.load.backend import Backend
from act.load.loaded_policy import LoadedPolicy
from act.serve.access import access_of
from act.serve.flags import ServeFlags
from act.serve.server import PolicyServer
from episodes.arrays import FloatArray, Frame

WAITS_S = 60


class Ending:
    """What asks the server to end, in the place of a signal."""

    def __init__(self) -> None:
        self.reason: str | None = None


class Gate:
    """Computes as another backend does, but waits to be let through when it is closed."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.states: list[float] = []  # the first value of each that came, in their order
        self.error: Exception | None = None

    def infer(
        self, state: FloatArray, images: Frame | None, env_state: FloatArray | None
    ) -> FloatArray:
        """As `Backend` has it; raises `error`, if there is one."""
        self.states.append(float(state[0, 0]))
        self.entered.release()
        assert self.open.wait(WAITS_S)
        if self.error is not None:
            raise self.error
        return self._backend.infer(state, images, env_state)


@contextmanager
def served(
    policy: LoadedPolicy, environ: dict[str, str] | None = None, **flags: Any
) -> Iterator[tuple[int, Ending]]:
    """The port of a server, and what ends it; it has ended afterwards."""
    given = ServeFlags(**({"port": 0} | flags))
    server = PolicyServer(policy, given, access_of(given, environ or {}))
    ending, opened = Ending(), queue.Queue[int]()
    thread = threading.Thread(
        target=lambda: asyncio.run(server.run(opened.put, lambda: ending.reason))
    )
    thread.start()
    try:
        yield opened.get(timeout=WAITS_S), ending
    finally:
        ending.reason = "the test has ended"
        thread.join(WAITS_S)
        assert not thread.is_alive()
