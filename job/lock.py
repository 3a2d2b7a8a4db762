"""Locks on folders, so that no two jobs write the same files.

A training job holds its run's folder alone, and shares the output with other runs. The shards of a
conversion share their folder. A whole conversion and upstream's command hold theirs alone. The
locks are the kernel's, on the folders themselves, and end with the process that holds them.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from job import file_system, signals
from job.errors import Interrupted, OutputError
from job.output_names import CHECKPOINTS
from job.whole_files import output_errors

logger = logging.getLogger("act")

LOCK = ".lock"  # in folders that cannot be locked themselves
Holder = Literal["alone", "shard", "run"]
_POLL_S = 0.5
_TRIES = 100


@contextlib.contextmanager
def only_job(folder: Path, holder: Holder = "alone") -> Iterator[None]:
    """Hold a folder against jobs that cannot share it, for as long as the context lasts.

    holder: "alone", or "shard" or "run", which share the folder with others of their kind
    Raises Interrupted where a job of the same kind is in the way: the same command is worth
    running again later. Raises OutputError where one of another kind is, which may take days.
    """
    held = _held_at_once(folder, holder)
    try:
        yield
    finally:
        os.close(held)


def _held_at_once(folder: Path, holder: Holder) -> int:
    for left in reversed(range(_TRIES)):
        held = _opened(folder)
        try:
            if not _locked(held, folder, shared=holder != "alone"):
                raise _in_use(folder, holder)
            if _is_of(held, folder) or not left:
                return held
        except BaseException:
            os.close(held)
            raise
        os.close(held)  # a job that was refused has removed it: make it anew
    raise AssertionError("the last try returns")


def _in_use(folder: Path, holder: Holder) -> Interrupted | OutputError:
    running = _held_below(folder / CHECKPOINTS)
    if holder == "run" or (holder == "alone" and running):
        who = f"the run {running[0].name!r}" if running else "a conversion"
        return OutputError(
            f"{folder}: {who} is writing here, expected only runs, or only one conversion, in an "
            f"output at the same time; choose another output folder",
            code="output-in-use",
        )
    return Interrupted(
        f"{folder}: another job is writing here, expected to be the only one; wait until it "
        f"has ended, or choose another folder",
        code="run-in-use",
    )


def _held_below(folder: Path) -> list[Path]:
    """The folders in it that jobs hold."""
    return [path for path in sorted(folder.glob("*/")) if _is_held(path)]


def _is_held(folder: Path) -> bool:
    with contextlib.suppress(OSError, OutputError):  # it is gone, or not ours to look at
        held = os.open(folder, os.O_RDONLY)
        try:
            return not _locked(held, folder, shared=True)
        finally:
            os.close(held)
    return False


@contextlib.contextmanager
def in_turn(folder: Path, waiting: str) -> Iterator[None]:
    """Hold `folder` as soon as no other job does; it is removed at the end.

    folder: a hidden one, made for this alone
    waiting: the message to log if another job holds it
    Raises Interrupted on a signal.
    """
    held = _held_in_turn(folder, waiting)
    try:
        yield
    finally:
        _remove(folder)  # while it is held: the next holder checks that it is still there
        os.close(held)


def _held_in_turn(folder: Path, waiting: str) -> int:
    logged = False
    while True:
        held = _opened(folder)
        try:
            while not _locked(held, folder, shared=False):
                if not logged:
                    logger.info("%s", waiting)
                    logged = True
                signals.check()
                time.sleep(_POLL_S)
            if _is_of(held, folder):
                return held
        except BaseException:
            os.close(held)
            raise
        os.close(held)  # it was removed by the job before: make it anew


def remove_unheld(folder: Path) -> None:
    """Remove a folder of `in_turn` that a killed job left behind."""
    if not _is_held(folder):
        _remove(folder)


def remove_empty(folder: Path) -> None:
    """Remove a folder that this job holds, where it has nothing but the lock; raises OSError.

    While it is held: the next holder checks that it is still there.
    """
    if {one.name for one in folder.iterdir()} <= {LOCK}:
        _remove(folder)


def _opened(folder: Path) -> int:
    """Open the folder, made where it is missing; another job may remove it in between."""
    with output_errors(folder):
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                folder.mkdir(parents=True, exist_ok=True)
                return os.open(folder, os.O_RDONLY)
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY)


def _locked(held: int, folder: Path, shared: bool) -> bool:
    """Lock the folder that `held` is open on; False while another job holds it.

    True also on a file system that has no locks.
    """
    with output_errors(folder):
        try:
            if not file_system.lock(held, shared):
                _lock_file(held, folder, shared)
        except BlockingIOError:
            return False
    return True


def can_be_locked(folder: Path) -> bool:
    """Whether folders, or else files in them, can be locked there."""
    with contextlib.suppress(OSError):
        held = os.open(folder, os.O_RDONLY)
        try:
            return file_system.lock(held, shared=True) or _lock_file(held, folder, shared=True)
        except BlockingIOError:
            return True
        finally:
            os.close(held)
    return False


def _lock_file(held: int, folder: Path, shared: bool) -> bool:
    """Lock a file in the folder in place of the folder, and have `held` refer to that file.

    For NFS, which locks only what is open for writing. Returns False where the file cannot be
    locked either, of which the user is warned (job/output_folder.py).
    Raises BlockingIOError while another job holds it.
    """
    try:
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError:  # a folder that may not be written to is reported elsewhere
        return False
    try:
        is_locked = file_system.lock(file, shared)
        if is_locked:
            os.dup2(file, held, inheritable=False)
        return is_locked
    finally:
        os.close(file)


def _is_of(held: int, folder: Path) -> bool:
    """Whether the folder, or its lock file, is still the one that is held, not a newer one."""
    found = os.fstat(held)
    for path in (folder, folder / LOCK):
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), found):
                return True
    return False


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()
