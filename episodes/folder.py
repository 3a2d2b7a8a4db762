"""Folders of episode files: which files are episodes, their numbers, and which are asked for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from episodes.flags import EpisodeFlags
from episodes.input_folder import list_input
from job.errors import DatasetError, UsageError

# As ALOHA's recorder, those that fill up with zeros, and those without a separator name them.
_NAME = re.compile(r"episode[_-]?(\d+)\.hdf5", re.ASCII)
_OF_HDF5 = (".hdf5", ".h5")


@dataclass(frozen=True)
class EpisodeFile:
    """An episode file of the input."""

    path: Path
    own_number: int  # in its name
    number: int  # what --episodes means: its own, counted on over the folders


def is_episode_name(name: str) -> bool:
    """Whether a file of this name, with or without its folders, is an episode."""
    return _NAME.fullmatch(name.rpartition("/")[2]) is not None


def holds_episodes(folder: Path) -> bool:
    """Whether a folder has episode files."""
    return any(is_episode_name(path.name) for path in list_input(folder))


def folders_within(folder: Path) -> list[Path]:
    """The folders within one that have episode files, by name."""
    return [path for path in sorted(list_input(folder)) if path.is_dir() and _may_hold(path)]


def _may_hold(folder: Path) -> bool:
    """As `holds_episodes`, of a folder that nobody named: one that cannot be read has none."""
    try:
        return holds_episodes(folder)
    except DatasetError:
        return False


def find_episodes(folder: Path) -> list[Path]:
    """The episode files in a folder, by number; raises DatasetError for a number that two have."""
    return list(_numbered(folder).values())


def choose_files(folders: Sequence[Path], flags: EpisodeFlags) -> list[EpisodeFile]:
    """The episode files that are asked for, folder by folder.

    Raises DatasetError when two have one number, or none is left.
    """
    files: list[EpisodeFile] = []
    offset = 0
    for folder in folders:
        numbered = _numbered(folder)
        files += [EpisodeFile(path, number, offset + number) for number, path in numbered.items()]
        offset += max(numbered, default=-1) + 1
    wanted = [file for file in files if flags.wants(file.number)][: flags.max_episodes or None]
    if not wanted:
        numbers = f"numbered {files[0].number} to {files[-1].number}" if files else "none"
        raise DatasetError(
            f"{', '.join(map(str, folders))}: no episode is left of {len(files)} ({numbers}); "
            f"expected at least one; look at {flags.option('episodes')} and "
            f"{flags.option('exclude_episodes')}",
            code="episodes-missing",
            where=folders[0],
        )
    return wanted


def missing_numbers(folder: Path) -> tuple[int, int]:
    """How many numbers are missing between those of a folder's episodes, and the first of them."""
    numbers = list(_numbered(folder))
    gaps = [(low + 1, high) for low, high in pairwise(numbers) if high > low + 1]
    return sum(high - first for first, high in gaps), gaps[0][0] if gaps else 0


def other_files(folder: Path) -> list[Path]:
    """HDF5 files beside the episodes, and folders of further ones, which are not read."""
    beside = [path for path in sorted(list_input(folder)) if path.name[0] != "."]
    files = [p for p in beside if p.suffix in _OF_HDF5 and not _NAME.fullmatch(p.name)]
    return files + [path for path in folders_within(folder) if path in beside]


def refuse_twice(folders: Sequence[Path]) -> None:
    """Raise UsageError for a folder that is given more than once, also as links to its files.

    Runs of one output that converted the same episodes share them so.
    """
    seen: dict[tuple[int, int], Path] = {}
    for folder in folders:
        for path in (folder, *find_episodes(folder)):
            found = path.stat()
            if (found.st_dev, found.st_ino) in seen:
                raise UsageError(
                    f"--input: {path} is the same as {seen[found.st_dev, found.st_ino]}, expected "
                    f"each once; name one of the folders",
                    code="input-twice",
                )
            seen[found.st_dev, found.st_ino] = path


def _numbered(folder: Path) -> dict[int, Path]:
    """Episode files by number, in order."""
    numbered: dict[int, Path] = {}
    for path in sorted(list_input(folder)):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        number = int(match[1])
        if number in numbered:
            raise DatasetError(
                f"{folder}: {numbered[number].name} and {path.name} are both number {number}, "
                f"expected one file for each; move away the one that is not wanted",
                code="episode-twice",
                where=path,
                episode=number,
            )
        numbered[number] = path
    return dict(sorted(numbered.items()))
