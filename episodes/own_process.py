"""Episode files are opened in processes of their own first: HDF5 may crash on a broken one."""

from collections.abc import Sequence
from pathlib import Path

from episodes.flags import EpisodeFlags
from episodes.reader import try_episode
from job import workers
from job.machine import cpu_count

_Task = tuple[Path, tuple[str, ...], bool]


def open_apart(paths: Sequence[Path], flags: EpisodeFlags) -> None:
    """Open each file once, for what the flags want of it.

    Raises DatasetError, which names a file that crashes its reader.
    """
    wanted = flags.camera_names, flags.env_state_use != "no"
    tasks: list[_Task] = [(path, *wanted) for path in paths]
    for _ in workers.run_tasks(_open, tasks, cpu_count(), lambda task: str(task[0])):
        pass


def _open(task: _Task, send: workers.Send) -> None:
    path, camera_names, env_state = task
    send(workers.At(str(path)))
    try_episode(path, camera_names, env_state=env_state)
