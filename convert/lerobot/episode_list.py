"""A dataset's episodes, v2 or v3: which rows of which table, which frames of which video.

Each reader gives what it can and reports what it cannot; `refuse` makes the first error the end.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from convert.findings import Add, error, finding_of, warning
from convert.lerobot.file import OnRead, data_files
from convert.lerobot.file_uses import FileUse
from convert.lerobot.info import Info, read_jsonl
from convert.lerobot.table import parquet_errors, read_columns, row_counts
from job.errors import DatasetError

NOT_FOUND = "episode-not-found"

_MAX_NUMBER = 1 << 40
_T = TypeVar("_T")
_RANGE = ("dataset_from_index", "dataset_to_index")


@dataclass(frozen=True)
class VideoSpan:
    """Where one camera of one episode lies in `path`."""

    path: Path
    from_s: float = 0
    to_s: float | None = None  # None: all that is there (v2.x)

    def first(self, rate: Fraction) -> int:
        """The ordinal of the episode's first frame in a file of that rate."""
        # a float sum (27 frames at 30 fps: 0.8999999999999999), so never floor
        return round(self.from_s * rate)

    def window(self, rate: Fraction) -> int | None:
        """How many frames the dataset says are there; None: the whole file."""
        return None if self.to_s is None else round(self.to_s * rate) - self.first(rate)


@dataclass(frozen=True)
class Episode:
    """One episode as the metadata gives it."""

    index: int  # the dataset's own number, which may have gaps
    length: int
    tasks: tuple[str, ...]
    table_path: Path
    videos: Mapping[str, VideoSpan]  # by camera key

    def use_of(self, camera: str, rate: Fraction, fps: Fraction) -> FileUse:
        """What it takes of a camera's video, whose rate may not be the dataset's fps."""
        span = self.videos[camera]
        rows = round(self.length * rate / fps)
        return FileUse(self.index, span.first(rate), rows, span.window(rate))


def files_of(episode: Episode) -> list[Path]:
    """Every data file that an episode lies in."""
    return [episode.table_path, *(span.path for span in episode.videos.values())]


