"""A process that has imported every library once, and forks the jobs that tests start.

A job is a process like any other: it has its own command line, environment, files and session, and
hears real signals. Only the libraries and this project's modules are there already, as importing
torch takes seconds, and are left as they are at the end, unless it is asked otherwise. The
project is imported afresh where something else than a command line may change what it does: code
that is run at the start, or a measurement of coverage.

Requests come over connections to a listening socket, from the processes that run tests and from
what stands in the place of a Python that a job starts (stand_in.py). A job whose requester is gone
is killed. When standard input is closed, by the process that started the server, the server ends
with every job that is left.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import io
import json
import multiprocessing
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
import weakref
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
    "pydantic.dataclasses",
    "pydantic.json_schema",
    "pydantic.type_adapter",
    "jinja2",
    "zoneinfo",
    "yaml",
    "PIL.Image",
    "PIL.JpegImagePlugin",
    "pyquaternion",
)
PROJECT = ("act", "convert", "episodes", "job", "lerobot_to_act")
APART = ("act.export", "act.serve", "act.trackers", "act.simulate")  # few jobs need their packages
REQUEST_BYTES = 1 << 20
MOST_FILES = 250  # that a message may bring
WHOLE_END = "TEST_WHOLE_END"  # in the environment of a job whose interpreter is taken apart


class Server:
    """Forks a job for each request, and answers with its wait status when it has ended."""

    def __init__(self, owner: socket.socket, listener: socket.socket) -> None:
        """owner: is closed when nobody wants jobs any more"""
        self._owner = owner
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        for source in (owner, listener):
            self._selector.register(source, selectors.EVENT_READ)
        self._jobs: dict[int, tuple[int, socket.socket]] = {}  # by pidfd

    def serve(self) -> dict[str, Any] | None:
        """Serve until the owner has ended: None then, and in each job its request."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._owner:
                    self._end_jobs()
                    return None
                if key.fileobj is self._listener:
                    connection, _ = self._listener.accept()
                    message, files, _, _ = socket.recv_fds(connection, REQUEST_BYTES, MOST_FILES)
                    request = self._fork(message, connection, files)
                else:
                    request = None
                    self._answer(key.fd) if key.fd in self._jobs else self._kill(key.fd)
                if request is not None:
                    return request

    def _fork(
        self, message: bytes, connection: socket.socket, files: list[int]
    ) -> dict[str, Any] | None:
        """Fork a job with these files; None in the server, the request in the job."""
        if pid := os.fork():
            for file in files:
                os.close(file)
            with contextlib.suppress(BrokenPipeError):
                connection.send(str(pid).encode())
            watched = os.pidfd_open(pid)
            self._jobs[watched] = (pid, connection)
            for source in (watched, connection):
                self._selector.register(source, selectors.EVENT_READ)
            return None
        self._close()
        connection.close()
        os.setsid()
        request = json.loads(message)
        _number(files, request["files"])
        _open_streams()
        signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
        return request

    def _answer(self, watched: int) -> None:
        pid, connection = self._jobs.pop(watched)
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(watched)
        os.close(watched)
        if connection in self._selector.get_map():
            self._selector.unregister(connection)
        with contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
            connection.send(str(status).encode())
        connection.close()

    def _kill(self, requester: int) -> None:
        """Kill the job of a requester that is gone, unless it has just ended."""
        for pid, connection in self._jobs.values():
            if connection.fileno() == requester:
                self._selector.unregister(requester)
                os.killpg(pid, signal.SIGKILL)

    def _end_jobs(self) -> None:
        for pid, _ in self._jobs.values():
            os.killpg(pid, signal.SIGKILL)

    def _close(self) -> None:
        """What is the server's own, and not the job's."""
        self._selector.close()
        self._owner.close()
        self._listener.close()
        for watched, (_, connection) in self._jobs.items():
            os.close(watched)
            connection.close()


def _number(files: list[int], numbers: list[int]) -> None:
    """Give the files the numbers that they had where they come from."""
    above = [fcntl.fcntl(file, fcntl.F_DUPFD, max(numbers) + 1) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(above, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)


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
    """Run `python WORDS` in this process: a file, `-m MODULE` or `-c CODE`, and its arguments."""
    os.environ.clear()
    os.environ.update(environment)
    sys.orig_argv = [sys.executable, *words]
    sys.path[:0] = [folder for folder in environment.get("PYTHONPATH", "").split(":") if folder]
    if "PYTHONPATH" in environment or "COVERAGE_PROCESS_CONFIG" in environment:
        for name in [name for name in sys.modules if name.partition(".")[0] in PROJECT]:
            del sys.modules[name]
    if "COVERAGE_PROCESS_CONFIG" in environment:
        importlib.import_module("coverage").process_startup()
    with contextlib.suppress(ModuleNotFoundError):
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")
    multiprocessing.set_executable(environment.get("PYTHON_EXEC", sys.executable))
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(words[1], sys.modules["__main__"].__dict__)
    elif words[0] == "-m":
        sys.argv = words[1:]
        sys.modules.pop(words[1], None)  # it is run, as `__main__`
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0:0] = [str(Path(words[0]).resolve().parent)]
        runpy.run_path(words[0], run_name="__main__")


def _code(words: list[str], environment: dict[str, str]) -> int:
    """Run `python WORDS`; gives its exit code, as Python would have it."""
    try:
        become(words, environment)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end(code: int) -> None:
    """End as Python does, but for the libraries' objects: taking them apart takes 0.4 s."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _import_project() -> None:
    """Import the modules that most jobs import."""
    for name in PROJECT:
        folders = getattr(importlib.import_module(name), "__path__", ())
        for found in pkgutil.walk_packages(folders, f"{name}."):
            if not found.name.endswith("__main__") and not found.name.startswith(APART):
                importlib.import_module(found.name)


def _preload() -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    figure = importlib.import_module("matplotlib.figure").Figure()  # the first one reads the fonts
    figure.add_subplot().plot([0, 1], label="a")
    figure.axes[0].legend(title="b")
    figure.savefig(io.BytesIO(), format="png")
    _import_project()
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, "a process with threads is not forked"
    for finalizer in weakref.finalize._registry:  # type: ignore[attr-defined]
        finalizer.atexit = False  # of libraries' objects: 30 ms at the end of each job and worker
    gc.freeze()  # no job looks through the libraries' objects for garbage, or copies their pages


if __name__ == "__main__":
    _preload()
    with (
        socket.socket(fileno=os.dup(0)) as owner,
        socket.socket(fileno=int(sys.argv[1])) as listener,
    ):
        found = Server(owner, listener).serve()
    if found is not None:
        if found["environment"].get(WHOLE_END):
            become(found["words"], found["environment"])
        else:
            _end(_code(found["words"], found["environment"]))
