"""How large an input is, as info.json or its first episode file says: for a recipe."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from convert.flags import RunConversionFlags
from convert.input_kind import find_episode_folders
from convert.lerobot.dataset import Dataset, choose_cameras, read_features
from convert.sources import find_datasets
from episodes.folder import choose_files
from episodes.input_numbers import InputNumbers
from episodes.reader import read_info
from job.workers import Send, run_tasks

_MOST_COUNTED = 1_000_000  # episodes, of which each is asked whether it is wanted


def input_numbers(flags: RunConversionFlags) -> InputNumbers:
    """The numbers of an input: info.json's, or of the first of its episode files.

    Raises DatasetError, and UsageError for an input of both kinds.
    """
    if folders := find_episode_folders(flags.folders):
        paths = [file.path for file in choose_files(folders, flags)]
        task = (paths[0], flags.camera_names)  # HDF5 may crash on a broken file
        ((length, image_size),) = run_tasks(_look_at, [task], 1, _task_name)
        return InputNumbers(len(paths), length * len(paths), image_size)
    roots = find_datasets(flags.folders)
    datasets = [read_features(root, videos=not flags.without_cameras) for root in roots]
    episodes = sum(dataset.total_episodes for dataset in datasets)
    frames = sum(dataset.total_frames for dataset in datasets)
    wanted = _wanted(flags, episodes)
    share = wanted / episodes if episodes else 0.0
    return InputNumbers(wanted, round(frames * share), _image_size(flags, datasets))


def _wanted(flags: RunConversionFlags, episodes: int) -> int:
    """How many of them are asked for; all, where their numbers have gaps and none seems to be."""
    if not flags.selects_episodes or episodes > _MOST_COUNTED:
        return episodes
    chosen = sum(map(flags.wants, range(episodes))) or episodes
    return min(chosen, flags.max_episodes or chosen)


def _image_size(flags: RunConversionFlags, datasets: Sequence[Dataset]) -> tuple[int, int] | None:
    """Of the smallest camera; None where turned frames may have another than info.json says."""
    if flags.without_cameras or flags.apply_rotation:
        return None
    return _smallest(
        size
        for dataset in datasets
        for key in choose_cameras(dataset, flags.camera_keys)
        if (size := dataset.features[key].size)
    )


def _look_at(task: tuple[Path, Sequence[str]], send: Send) -> None:
    """Send the length of an episode file, and the size of its smallest camera."""
    info = read_info(*task)
    send((info.length, _smallest(info.image_sizes.values())))


def _smallest(sizes: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    return min(sizes, key=lambda size: size[0] * size[1], default=None)


def _task_name(task: tuple[Path, Sequence[str]]) -> str:
    return f"looking at {task[0]}"
