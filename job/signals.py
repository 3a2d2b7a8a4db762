"""Signals that ask the job to end: noticed at once, acted on where nothing is lost.

first signal    the job continues to where it can save, saves, and ends by itself: `check`
GRACE_S later   it has not ended, as a step takes minutes or a disk hangs: the listener ends it
second signal   the listener ends it at once, when it comes a second later or more

Either the job ends the process or the listener does, never both: the first to begin has it. What
the listener does (it saves a state) must not run while Python ends, which stops threads wherever
they are, in the frames of torch's C++ too, and that ends the process with an abort.

The listener is a thread, as Python's own handlers wait for whatever C code the main thread is in.
It hears other signals too, when a library handles them in Python (torch's DataLoader does SIGCHLD).
"""

import atexit
import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

from job.errors import Interrupted

logger = logging.getLogger("act")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
GRACE_S = 12.0
_LAST_ACTIONS_S = 6.0  # 18 s in all: schedulers kill after 20 or 30
_OWN_END_S = 4.0  # of these, for a job that had begun to end by itself
_LONGEST_WAIT_S = 3600.0  # select takes no more than some weeks
_REPEAT_S = 1.0  # a terminal, timeout(1), a scheduler and torchrun may all pass the same signal on

LastAction = Callable[[bool], None]  # takes whether there is time to save


@dataclass
class _Listener:
    """What asked this process to end, and what is left to do where the listener ends it."""

    reason: str | None = None
    from_outside: bool = False  # a signal or --max_hours, not another process of the run
    last_actions: list[LastAction] = field(default_factory=list)
    beside: list[LastAction] = field(default_factory=list)  # those that each have a thread
    deadline: float | None = None  # of --max_hours, by the monotonic clock
    pipe: int | None = None  # the end that wakes the listener
    is_launcher: bool = False  # only a second signal ends it: torchrun waits for its processes
    passes_on: bool = False  # the same of a process that passes a signal on to the one it waits for
    deciding: threading.Lock = field(default_factory=threading.Lock)  # who ends the process
    is_ending: bool = False  # the listener does
    ends_by_itself: bool = False  # the job has saved what there was to save, and records its end
    is_over: bool = False  # nothing is left to record either: Python ends

    def request(self, reason: str, from_outside: bool = True) -> None:
        if self.reason is None:
            self.reason, self.from_outside = reason, from_outside


_listener = _Listener()  # signals are the process's own, so there is one


def install() -> None:
    """Listen for the signals with which terminals and schedulers end jobs."""
    if _listener.pipe is not None:
        return
    ours, _listener.pipe = os.pipe()
    os.set_blocking(_listener.pipe, False)
    for number in SIGNALS:
        signal.signal(number, _notice)
    signal.set_wakeup_fd(_listener.pipe, warn_on_full_buffer=False)
    atexit.register(_leave)  # called when other threads have ended, before Python stops daemons
    threading.Thread(target=_listen, args=(ours,), name="signals", daemon=True).start()


def end_after(hours: float) -> None:
    """Have the job end as if by a signal when it has run for so long."""
    assert _listener.pipe is not None
    _listener.deadline = time.monotonic() + hours * 3600
    os.write(_listener.pipe, b"\0")  # wakes the listener, which looks at the deadline


def request(reason: str) -> None:
    """Ask the job to end, as a signal would, for a reason that another process of the run gives."""
    _listener.request(reason, from_outside=False)


def wait_for_processes() -> None:
    """Have only a second signal end this process at once: torchrun waits for its processes."""
    _listener.is_launcher = True


def wait_for_job() -> None:
    """Have only a second signal end this process at once: the caller passes the first one on."""
    _listener.is_launcher = _listener.passes_on = True


def reason() -> str | None:
    """What asked the job to end, if anything has."""
    return _listener.reason


def from_outside() -> bool:
    """Whether a signal or --max_hours asked the job to end."""
    return _listener.from_outside


def check() -> None:
    """Raise Interrupted when the job was asked to end; called where ending loses nothing."""
    if _listener.reason is not None:
        raise Interrupted(f"{_listener.reason}; run the same command again", code="interrupted")


def ended_at_once() -> Interrupted:
    """Why the job ended, where the listener ends it."""
    return Interrupted(
        f"{_listener.reason}, and ended at once; run the same command again", code="interrupted"
    )


def end_by_itself() -> None:
    """The job ends by itself from here on; waits for the end where the listener has begun it."""
    with _listener.deciding:
        _listener.ends_by_itself = True
        is_ending = _listener.is_ending
    if is_ending:
        _wait_for_end()


def _leave() -> None:
    with _listener.deciding:
        _listener.is_over = True
        is_ending = _listener.is_ending
    if is_ending:
        _wait_for_end()


def _wait_for_end() -> NoReturn:
    while True:  # the listener ends the process, and this thread with it
        time.sleep(_LAST_ACTIONS_S)


@contextlib.contextmanager
def last_action(action: LastAction, beside: bool = False) -> Iterator[None]:
    """Have `action` done, the outermost first, when the listener ends the process.

    beside: while the others are done, as it may take all the time that is left
    """
    actions = _listener.beside if beside else _listener.last_actions
    actions.append(action)
    try:
        yield
    finally:
        actions.remove(action)


def _notice(number: int, _: object) -> None:
    _listener.request(_received(number))  # the listener may be later than the main thread


def _received(number: int) -> str:
    return f"{signal.Signals(number).name} received"


def _listen(pipe: int) -> None:
    _listener.request(_wait_for_first(pipe))
    came = time.monotonic()
    while True:
        if _listener.is_launcher:
            handler = signal.getsignal(signal.SIGTERM)
            if handler is _notice and not _listener.passes_on:  # torchrun has started nothing yet
                return _end(in_time=True)
            timeout = None
        else:
            timeout = max(0.0, came + _grace_s() - time.monotonic())
        if select.select([pipe], [], [], timeout)[0]:
            if os.read(pipe, 1)[0] in SIGNALS and time.monotonic() - came > _REPEAT_S:
                return _end(in_time=False)
        elif time.monotonic() >= came + _grace_s():
            return _end(in_time=True)


def _grace_s() -> float:
    return GRACE_S + (_OWN_END_S if _listener.ends_by_itself else 0.0)


def _wait_for_first(pipe: int) -> str:
    """Wait for a signal or the deadline; returns which it was."""
    while True:
        deadline = _listener.deadline
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if left == 0.0:
            return "--max_hours are over"
        longest = None if left is None else min(left, _LONGEST_WAIT_S)
        if not select.select([pipe], [], [], longest)[0]:
            continue
        number = os.read(pipe, 1)[0]
        if number in SIGNALS:
            return _received(number)


def _end(in_time: bool) -> None:
    """End the process, whatever its main thread does; returns where Python ends already."""
    with _listener.deciding:
        if _listener.is_over:
            return
        _listener.is_ending = True
        in_time = in_time and not _listener.ends_by_itself
    ends = time.monotonic() + GRACE_S + _LAST_ACTIONS_S - _grace_s()
    # in each list what takes longest, the state, is the innermost
    lists = [[*_listener.last_actions], *([action] for action in _listener.beside)]

    def act(actions: Sequence[LastAction]) -> None:
        for action in actions:
            with contextlib.suppress(Exception):  # the others may still be done
                action(in_time)

    def report() -> None:
        logger.error("%s", ended_at_once())

    # each may hang where the job hangs: on a disk, or on a terminal that nobody reads
    targets: list[Callable[[], None]] = [report, *(partial(act, actions) for actions in lists)]
    threads = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    os._exit(Interrupted.exit_code)