def read_v2(info: Info, video_keys: Sequence[str], add: Add) -> Iterator[Episode]:
    """The episodes of meta/episodes.jsonl."""
    path = info.root / "meta/episodes.jsonl"
    if not path.exists() and not path.is_symlink():
        add(
            error(
                "episodes-missing",
                path,
                "no such file, expected a line for each episode; the "
                "recording was not finished, or the copy is not whole",
            )
        )
        return
    chunks_size = info.chunks_size()
    rows = _attempt(add, path, partial(read_jsonl, path, info.on_read))
    for number, row in enumerate(rows or [], start=1):
        try:
            index, length = _number(row["episode_index"]), _number(row["length"])
            tasks = tuple(str(task) for task in row.get("tasks") or ())
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            what = f"entry {number} is {row!r}, expected episode_index, length and tasks"
            add(error("episode-row", path, f"{what}; write the metadata again"))
            continue
        place = {"episode_index": index, "episode_chunk": index // chunks_size}
        videos = {
            key: VideoSpan(info.fill("video_path", video_key=key, **place)) for key in video_keys
        }
        yield Episode(index, length, tasks, info.fill("data_path", **place), videos)


def read_v3(info: Info, video_keys: Sequence[str], add: Add) -> Iterator[Episode]:
    """The episodes of meta/episodes/*/*.parquet."""
    folder = info.root / "meta/episodes"
    paths = data_files(folder, "*/*.parquet")
    if not paths:
        add(
            error(
                "episodes-missing",
                folder,
                "no episode tables, expected chunk-*/file-*.parquet; "
                "the recording was not finished, or the copy is not whole",
            )
        )
        return
    tables = _Tables(info, add)
    rows = [
        (path, row)
        for path in paths
        for row in _attempt(add, path, partial(_episode_rows, path, video_keys, info.on_read)) or []
    ]
    for path, row in rows:
        episode = _episode_v3(info, path, row, video_keys, add)
        if episode is not None:
            yield replace(episode, table_path=tables.holder(episode))
    _check_ranges(folder, [row for _, row in rows], add)


def _number(value: Any) -> int:
    number = int(value)
    if abs(number) > _MAX_NUMBER:
        raise ValueError(f"{number} is no number of an episode, a frame or a file")
    return number


def _seconds(value: Any) -> float:
    _number(value)  # neither NaN nor beyond all bounds
    return float(value)


def _attempt(add: Add, path: Path, read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except DatasetError as problem:
        add(finding_of(problem, path))
        return None


def _episode_rows(path: Path, video_keys: Sequence[str], on_read: OnRead) -> list[dict[str, Any]]:
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    for key in video_keys:
        names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        columns += [f"videos/{key}/{name}" for name in names]
    table = read_columns(path, columns, on_read, ["tasks", *_RANGE])
    with parquet_errors(path):  # a text that is not UTF-8 shows only now
        return table.to_pylist()


def _episode_v3(
    info: Info, path: Path, row: dict[str, Any], video_keys: Sequence[str], add: Add
) -> Episode | None:
    try:
        index, length = _number(row["episode_index"]), _number(row["length"])
        pointed = info.fill(
            "data_path",
            chunk_index=_number(row["data/chunk_index"]),
            file_index=_number(row["data/file_index"]),
        )
        videos = {key: _span_v3(info, row, key) for key in video_keys}
        tasks = tuple(str(task) for task in row.get("tasks") or ())
    except (TypeError, ValueError, OverflowError) as problem:
        what = (
            f"the row of episode {row.get('episode_index')!r} has a missing or unusable number "
            f"({problem}); expected every index and timestamp; write the metadata again"
        )
        add(error("episode-row", path, what))
        return None
    return Episode(index, length, tasks, pointed, videos)


def _span_v3(info: Info, row: dict[str, Any], key: str) -> VideoSpan:
    path = info.fill(
        "video_path",
        video_key=key,
        chunk_index=_number(row[f"videos/{key}/chunk_index"]),
        file_index=_number(row[f"videos/{key}/file_index"]),
    )
    from_s = _seconds(row[f"videos/{key}/from_timestamp"])
    return VideoSpan(path, from_s, _seconds(row[f"videos/{key}/to_timestamp"]))


class _Tables:
    """Which data files hold an episode: `data/file_index` can be stale (lerobot #2401)."""

    def __init__(self, info: Info, add: Add) -> None:
        self._add = add
        self._unreadable: set[Path] = set()
        self._holders: dict[int, list[Path]] = {}
        for path in data_files(info.root / "data", "*/*.parquet"):
            counts = _attempt(add, path, partial(row_counts, path, info.on_read))
            if counts is None:
                self._unreadable.add(path)
            for index in counts or {}:
                self._holders.setdefault(index, []).append(path)

    def holder(self, episode: Episode) -> Path:
        """The file with the episode's rows, which may not be the one that the metadata names."""
        index, pointed = episode.index, episode.table_path
        holders = self._holders.get(index, [])
        if not holders:
            if pointed.exists() and pointed not in self._unreadable and episode.length > 0:
                what = "its rows are in no data file; copy the dataset again or leave it out"
                self._add(error(NOT_FOUND, pointed, what, episode=index))
            return pointed
        table = pointed if pointed in holders else holders[0]
        if table != pointed:
            what = (
                f"the metadata names {pointed.name}, but its rows are here and are read from here"
            )
            self._add(warning("table-pointer", table, what, episode=index))
        if len(holders) > 1:
            others = ", ".join(str(path) for path in holders if path != table)
            what = f"its rows are in {others} as well, which is not read; remove the copy"
            self._add(warning("table-twice", table, what, episode=index))
        return table


def _check_ranges(folder: Path, rows: Iterable[Mapping[str, Any]], add: Add) -> None:
    """`dataset_from_index` and `_to_index` are read by nothing here, but by lerobot."""
    wrong = []
    for row in rows:
        start, end, length = row.get(_RANGE[0]), row.get(_RANGE[1]), row["length"]
        if isinstance(start, int) and isinstance(end, int) and end - start != length:
            wrong.append(row["episode_index"])
    if wrong:
        what = (
            f"{' and '.join(_RANGE)} of {len(wrong)} episodes ({wrong[:5]} …) do not span their "
            f"length; they are not used"
        )
        add(warning("index-range", folder, what))
