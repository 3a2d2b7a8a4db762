"""The folder that fetched datasets are kept in: bounded, those that were not used longest go first.

A dataset in use is locked by the job that reads it, and stays.
"""

import contextlib
import hashlib
import os
import re
import shutil
import time
from contextlib import AbstractContextManager
from pathlib import Path

from job import file_system
from job.errors import OutputError, UsageError
from job.lock import in_turn
from job.remote.address import Address
from job.remote.download import RECORD
from job.whole_files import output_errors

_DATASETS = "datasets"
_GB = 10**9
_ODD = r"[^\w.@-]"  # in names
_LOOK_S = 0.05


class Cache:
    """Datasets below a folder, at most so many bytes of them; each address has a folder there."""

    def __init__(self, folder: Path, most_gb: float) -> None:
        """most_gb: 0 = no bound"""
        self._cache = folder
        self._folder = folder / _DATASETS
        self._most_bytes = int(most_gb * _GB)
        self._held: dict[Path, int] = {}

    def turn(self, address: Address) -> AbstractContextManager[None]:
        """Wait until no other job fetches from that address."""
        waiting = f"another job fetches {address} into {self._cache}; waiting for it"
        return in_turn(self._cache / f".turn_{_name(address)}", waiting)

    def hold(self, address: Address) -> Path:
        """The folder of an address, which stays until this process ends; raises OutputError."""
        folder = self._folder / _name(address)
        with output_errors(folder):
            while folder not in self._held:
                folder.mkdir(parents=True, exist_ok=True)
                held = os.open(folder, os.O_RDONLY)
                with contextlib.suppress(BlockingIOError):  # another job removes it
                    file_system.lock(held, shared=True)
                    with contextlib.suppress(FileNotFoundError):
                        if os.path.samestat(folder.stat(), os.fstat(held)):
                            self._held[folder] = held
                            break
                os.close(held)
                time.sleep(_LOOK_S)
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
        kept = {record.parent: _size(record.parent) for record in self._folder.glob(f"*/{RECORD}")}
        used = sum(kept.values())
        mine = sum(size for folder, size in kept.items() if folder in self._held)
        if mine + needed_bytes > self._most_bytes:
            raise UsageError(
                f"--cache_gb {self._most_bytes / _GB:g}: the input takes "
                f"{(mine + needed_bytes) / _GB:.3g} GB, with what was fetched of it before, "
                f"expected room for all of it; raise the bound, or remove "
                f"{min(self._held, default=self._folder)} and choose fewer episodes or cameras",
                code="cache-small",
            )
        for folder in sorted(kept, key=_used_at):
            if used + needed_bytes <= self._most_bytes:
                return
            if folder not in self._held and _removed(folder):
                used -= kept[folder]


def _name(address: Address) -> str:
    """A folder's name: none lies within another's."""
    digest = hashlib.sha256(str(address).encode()).hexdigest()[:12]
    return f"{address.scheme}_{re.sub(_ODD, '_', address.name)[:60]}_{digest}"


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
