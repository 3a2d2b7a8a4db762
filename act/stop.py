"""Signals that ask the job to end: noticed here, acted on between steps and between frames."""

import os
import signal
from types import FrameType

from act.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)

_received: list[str] = []


def install() -> None:
    """Listen for the signals with which terminals and schedulers end jobs."""
    for number in SIGNALS:
        signal.signal(number, _notice)


def requested() -> bool:
    """Whether a signal has come."""
    return bool(_received)


def check() -> None:
    """Raise Interrupted when a signal has come; called where ending loses nothing."""
    if _received:
        raise Interrupted(f"{_received[0]} received; the same command runs it again")


def _notice(number: int, _: FrameType | None) -> None:
    if _received:  # a second signal: at once
        os._exit(Interrupted.exit_code)
    _received.append(signal.Signals(number).name)
