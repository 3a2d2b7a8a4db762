"""A real signal at a chosen function: with this folder in PYTHONPATH, every Python process has it.

SIGNAL_AT=module:function is where the process of rank SIGNAL_RANK sends itself SIGNAL_NUMBER, if
that is given, and is then stuck for SIGNAL_STUCK_S, at its call number SIGNAL_CALL, by default the
first. SIGNAL_NUMBER=MAX_HOURS is no signal: the time of --max_hours is over there. SIGNAL_SENT is a
file that is then there. SIGNAL_EACH_S makes every call slow. SIGNAL_GRACE_S is what a job has
between the first signal and its end, on every process.
"""

import functools
import importlib
import importlib.util
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any


class _Finder(MetaPathFinder):
    """Changes a module when it has been imported, before anybody else has it."""

    def __init__(self, module: str, change: Callable[[ModuleType], None]) -> None:
        self._module = module
        self._change = change

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_change(made: ModuleType) -> None:
            execute(made)
            self._change(made)

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign,assignment]
        return spec


def _wrap(made: ModuleType) -> None:
    *owners, last = os.environ["SIGNAL_AT"].split(":")[1].split(".")
    owner = attrgetter(".".join(owners))(made) if owners else made
    setattr(owner, last, _signalling(getattr(owner, last)))


def _set_grace(signals: ModuleType) -> None:
    signals.GRACE_S = float(os.environ["SIGNAL_GRACE_S"])  # type: ignore[attr-defined]


def _signalling(function: Any) -> Any:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == int(os.environ.get("SIGNAL_CALL", "1")):
            _disturb()
        time.sleep(float(os.environ.get("SIGNAL_EACH_S", "0")))
        return function(*args, **kwargs)

    calls = itertools.count(1)
    return wrapped


def _disturb() -> None:
    sent = Path(os.environ["SIGNAL_SENT"])
    if sent.exists():  # by another process
        return
    sent.touch()
    match os.environ.get("SIGNAL_NUMBER"):
        case "MAX_HOURS":
            _end_hours()
        case str(name):
            os.kill(os.getpid(), signal.Signals[name])
    time.sleep(float(os.environ.get("SIGNAL_STUCK_S", "0")))


def _end_hours() -> None:
    """Return when the job has noticed it."""
    signals = importlib.import_module("job.signals")
    signals.end_after(0)
    while signals.reason() is None:
        time.sleep(0.01)


if "SIGNAL_AT" in os.environ and os.environ.get("RANK", "0") == os.environ["SIGNAL_RANK"]:
    sys.meta_path.insert(0, _Finder(os.environ["SIGNAL_AT"].split(":")[0], _wrap))
if "SIGNAL_GRACE_S" in os.environ:
    sys.meta_path.insert(0, _Finder("job.signals", _set_grace))
