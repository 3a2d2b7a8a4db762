"""Episode files are opened in processes of their own first: HDF5 may crash on a broken one."""

from collections.abc import Sequence
from pathlib import Path

from episodes.jpeg import decode_jpeg
from episodes.reader import read_env_state, read_info, read_vectors
from episodes.reading import LEFT_OUT
from episodes.rows import find_rows, read_row
from job import workers
from job.machine import cpu_count

_Task = tuple[Path, tuple[str, ...], str, bool]


def open_apart(
    paths: Sequence[Path],
    camera_names: Sequence[str] = (),
    base_action: str = LEFT_OUT,
    env_state: bool = False,
) -> None:
    """Open each file once; raises DatasetError, which names a file that crashes its reader."""
    tasks = [(path, tuple(camera_names), base_action, env_state) for path in paths]
    for _ in workers.run_tasks(_open, tasks, cpu_count(), lambda task: str(task[0])):
        pass


def _open(task: _Task, send: workers.Send) -> None:
    send(workers.At(str(task[0])))
    try_episode(*task)


def try_episode(
    path: Path,
    camera_names: Sequence[str] = (),
    base_action: str = LEFT_OUT,
    env_state: bool = False,
) -> None:
    """Do what training will do first with a file: for a process that may crash over a broken one.

    Raises DatasetError as training would.
    """
    info = read_info(path, camera_names, base_action, env_state)
    read_vectors(path, base_action)
    if info.env_state_dim is not None:
        read_env_state(path)
    for camera in info.image_sizes.keys() - info.filmed.keys():
        find_rows(path, camera)
        row = read_row(path, camera, 0)
        if row.ndim == 1:
            decode_jpeg(row, f"{path}: frame 0 of {camera}")
