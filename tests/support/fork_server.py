"""A process that has imported every library once, and forks the jobs that tests start.

A job is a process like any other: it has its own command line, environment, files and session,
imports this project afresh, hears real signals, and ends as Python ends. Only the libraries are
there already: importing torch takes seconds.

Requests come over the socket that is standard input, which no longer gives any when the tests
have ended: the server ends then too, with every job that is left.
"""

import contextlib
import importlib
import io
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import Any

LIBRARIES = (
    "numpy",
    "h5py",
    "pyarrow.parquet",
    "pyarrow.compute",
    "av",
    "torch",
    "torchvision.models",
    "torch.distributed.run",
    "matplotlib.figure",
    "tqdm.contrib.logging",
    "pydantic",
    "PIL.Image",
    "pyquaternion",
)
REQUEST_BYTES = 1 << 20


class Server:
    """Forks a job for each request, and answers with its wait status when it has ended."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)
        self._jobs: dict[int, tuple[int, socket.socket]] = {}  # by pidfd

    def serve(self) -> dict[str, Any] | None:
        """Serve until there are no more requests: None then, and in each job its request."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._requests:
                    self._answer(key.fd)
                elif (request := self._fork()) is not None:
                    return request or None

    def _fork(self) -> dict[str, Any] | None:
        """None in the server, {} after the last request, the request in the job."""
        message, files, _, _ = socket.recv_fds(self._requests, REQUEST_BYTES, 4)
        if not message:
            self._end_jobs()
            return {}
        answer, *streams = files
        if pid := os.fork():
            for file in streams:
                os.close(file)
            connection = socket.socket(fileno=answer)
            with contextlib.suppress(BrokenPipeError):
                connection.send(str(pid).encode())
            watched = os.pidfd_open(pid)
            self._jobs[watched] = (pid, connection)
            self._selector.register(watched, selectors.EVENT_READ)
            return None
        self._close()
        os.close(answer)
        os.setsid()
        for number, file in enumerate(streams):
            os.dup2(file, number)
            os.close(file)
        _open_streams()
        return json.loads(message)

    def _answer(self, watched: int) -> None:
        pid, connection = self._jobs.pop(watched)
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(watched)
        os.close(watched)
        with contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
            connection.send(str(status).encode())
        connection.close()

    def _end_jobs(self) -> None:
        for pid, _ in self._jobs.values():
            os.killpg(pid, signal.SIGKILL)

    def _close(self) -> None:
        """What is the server's own, and not the job's."""
        self._selector.close()
        self._requests.close()
        for watched, (_, connection) in self._jobs.items():
            os.close(watched)
            connection.close()


def _open_streams() -> None:
    """Standard input and output as a Python makes them that starts with these files."""
    for name, mode, file, errors in (
        ("stdin", "r", 0, sys.stdin.errors),
        ("stdout", "w", 1, sys.stdout.errors),
        ("stderr", "w", 2, "backslashreplace"),
    ):
        line_buffering = file == 2 or os.isatty(file)
        buffer = open(file, f"{mode}b", closefd=False)  # noqa: SIM115  as long as we live
        stream = io.TextIOWrapper(
            buffer, sys.stdout.encoding, errors, line_buffering=line_buffering
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def become(words: list[str], environment: dict[str, str]) -> None:
    """Run `python WORDS` in this process: a file or `-m module`, and its arguments."""
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [folder for folder in environment.get("PYTHONPATH", "").split(":") if folder]
    if "COVERAGE_PROCESS_CONFIG" in environment:
        importlib.import_module("coverage").process_startup()
    with contextlib.suppress(ModuleNotFoundError):
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0:0] = [str(Path(words[0]).resolve().parent)]
        runpy.run_path(words[0], run_name="__main__")


def _preload() -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, "a process with threads is not forked"


if __name__ == "__main__":
    _preload()
    with socket.socket(fileno=os.dup(0)) as requests:
        found = Server(requests).serve()
    if found is not None:
        become(found["words"], found["environment"])
