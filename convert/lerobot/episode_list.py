"""A dataset's episodes, v2 or v3: which rows of which table, which frames of which video.

Each reader gives what it can and reports what it cannot; `refuse` makes the first error the end.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from convert.findings import Add, error, finding_of, warning
from convert.lerobot.file_uses import FileUse
from convert.lerobot.info import Info
from convert.lerobot.json_lines import read_json_lines
from convert.lerobot.table import parquet_errors, read_columns
from convert.lerobot.table_holders import TableHolders
from episodes.input_file import OnRead, data_files
from job.errors import DatasetError

_MAX_NUMBER = 1 << 40
_T = TypeVar("_T")
_RANGE = ("dataset_from_index", "dataset_to_index")


@dataclass(frozen=True)
class VideoSpan:
    """Where one camera of one episode lies in `path`."""

    path: Path
    from_s: float = 0
    to_s: float | None = None  # None: all that is there (v2.x), or not yet known

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


class _Listed(NamedTuple):
    """An episode, and where it is listed."""

    episode: Episode
    path: Path
    line: str = ""

    def __str__(self) -> str:
        return f"{self.path}{self.line}"


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
    yield from _each_once(_listed_v2(info, path, video_keys, add), info.root, add)


def _listed_v2(info: Info, path: Path, video_keys: Sequence[str], add: Add) -> Iterator[_Listed]:
    chunks_size = info.chunks_size()
    for number, row in read_json_lines(path, info.on_read, add):
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
        episode = Episode(index, length, tasks, info.fill("data_path", **place), videos)
        yield _Listed(episode, path, f", line {number}")


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
    rows = [
        (path, row)
        for path in paths
        for row in _attempt(add, path, partial(_episode_rows, path, video_keys, info.on_read)) or []
    ]
    listed = [
        _Listed(episode, path)
        for path, row in rows
        if (episode := _episode_v3(info, path, row, video_keys, add)) is not None
    ]
    tables = TableHolders(info.root / "data", info.on_read, add)
    for episode in _with_ends(_each_once(listed, info.root, add), folder, info.fps(), add):
        path = tables.holder(episode.index, episode.length, episode.table_path)
        yield replace(episode, table_path=path)
    _check_ranges(folder, [row for _, row in rows], add)


def _each_once(listed: Iterable[_Listed], root: Path, add: Add) -> list[Episode]:
    """The episodes, each once: those that are listed again alike are copies, others an error."""
    firsts: dict[int, _Listed] = {}
    copies: dict[Path, list[tuple[_Listed, _Listed]]] = {}
    for one in listed:
        first = firsts.setdefault(one.episode.index, one)
        if first is one:
            continue
        if first.episode == one.episode:
            copies.setdefault(one.path, []).append((first, one))
        else:
            what = (
                f"is listed in {first} and, with other values, in {one}, expected once; remove "
                f"the one that is wrong, or leave the episode out"
            )
            add(error("episode-twice", root / "meta", what, episode=one.episode.index))
    for path, pairs in copies.items():
        first, copy = pairs[0]
        what = (
            f"{len(pairs)} episodes are listed twice, each time alike, such as episode "
            f"{copy.episode.index} in {first} and in {copy}; they are read once; remove the copy"
        )
        add(warning("listed-twice", path, what))
    return [one.episode for one in firsts.values()]


def _with_ends(
    episodes: Sequence[Episode], folder: Path, fps: Fraction, add: Add
) -> Iterator[Episode]:
    """Windows without an end get one: where the next begins in the file, else after the rows."""
    starts: dict[Path, list[float]] = {}
    for span in (span for episode in episodes for span in episode.videos.values()):
        starts.setdefault(span.path, []).append(span.from_s)
    starts = {path: sorted(found) for path, found in starts.items()}
    derived: Counter[str] = Counter()

    def ended(episode: Episode, key: str, span: VideoSpan) -> VideoSpan:
        if span.to_s is not None:
            return span
        derived[key] += 1
        later = starts[span.path][bisect_right(starts[span.path], span.from_s) :]
        end_s = later[0] if later else span.from_s + float(episode.length / fps)
        return replace(span, to_s=end_s)

    for episode in episodes:
        videos = {key: ended(episode, key, span) for key, span in episode.videos.items()}
        yield replace(episode, videos=videos)
    for key, count in derived.items():
        what = (
            f"{count} episodes have no to_timestamp; each is taken to end where the next one "
            f"begins in its file, or with its rows"
        )
        add(warning("window-derived", folder, what, camera=key))


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
        names = ("chunk_index", "file_index", "from_timestamp")
        columns += [f"videos/{key}/{name}" for name in names]
    ends = [f"videos/{key}/to_timestamp" for key in video_keys]
    table = read_columns(path, columns, on_read, ["tasks", *ends, *_RANGE])
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
    to_s = row.get(f"videos/{key}/to_timestamp")
    return VideoSpan(path, from_s, None if to_s is None else _seconds(to_s))


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
