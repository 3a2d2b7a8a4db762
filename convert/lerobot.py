"""What a LeRobot dataset says about itself, v2.0 to v3.0, as one small record.

LeRobot's keys appear here and in `convert/info.py`, nowhere else. Nothing here opens a video or
reads a vector: the tables are `convert/table.py`, the frames `convert/video.py`.
Source of the format: lerobot 0.3.3 (v2.1) and 0.4.4 (v3.0), and the files they write.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from act.errors import DatasetError
from convert.info import Feature, Info, read_jsonl
from convert.table import read_columns, row_counts

STATE_KEY, ACTION_KEY = "observation.state", "action"
VELOCITY_KEY, EFFORT_KEY = "observation.velocity", "observation.effort"
_IMAGE_PREFIXES = ("observation.images.", "observation.image.", "observation.")


@dataclass(frozen=True)
class VideoSpan:
    """Where one camera of one episode lies: frames `first` … in `path`."""

    path: Path
    first: int  # ordinal of the episode's first frame in the file
    window: int | None  # frames the dataset says are there; None: the whole file (v2.x)


@dataclass(frozen=True)
class Episode:
    """One episode as the metadata gives it."""

    index: int  # the dataset's own number, which may have gaps
    length: int
    tasks: tuple[str, ...]
    table_path: Path
    videos: Mapping[str, VideoSpan]  # by camera key


@dataclass(frozen=True)
class Dataset:
    """A LeRobot dataset's metadata."""

    root: Path
    version: str
    fps: Fraction
    robot_type: str | None
    features: Mapping[str, Feature]  # in the order of info.json
    episodes: tuple[Episode, ...]
    file_firsts: Mapping[Path, int]  # the lowest ordinal that any episode has in a video file

    @property
    def cameras(self) -> list[str]:
        """Keys of the image and video features that are not depth, in the dataset's order."""
        return [
            key
            for key, feature in self.features.items()
            if feature.dtype in ("video", "image") and not feature.is_depth
        ]

    @property
    def tasks(self) -> list[str]:
        """The task texts of all episodes, each once."""
        return list(dict.fromkeys(task for episode in self.episodes for task in episode.tasks))


def is_dataset(folder: Path) -> bool:
    """Whether `folder` looks like a LeRobot dataset of any version."""
    return (folder / "meta/info.json").exists() or (folder / "meta_data").exists()


def read_dataset(root: Path) -> Dataset:
    """Read the metadata in `root`; raises DatasetError with the file that is at fault."""
    info = Info(root)
    version = info.version()
    features = info.features()
    video_keys = [key for key, feature in features.items() if feature.dtype == "video"]
    read = _read_v3 if version.startswith("v3") else _read_v2
    episodes = sorted(read(info, video_keys), key=lambda episode: episode.index)
    _check_episodes(info, episodes)
    spans = [span for episode in episodes for span in episode.videos.values()]
    file_firsts: dict[Path, int] = {}
    for span in spans:
        file_firsts[span.path] = min(span.first, file_firsts.get(span.path, span.first))
    return Dataset(
        root, version, info.fps(), info.robot_type(), features, tuple(episodes), file_firsts
    )


def camera_name(key: str) -> str:
    """The HDF5 name of a camera key: what follows the prefix, in characters a link can hold."""
    short = next((key[len(p) :] for p in _IMAGE_PREFIXES if key.startswith(p)), key)
    return re.sub(r"[^A-Za-z0-9_-]", "_", short) or key


def choose_cameras(dataset: Dataset, keys: tuple[str, ...]) -> list[str]:
    """The camera keys asked for, else all; raises DatasetError with the nearest."""
    chosen = list(keys) or dataset.cameras
    if not chosen:
        raise DatasetError(
            f"{dataset.root}/meta/info.json: no camera among the features "
            f"{list(dataset.features)}; expected one of dtype video or image"
        )
    for key in chosen:
        if key not in dataset.cameras:
            raise DatasetError(_unknown_camera(dataset, key))
    return chosen


def _unknown_camera(dataset: Dataset, key: str) -> str:
    feature = dataset.features.get(key)
    if feature is not None and feature.is_depth:
        return (
            f"--camera_keys: {key!r} is a depth stream, which the network cannot use; leave it out"
        )
    near = difflib.get_close_matches(key, dataset.cameras, n=1, cutoff=0.4)
    return f"--camera_keys: {key!r} is not a camera of {dataset.root}; it has {dataset.cameras}" + (
        f"; the nearest is {near[0]!r}" if near else ""
    )


