"""Signals that ask the job to end: noticed at once, acted on where nothing is lost.

first signal    the job goes on to where it can save, saves, and ends by itself: `check`
GRACE_S later   it still has not, as a step takes minutes or a disk hangs: it is ended from here
second signal   it is ended from here at once, when it comes a second later or more
A thread listens, as Python's own handlers wait for whatever C code the main thread is in. It hears
other signals too, when a library handles them in Python (torch's DataLoader does SIGCHLD).
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator

from job.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
GRACE_S = 12.0
_LAST_WORDS_S = 6.0  # 18 s in all: schedulers kill after 20 or 30
_LONGEST_WAIT_S = 3600.0  # select takes no more than some weeks
_REPEAT_S = 1.0  # a terminal, timeout(1), a scheduler and torchrun may all pass the same signal on

LastWord = Callable[[bool], None]  # told whether there is time to save

_received: list[str] = []
_last_words: list[LastWord] = []
_deadline: list[float] = []  # of --max_hours, by the monotonic clock
_wake: list[int] = []  # the end of a pipe that the listener hears
_patient = threading.Event()


def install() -> None:
    """Listen for the signals with which terminals and schedulers end jobs."""
    if _wake:
        return
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    _wake[:] = [theirs]
    for number in SIGNALS:
        signal.signal(number, _notice)
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(ours,), name="signals", daemon=True).start()


def end_after(hours: float) -> None:
    """Have the job end as if by a signal when it has run for so long."""
    _deadline[:] = [time.monotonic() + hours * 3600]
    os.write(_wake[0], b"\0")  # the listener is to look at it


def ask(why: str) -> None:
    """Ask the job to end, as a signal would, for a reason of its own."""
    if not _received:
        _received.append(why)


def leave_ending_to_others() -> None:
    """Have only a second signal end this process from here: torchrun waits for its processes."""
    _patient.set()


def reason() -> str | None:
    """What asked the job to end, if anything has."""
    return _received[0] if _received else None


def requested() -> bool:
    """Whether the job was asked to end."""
    return bool(_received)


def check() -> None:
    """Raise Interrupted when the job was asked to end; called where ending loses nothing."""
    if _received:
        raise Interrupted(f"{_received[0]}; the same command goes on from here", code="interrupted")


@contextlib.contextmanager
def last_word(say: LastWord) -> Iterator[None]:
    """Have `say` called, the outermost first, when the process is ended from here."""
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


def _notice(number: int, _: object) -> None:
    if not _received:  # the listener may be later than the main thread
        _received.append(f"{signal.Signals(number).name} received")


def _listen(pipe: int) -> None:
    first = _wait_for_first(pipe)
    if not _received:
        _received.append(first)
    came = time.monotonic()
    while True:
        left = came + GRACE_S - time.monotonic()
        if _patient.is_set():
            if signal.getsignal(signal.SIGTERM) is _notice:  # torchrun has started nothing yet
                _end(in_time=True)
            timeout = None
        else:
            timeout = max(0.0, left)
        if not select.select([pipe], [], [], timeout)[0]:
            _end(in_time=True)
        if os.read(pipe, 1)[0] in SIGNALS and time.monotonic() - came > _REPEAT_S:
            _end(in_time=False)


def _wait_for_first(pipe: int) -> str:
    """Wait for a signal or the deadline; returns which it was."""
    while True:
        left = max(0.0, _deadline[0] - time.monotonic()) if _deadline else None
        if left == 0.0:
            return "--max_hours are over"
        longest = None if left is None else min(left, _LONGEST_WAIT_S)
        if not select.select([pipe], [], [], longest)[0]:
            continue
        number = os.read(pipe, 1)[0]
        if number in SIGNALS:
            return f"{signal.Signals(number).name} received"


def _end(in_time: bool) -> None:
    def speak() -> None:
        for say in list(_last_words):  # what takes longest, the state, is the innermost
            with contextlib.suppress(Exception):  # the others may still be said
                say(in_time)

    speaker = threading.Thread(target=speak, daemon=True)  # it may hang where the job hangs
    speaker.start()
    speaker.join(_LAST_WORDS_S)
    os._exit(Interrupted.exit_code)
