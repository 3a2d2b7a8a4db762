"""Tasks for worker processes, which import this module alone: it must be light."""

import os
import signal
import threading
from pathlib import Path

from job import workers


def die(task: int, send: workers.Send) -> None:
    """A task that may kill its worker, or raise a bug of ours."""
    send(task)
    if task == 7:
        send(workers.At("episode 12 (file-003.mp4)"))
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 5:
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == 6:
        raise ZeroDivisionError("a bug")
    if task == 7:
        raise MemoryError


def hang(task: int, send: workers.Send) -> None:
    """A task that reports now and then, or twice and never again."""
    send(workers.At("episode 12 (file-003.mp4)"))
    send(task)
    if task == 3:
        threading.Event().wait()
    for _ in range(30):
        threading.Event().wait(0.1)
        send(task)


def vulnerability(_: int, send: workers.Send) -> None:
    """How readily the kernel kills this worker when memory runs out."""
    send(int(Path("/proc/self/oom_score_adj").read_text()))
