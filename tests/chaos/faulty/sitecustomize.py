"""A call that fails: with this folder in PYTHONPATH, every Python process of a job has it.

Each write, sync, rename and unlink below FAULTY_OUTPUT is noted in the file FAULTY_CALLS by a line
that names it: `worker pwrite 3` is the third pwrite of the spawned workers, all of them together.
The one that FAULTY_CALL names fails. Names stay when the time decides how many states are written
in between. What h5py writes goes past Python: tests/chaos/disks.py has disks that are really full.
"""

import builtins
import errno
import fcntl
import io
import os
import sys
from pathlib import Path
from typing import Any

_ROLE = "worker" if "--multiprocessing-fork" in sys.orig_argv else "main"
_REAL_OPEN = io.open


def _fail_in_turn(kind: str) -> None:
    if _noted(f"{_ROLE} {kind}") == os.environ.get("FAULTY_CALL"):
        raise OSError(errno.ENOSPC, "No space left on device")


def _noted(kind: str) -> str:
    """Give the call its number, which no other thread or process gets."""
    with _REAL_OPEN(os.environ["FAULTY_CALLS"], "a+") as calls:
        fcntl.flock(calls, fcntl.LOCK_EX)
        calls.seek(0)
        name = f"{kind} {1 + calls.read().count(f'{kind} ')}"
        calls.write(f"{name}\n")
    return name


def _is_in_output(file: Any) -> bool:
    """Whether a path or a descriptor is of the job's output, not of a library's own files."""
    if isinstance(file, int):
        file = Path(f"/proc/self/fd/{file}").readlink()
    return os.fsdecode(file).startswith(os.environ["FAULTY_OUTPUT"])


def _wrapped(kind: str, call: Any) -> Any:
    def faulty(file: Any, *args: Any, **kwargs: Any) -> Any:
        if _is_in_output(file):
            _fail_in_turn(kind)
        return call(file, *args, **kwargs)

    return faulty


def _open(real: Any) -> Any:
    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wa+") and not isinstance(file, int) and _is_in_output(file):
            raw = _FaultyFile(file, mode.replace("b", ""))
            return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return real(file, mode, *args, **kwargs)

    return opened


class _FaultyFile(io.FileIO):
    def write(self, data: Any, /) -> int:
        _fail_in_turn("write")
        return super().write(data)


if "FAULTY_CALLS" in os.environ:
    for _name in ("fsync", "replace", "rename", "unlink", "pwrite"):
        setattr(os, _name, _wrapped(_name, getattr(os, _name)))
    builtins.open = io.open = _open(io.open)
