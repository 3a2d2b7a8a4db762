"""The folder that fetched datasets are kept in: bounded, those that were not used longest go first.

A dataset in use is locked by the job that reads it, and stays.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from job import file_system
from job.errors import OutputError, UsageError
from job.remote.address import Address
from job.remote.download import RECORD
from job.whole_files import output_errors

_DATASETS = "datasets"
_GB = 10**9


class Cache:
    """Datasets below a folder, at most so many bytes of them."""

    def __init__(self, folder: Path, most_gb: float) -> None:
        """most_gb: 0 = no bound"""
        self._folder = folder / _DATASETS
        self._most_bytes = int(most_gb * _GB)
        self._held: dict[Path, int] = {}

    def hold(self, address: Address) -> Path:
        """The folder of an address, which stays until this process ends; raises OutputError."""
        folder = self._folder.joinpath(address.scheme, *address.path.split("/"))
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if folder not in self._held:
                held = os.open(folder, os.O_RDONLY)
                with contextlib.suppress(BlockingIOError):  # another job is about to remove it
                    file_system.lock(held, shared=True)
                self._held[folder] = held
            folder.mkdir(parents=True, exist_ok=True)
            record = folder / RECORD
            record.touch()
            os.utime(record)
        return folder

    def release(self) -> None:
        """Let other jobs remove what this one held."""
        for held in self._held.values():
            os.close(held)
        self._held.clear()

    def make_room(self, needed_bytes: int) -> None:
        """Remove datasets that nobody uses until there is room; raises UsageError, OutputError."""
        if not self._most_bytes:
            return
        kept = {folder: _size(folder) for folder in self._datasets()}
        used = sum(kept.values())
        mine = sum(size for folder, size in kept.items() if folder in self._held)
        if mine + needed_bytes > self._most_bytes:
            raise UsageError(
                f"--cache_gb {self._most_bytes / _GB:g}: the input takes "
                f"{(mine + needed_bytes) / _GB:.3g} GB in {self._folder}, expected room for all of "
                f"it; raise the bound, or choose fewer episodes or cameras",
                code="cache-small",
            )
        for folder in sorted(kept, key=_used_at):
            if used + needed_bytes <= self._most_bytes:
                return
            if folder not in self._held and _removed(folder):
                used -= kept[folder]

    def _datasets(self) -> Iterator[Path]:
        for record in self._folder.rglob(RECORD):
            yield record.parent


def _removed(folder: Path) -> bool:
    """Remove a dataset unless a job uses it."""
    held = os.open(folder, os.O_RDONLY)
    try:
        file_system.lock(held)
        with output_errors(folder):
            shutil.rmtree(folder)
    except (BlockingIOError, OutputError):
        return False
    finally:
        os.close(held)
    return True


def _used_at(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return (folder / RECORD).stat().st_mtime
    return time.time()


def _size(folder: Path) -> int:
    sizes = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            sizes += path.stat().st_size if path.is_file() else 0
    return sizes
