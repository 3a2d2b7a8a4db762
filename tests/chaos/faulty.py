"""entrypoint.py on a disk whose FAULTY_CALL-th write, sync or rename fails, in each process.

What h5py writes goes past Python: tests/chaos/disks.py has disks that are really full for that.
"""

import atexit
import builtins
import errno
import io
import itertools
import os
import runpy
import sys
from pathlib import Path
from typing import Any

_calls = itertools.count(1)
_faulty = int(os.environ.get("FAULTY_CALL", "0"))
_main = os.getpid()


def _fail_in_turn() -> None:
    if next(_calls) == _faulty:
        raise OSError(errno.ENOSPC, "No space left on device")


def _wrapped(call: Any) -> Any:
    def faulty(*args: Any, **kwargs: Any) -> Any:
        _fail_in_turn()
        return call(*args, **kwargs)

    return faulty


def _open(real: Any) -> Any:
    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wa") and "output" in str(file):
            return _FaultyFile(file, mode.replace("b", ""))
        return real(file, mode, *args, **kwargs)

    return opened


class _FaultyFile(io.FileIO):
    def write(self, data: Any, /) -> int:
        _fail_in_turn()
        written = 0
        view = memoryview(data).cast("B")
        while written < len(view):
            written += super().write(view[written:]) or 0
        return written


def _leave_count(path: str) -> None:
    if os.getpid() == _main:
        Path(path).write_text(str(next(_calls) - 1))


for _name in ("fsync", "replace", "rename", "pwrite"):
    setattr(os, _name, _wrapped(getattr(os, _name)))
builtins.open = io.open = _open(io.open)

if __name__ == "__main__":
    if "FAULTY_COUNT" in os.environ:
        atexit.register(_leave_count, os.environ["FAULTY_COUNT"])
    root = Path(__file__).parent.parent.parent
    sys.path[0] = str(root)
    sys.argv[0] = str(root / "entrypoint.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
