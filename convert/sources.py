"""Which datasets the input holds, and which of their episodes are wanted, in what order."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.findings import Add, Finding, refuse
from convert.flags import RecordingFlags
from convert.lerobot.dataset import Dataset, is_dataset, read_dataset
from convert.lerobot.episode_list import Episode
from episodes.input_file import OnRead, ignore
from episodes.input_folder import list_input
from job.errors import DatasetError, UsageError

logger = logging.getLogger("act")

# Episodes that a check found broken, by dataset and index, when only whole ones are to be used.
LeftOut = frozenset[tuple[Path, int]]
NOTHING: LeftOut = frozenset()


@dataclass(frozen=True)
class Source:
    """One episode and the dataset that it is of."""

    dataset: Dataset
    episode: Episode

    def __str__(self) -> str:
        return f"episode {self.episode.index} of {self.dataset.root}"


def find_datasets(inputs: Sequence[Path]) -> list[Path]:
    """The LeRobot datasets in the input folders: a folder itself, or its subfolders by name."""
    found = [path for folder in inputs for path in _datasets_in(folder)]
    twice = {path for path in found if found.count(path) > 1}
    if twice:
        what = f"--input: {min(twice)} is given more than once; name each dataset once"
        raise UsageError(what, code="input-twice")
    return found


def _datasets_in(folder: Path) -> list[Path]:
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"{os.fsencode(folder)!r}: the name is not UTF-8, expected one that is, as Arrow opens "
            f"no other; rename the folder",
            code="input-missing",
        ) from error
    children = sorted(path for path in list_input(folder) if path.is_dir())
    if is_dataset(folder):
        return [folder]
    # none is let through as it is: reading it reports what is missing
    return [path for path in children if is_dataset(path)] or [_snapshot_in(folder) or folder]


def _snapshot_in(folder: Path) -> Path | None:
    """The snapshot in a folder of a Hugging Face cache, of one dataset or of one alone."""
    of_datasets = [folder] if (folder / "snapshots").is_dir() else folder.glob("datasets--*")
    found = [
        snapshot
        for of_dataset in sorted(of_datasets)
        for snapshot in _current(of_dataset)
        if is_dataset(snapshot)
    ]
    if len(found) > 1:
        raise UsageError(
            f"--input: {folder} is a Hugging Face cache with {len(found)} snapshots of datasets, "
            f"expected one; name one of {', '.join(map(str, found))}",
            code="input-several",
        )
    return found[0] if found else None


def _current(of_dataset: Path) -> list[Path]:
    """The snapshot that `main` is at, else all of them."""
    snapshots = of_dataset / "snapshots"
    with contextlib.suppress(OSError, ValueError):
        current = snapshots / (of_dataset / "refs/main").read_text().strip()
        if current.parent == snapshots and is_dataset(current):
            return [current]
    return sorted(snapshots.glob("*"))


def read_sources(
    flags: RecordingFlags, left_out: LeftOut = NOTHING, on_read: OnRead = ignore
) -> tuple[list[Dataset], list[Source]]:
    """Every dataset of the input, and the episodes asked for, numbered on from one to the next.

    Raises DatasetError for metadata that is wrong, unless only whole episodes are to be used: the
    check has then looked which those are.
    """
    add: Add = _pass_over if flags.only_whole_episodes else refuse
    videos = not flags.without_cameras
    datasets = [read_dataset(root, add, on_read, videos) for root in find_datasets(flags.folders)]
    wanted = [
        source
        for number, source in _numbered(datasets)
        if flags.wants(number) and (source.dataset.root, source.episode.index) not in left_out
    ]
    empty = [source for source in wanted if source.episode.length < 1]
    for source in empty:
        logger.warning("%s has no frames and is skipped", source)
    sources = [source for source in wanted if source.episode.length > 0]
    if not sources:
        where = ", ".join(str(dataset.root) for dataset in datasets)
        raise DatasetError(
            f"{where}: no episode with frames is left of {sum(len(d.episodes) for d in datasets)}; "
            f"expected at least one; look at --episodes, --exclude_episodes and "
            f"--only_whole_episodes",
            code="episodes-missing" if _any_frames(datasets) else "episodes-empty",
        )
    return datasets, sources[: flags.max_episodes or None]


def _any_frames(datasets: Sequence[Dataset]) -> bool:
    return any(episode.length > 0 for dataset in datasets for episode in dataset.episodes)


def _pass_over(finding: Finding) -> None:
    """The check reports it, and leaves out the episodes that it concerns."""


def _numbered(datasets: Sequence[Dataset]) -> Iterator[tuple[int, Source]]:
    """Each episode by the number that --episodes means: its own, counted on over the datasets."""
    offset = 0
    for dataset in datasets:
        for episode in dataset.episodes:
            yield offset + episode.index, Source(dataset, episode)
        indices = (episode.index for episode in dataset.episodes)
        offset += max(max(indices, default=-1) + 1, dataset.total_episodes)