def _read_v2(info: Info, video_keys: list[str]) -> Iterator[Episode]:
    path = info.root / "meta/episodes.jsonl"
    chunks_size = info.get("chunks_size", int, "a whole number above 0")
    if chunks_size < 1:
        raise info.error("chunks_size", "a whole number above 0", chunks_size)
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            index, length = int(row["episode_index"]), int(row["length"])
            tasks = tuple(str(task) for task in row.get("tasks") or ())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{path}:{number}: found {row!r}, expected episode_index, length and tasks"
            ) from error
        place = {"episode_index": index, "episode_chunk": index // chunks_size}
        videos = {
            key: VideoSpan(info.fill("video_path", video_key=key, **place), 0, None)
            for key in video_keys
        }
        yield Episode(index, length, tasks, info.fill("data_path", **place), videos)


def _read_v3(info: Info, video_keys: list[str]) -> Iterator[Episode]:
    folder = info.root / "meta/episodes"
    paths = sorted(folder.glob("*/*.parquet"))
    if not paths:
        raise DatasetError(
            f"{folder}: no episode tables; expected chunk-*/file-*.parquet; the recording was not "
            f"finished, or the copy is not whole"
        )
    tables = _episodes_by_table(info.root / "data")
    for path in paths:
        for row in _episode_rows(path, video_keys):
            yield _episode_v3(info, path, row, video_keys, tables)


def _episode_rows(path: Path, video_keys: list[str]) -> list[dict[str, Any]]:
    columns = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
    for key in video_keys:
        names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        columns += [f"videos/{key}/{name}" for name in names]
    return read_columns(path, columns).to_pylist()


def _episode_v3(
    info: Info,
    path: Path,
    row: dict[str, Any],
    video_keys: list[str],
    tables: Mapping[int, list[Path]],
) -> Episode:
    try:
        index, length = int(row["episode_index"]), int(row["length"])
        pointed = info.fill(
            "data_path",
            chunk_index=int(row["data/chunk_index"]),
            file_index=int(row["data/file_index"]),
        )
        videos = {key: _span_v3(info, row, key) for key in video_keys}
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{path}: the row of episode {row.get('episode_index')!r} has a missing or unusable "
            f"number ({error}); expected every index and timestamp; write the metadata again"
        ) from error
    tasks = tuple(str(task) for task in row["tasks"] or ())
    return Episode(index, length, tasks, _table_of(index, pointed, tables), videos)


def _span_v3(info: Info, row: dict[str, Any], key: str) -> VideoSpan:
    path = info.fill(
        "video_path",
        video_key=key,
        chunk_index=int(row[f"videos/{key}/chunk_index"]),
        file_index=int(row[f"videos/{key}/file_index"]),
    )
    # from_timestamp is a float sum (27 frames at 30 fps: 0.8999999999999999): round, never floor
    first = round(row[f"videos/{key}/from_timestamp"] * info.fps())
    end = round(row[f"videos/{key}/to_timestamp"] * info.fps())
    return VideoSpan(path, first, end - first)


def _episodes_by_table(folder: Path) -> dict[int, list[Path]]:
    """Which data files hold an episode: `data/file_index` can be stale (lerobot #2401)."""
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.glob("*/*.parquet")):
        for index in row_counts(path):
            found.setdefault(index, []).append(path)
    return found


def _table_of(index: int, pointed: Path, tables: Mapping[int, list[Path]]) -> Path:
    holders = tables.get(index, [])
    return pointed if pointed in holders or not holders else holders[0]


def _check_episodes(info: Info, episodes: list[Episode]) -> None:
    if not episodes:
        raise DatasetError(f"{info.root}: no episodes; expected at least one")
    indices = [episode.index for episode in episodes]
    twice = (
        {index for index in indices if indices.count(index) > 1}
        if len(set(indices)) < len(indices)
        else set()
    )
    if twice:
        raise DatasetError(
            f"{info.root}/meta: episodes {sorted(twice)[:10]} are listed more than once; "
            f"expected each episode_index once"
        )
    for key, found in (
        ("total_episodes", len(episodes)),
        ("total_frames", sum(episode.length for episode in episodes)),
    ):
        said = info.total(key)
        if said is not None and said != found:
            raise DatasetError(
                f"{info.path}: {key} is {said}, but the episode list has {found}; expected the "
                f"same number; the recording was not finished, or the copy is not whole"
            )
