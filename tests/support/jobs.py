"""Jobs as processes, forked by one that has imported every library already."""

import atexit
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Self

from tests.support import fork_server, stand_in
from tests.support.paths import ROOT

# No threads before the fork: neither OpenBLAS's nor that of pyarrow's jemalloc.
_SINGLE_THREADED = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
_PRELOADED = "LD_PRELOAD"  # of no effect in a forked process: its server has it from its start
_OF_COVERAGE = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


# An environment in which a job starts its processes itself, for what looks at them from outside.
OWN_PROCESSES = {"PYTHON_EXEC": sys.executable}

# One in which its interpreter is taken apart at the end: where endings are what is looked at.
WHOLE_END = {fork_server.WHOLE_END: "1"}


class Job:
    """A process that runs `python WORDS` in the checkout; used like a subprocess.Popen of text.

    The processes that torchrun and multiprocessing start for it are forked as well.
    """

    def __init__(
        self,
        words: Sequence[str | Path],
        environment: Mapping[str, str],
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        """stdout, stderr: subprocess.PIPE, DEVNULL or STDOUT, or a descriptor; None: ours."""
        self.args = [str(word) for word in words]
        self.returncode: int | None = None
        address = _server(environment.get(_PRELOADED, ""))
        forked = {"PYTHON_EXEC": stand_in.__file__, stand_in.SERVER: address}
        request = {
            "words": self.args,
            "environment": forked | dict(environment),
            "files": [0, 1, 2],
            "blocked": [],
        }
        self._answer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._answer.connect(f"\0{address}")
        self.stdout, out = _stream(stdout, 1)
        joined = stderr == subprocess.STDOUT
        self.stderr, err = (None, os.dup(out)) if joined else _stream(stderr, 2)
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            socket.send_fds(self._answer, [json.dumps(request).encode()], [nothing, out, err])
        finally:
            for file in (nothing, out, err):
                os.close(file)
        self.pid = int(self._answer.recv(32))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    def poll(self) -> int | None:
        """The exit code, minus the number of the signal that ended it; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it prints into pipes until it ends; raises subprocess.TimeoutExpired."""
        started, texts = time.monotonic(), {0: "", 1: ""}

        def read(number: int, stream: IO[str]) -> None:
            texts[number] = stream.read()

        streams = [(n, s) for n, s in enumerate((self.stdout, self.stderr)) if s and not s.closed]
        threads = [threading.Thread(target=read, args=pair, daemon=True) for pair in streams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(None if timeout is None else max(0, started + timeout - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if timeout is None else max(0.1, started + timeout - time.monotonic()))
        for _, stream in streams:
            stream.close()
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._answer.settimeout(timeout)
            try:
                status = self._answer.recv(32)
            except (BlockingIOError, TimeoutError):
                return None
            assert status, "the fork server has ended"
            self.returncode = os.waitstatus_to_exitcode(int(status))
            self._answer.close()
        return self.returncode


def _stream(chosen: int | None, ours: int) -> tuple[IO[str] | None, int]:
    """Our end of a pipe, if there is one, and the descriptor for the job."""
    if chosen == subprocess.PIPE:
        reading, writing = os.pipe()
        return os.fdopen(reading), writing
    if chosen == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_WRONLY)
    return None, os.dup(ours if chosen is None else chosen)


@cache
def _server(preloaded: str) -> str:
    """The (abstract) address where a fork server takes requests; the first one starts it.

    preloaded: a library that it and its jobs have in front of others; "" for none: then it may be
        the one that another process of the session has started
    """
    if not preloaded and stand_in.SERVER in os.environ:
        return os.environ[stand_in.SERVER]
    ours, theirs = socket.socketpair()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("")  # the kernel chooses an address
    listener.listen()
    address = listener.getsockname()[1:].decode()
    environment = {name: text for name, text in os.environ.items() if name not in _OF_COVERAGE}
    environment |= {_PRELOADED: preloaded} if preloaded else {}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fork_server", str(listener.fileno())],
        pass_fds=[listener.fileno()],
        cwd=ROOT,
        env=environment | _SINGLE_THREADED,
        stdin=theirs.fileno(),
        start_new_session=True,
    )
    theirs.close()
    listener.close()

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return address


def share_server() -> None:
    """Start the server, unless there is one, for this process and those that it starts."""
    os.environ[stand_in.SERVER] = _server("")


def fork_workers() -> None:
    """Have the workers that this process itself starts forked as well."""
    share_server()
    multiprocessing.set_executable(stand_in.__file__)


Process = Job | subprocess.Popen[str]
