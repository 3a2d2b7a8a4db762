"""Episode files are opened in processes of their own first: HDF5 may crash on a broken one."""

from collections.abc import Sequence
from pathlib import Path

from episodes.reader import try_episode
from job import workers
from job.machine import cpu_count


def open_apart(paths: Sequence[Path]) -> None:
    """Open each file once; raises DatasetError, which names a file that crashes its reader."""
    for _ in workers.run_tasks(_open, paths, cpu_count(), str):
        pass


def _open(path: Path, send: workers.Send) -> None:
    send(workers.At(str(path)))
    try_episode(path)
