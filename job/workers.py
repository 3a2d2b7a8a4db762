"""Work spread over processes: each worker has its own pipe, so a death has a name.

A worker ignores the terminal's signals; it ends when its pipe closes, also when the parent was
killed. A worker that dies or hangs ends the whole work with an error that names its task: a worker
that makes progress sends something every few seconds, if only where it is.
"""

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Self

from job import signals
from job.errors import DatasetError, JobError, OutputError
from job.machine import end_with_parent, kill_before_others, resident_bytes

logger = logging.getLogger("act")

Send = Callable[[Any], None]  # from a worker to the process that started it
Work = Callable[[Any, Send], None]  # a task, and how to send what it results in

# glibc would give each frame's memory back to the kernel and take it again: a page fault for every
# 4 kB, which took as long as the colour conversion (15 to 20 % of the whole conversion, measured).
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(256 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
CRASH = "worker-crash"  # the code of the error that a dead worker leaves
SILENT_S = 600.0  # after which a busy worker is taken to hang
_KEPT_BYTES = 160 << 20  # of a worker that may wait for more tasks; 140 MB of it are libraries
_LONGEST_PAUSE_S = 1.0  # between two looks: what is more, this process itself stood still
_POLL_S = 0.2
_END_S = 5.0


@dataclass(frozen=True)
class At:
    """What a worker is on, sent so that an error can name it."""

    place: str


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    task: Any = None
    place: str | None = None  # in its task
    silent_s: float = 0.0


class Workers:
    """Worker processes: those that have done their tasks wait for the next ones, until the end."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []

    def run(
        self, work: Work, tasks: Sequence[Any], count: int, name: Callable[[Any], str]
    ) -> Iterator[Any]:
        """As `run_tasks`; what is left unread ends the workers."""
        waiting = list(reversed(tasks))
        workers = [self._take() for _ in range(min(count, len(tasks)))]
        try:
            for worker in workers:
                _give_task(worker, work, waiting)
            looked = time.monotonic()
            while any(worker.task is not None for worker in workers):
                signals.check()
                heard = _ready(workers)
                for worker in heard:
                    yield from _receive(worker, work, waiting, name)
                before, looked = looked, time.monotonic()
                _refuse_silence(workers, heard, min(looked - before, _LONGEST_PAUSE_S), name)
        except BaseException:
            _end(workers)
            raise
        for worker in workers:
            if resident_bytes(worker.process.pid) < _KEPT_BYTES:
                self._idle.append(worker)
            else:
                _end([worker])

    def _take(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                return worker
            _end([worker])
        return _start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._idle)
        self._idle = []


def run_tasks(
    work: Work,
    tasks: Sequence[Any],
    count: int,
    name: Callable[[Any], str],
    pool: Workers | None = None,
) -> Iterator[Any]:
    """Do every task on up to `count` processes; yield what they send as it arrives.

    Raises the first JobError of a worker, one that names its task when a worker dies or sends
    nothing for SILENT_S, and Interrupted when a signal asked the job to stop. `work` must be
    importable by name.
    pool: where the processes come from, and wait afterwards; None: they start and end here
    """
    with contextlib.nullcontext(pool) if pool else Workers() as workers:
        yield from workers.run(work, tasks, count, name)


def _start() -> _Worker:
    context = multiprocessing.get_context("spawn")  # fork would copy the threads of torch and HDF5
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    # the child inherits this and ignores them once it runs: a terminal's Ctrl-C must not meet it
    # while it still imports
    for variable, value in _KEEP_MEMORY.items():
        os.environ.setdefault(variable, value)  # read when a process starts: ours has
    resource_tracker.ensure_running()  # its start would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if process.pid:
        kill_before_others(process.pid)  # a worker's death is reported with its episode
    theirs.close()
    return _Worker(process, ours)


def _give_task(worker: _Worker, work: Work, waiting: list[Any]) -> None:
    worker.task, worker.place = (waiting.pop() if waiting else None), None
    if worker.task is not None:
        # a worker that has died is noticed, with its task's name, when it is listened to
        with contextlib.suppress(OSError):
            worker.pipe.send_bytes(pickle.dumps((work, worker.task)))


def _ready(workers: list[_Worker]) -> list[_Worker]:
    busy = [worker for worker in workers if worker.task is not None]
    ready = wait([worker.pipe for worker in busy], timeout=_POLL_S)
    return [worker for worker in busy if worker.pipe in ready]


def _refuse_silence(
    workers: list[_Worker], heard: list[_Worker], seconds: float, name: Callable[[Any], str]
) -> None:
    """Count the time that each busy worker has been silent; raise when one exceeds SILENT_S."""
    for worker in workers:
        if worker.task is None or worker in heard or _waits_for_disk(worker.process.pid):
            worker.silent_s = 0.0
            continue
        worker.silent_s += seconds
        if worker.silent_s > SILENT_S:
            worker.process.kill()
            raise DatasetError(
                f"{worker.place or name(worker.task)}: the worker has sent nothing for "
                f"{SILENT_S / 60:g} minutes, expected progress every few seconds; most "
                f"likely the video decoder or HDF5 hangs; leave this episode out or record it "
                f"again",
                code=CRASH,
            )


def _waits_for_disk(pid: int | None) -> bool:
    """Whether a thread of a process is in the kernel's uninterruptible sleep: a disk is slow."""
    try:
        states = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # not Linux, or it is ending
        return False
    return any(state.rpartition(")")[2].split()[:1] == ["D"] for state in states)


def _receive(
    worker: _Worker, work: Work, waiting: list[Any], name: Callable[[Any], str]
) -> Iterator[Any]:
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        signals.check()
        raise _death(worker, worker.place or name(worker.task)) from None
    if isinstance(value, At):
        worker.place = value.place
    elif kind == "result":
        yield value
    elif kind == "log":
        if logger.isEnabledFor(value.levelno):
            logger.handle(value)
    elif kind == "error":
        raise value
    elif kind == "memory":
        raise _out_of_memory(worker.place or name(worker.task), "ran out of memory")
    elif kind == "bug":
        raise RuntimeError(f"in the worker on {name(worker.task)}:\n{value}")
    else:
        _give_task(worker, work, waiting)


def _death(worker: _Worker, task: str) -> JobError:
    worker.process.join(_END_S)
    code = worker.process.exitcode or 0
    if code == -signal.SIGKILL:
        return _out_of_memory(task, "was killed (SIGKILL), most likely for memory")
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return DatasetError(
        f"{task}: the worker crashed ({how}), most likely inside the video decoder or HDF5; leave "
        f"this episode out or record it again",
        code=CRASH,
    )


def _out_of_memory(task: str, what: str) -> OutputError:
    return OutputError(
        f"{task}: the worker {what}; give the container more memory, or lower --convert_workers if "
        f"it was converting, and run it again",
        code="memory",
    )


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
    for worker in workers:
        worker.process.join(_END_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


class _Sender:
    """The worker's end of the pipe, for all of its threads."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def __call__(self, kind: str, value: Any) -> None:
        # `send` pickles into a buffer of which Python 3.13 complains when the pipe is closed
        content = pickle.dumps((kind, value))
        with self._lock:
            self._pipe.send_bytes(content)


class _PipeHandler(logging.Handler):
    def __init__(self, send: _Sender) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        self._send("log", record)


def _serve(pipe: Connection) -> None:
    for number in signals.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.SIGNALS)
    end_with_parent(signal.SIGKILL)
    send = _Sender(pipe)
    logger.addHandler(_PipeHandler(send))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        while True:
            work, task = pipe.recv()
            try:
                work(task, partial(send, "result"))
                send("done", None)
            except JobError as error:
                send("error", error)
            except MemoryError:
                send("memory", None)
            except ConnectionError:
                raise
            except Exception:
                send("bug", traceback.format_exc())
    except (EOFError, ConnectionError):
        return  # the parent has ended, or has no use for the rest
