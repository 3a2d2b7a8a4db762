"""How large an input is, from its metadata alone: before it is checked, for a recipe."""

from collections.abc import Sequence
from pathlib import Path

from convert.flags import RunConversionFlags
from convert.input_kind import find_episode_folders
from convert.lerobot.dataset import choose_cameras, read_features
from convert.sources import find_datasets
from episodes.folder import choose_files
from episodes.input_numbers import InputNumbers
from episodes.reader import read_info
from job.errors import DatasetError
from job.workers import Send, run_tasks


def input_numbers(flags: RunConversionFlags) -> InputNumbers | None:
    """The numbers of an input; None where it cannot be read, which the job itself will say.

    Of a LeRobot dataset they are info.json's. Raises UsageError.
    """
    try:
        folders = find_episode_folders(flags.input)
        if folders:
            paths = [file.path for file in choose_files(folders, flags)]
            # HDF5 reads them, which may crash on a broken one
            (found,) = run_tasks(_of_files, [(paths, flags.camera_names)], 1, _name)
            numbers: InputNumbers = found
            return numbers
        return _of_datasets(flags, find_datasets(flags.input))
    except DatasetError:
        return None


def _of_datasets(flags: RunConversionFlags, roots: Sequence[Path]) -> InputNumbers:
    features = [read_features(root, videos=not flags.without_cameras) for root in roots]
    episodes = sum(one.total_episodes for one in features)
    frames = sum(one.total_frames for one in features)
    wanted = sum(map(flags.wants, range(episodes)))
    wanted = min(wanted, flags.max_episodes or wanted)
    size = None
    if not flags.without_cameras and (cameras := choose_cameras(features[0], flags.camera_keys)):
        size = features[0].features[cameras[0]].size
    return InputNumbers(wanted, round(frames * wanted / max(episodes, 1)), size)


def _of_files(task: tuple[Sequence[Path], Sequence[str]], send: Send) -> None:
    paths, camera_names = task
    infos = [read_info(path, camera_names) for path in paths]
    sizes = list(infos[0].image_sizes.values())
    send(InputNumbers(len(infos), sum(one.length for one in infos), sizes[0] if sizes else None))


def _name(task: tuple[Sequence[Path], Sequence[str]]) -> str:
    return f"reading the lengths of {len(task[0])} episodes from {task[0][0]}"
