"""The parquet files of a LeRobot dataset: rows of one episode as float32 arrays.

T rows (time steps) of an episode, D values in a vector.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from convert.findings import Add, Finding, error, refuse, warning
from convert.lerobot.vector_column import Names, VectorColumn, is_real
from episodes.input_file import OnRead, check_file
from job.errors import DatasetError, first_line

Times = NDArray[np.float64]  # (T,), timestamps in seconds
Keys = Mapping[str, Names | None]  # columns with vectors, and info.json's names of their dims

_UNEVEN = 0.25  # of a step
ORDER = ("frame_index", "timestamp", "index")  # columns that say which row comes when


def read_columns(
    path: Path, columns: Sequence[str], on_read: OnRead, optional: Sequence[str] = ()
) -> pa.Table:
    """Some columns of a parquet file, `optional` ones if they are there; raises DatasetError."""
    on_read(path)
    with parquet_errors(path), pq.ParquetFile(path, pre_buffer=True) as file:
        present = file.schema_arrow.names
        _require(path, present, columns)
        names = [*columns, *(name for name in optional if name in present)]
        # a name also takes the columns that it prefixes, hence the select
        return file.read(columns=names, use_threads=False).select(names)


def row_counts(path: Path, on_read: OnRead) -> dict[int, int]:
    """How many rows of which episode a data file holds; raises DatasetError."""
    column = read_columns(path, ["episode_index"], on_read)["episode_index"]
    numbers = whole_numbers(column)
    if numbers is None:
        refuse(no_numbers(path, "episode_index", column))
        return {}
    values, counts = np.unique(numbers, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


class EpisodeRows(NamedTuple):
    """An episode's rows in the order of `frame_index`."""

    vectors: dict[str, NDArray[np.float32]]  # each (T, D)
    times: Times | None  # None: the table has none
    names: dict[str, Names]  # of the dims of struct columns


def read_episode(path: Path, episode: int, keys: Keys, on_read: OnRead) -> EpisodeRows:
    """The vectors `keys` of one episode, and its timestamps.

    Raises DatasetError when rows are missing, a value is not a finite number, or widths differ.
    """
    on_read(path)
    table = _episode_table(path, episode, keys)
    if not table.num_rows:  # none can be found where the episodes are no numbers: raises then
        row_counts(path, on_read)
    rows = episode_rows(path, episode, table, keys, refuse)
    assert rows is not None, "an order that is not known was refused"
    return rows


def _episode_table(path: Path, episode: int, keys: Keys) -> pa.Table:
    with parquet_errors(path):
        present = pq.read_schema(path).names
        _require(path, present, ["episode_index", *keys])
        columns = [*keys, *(name for name in ORDER if name in present)]
        return pq.read_table(
            path,
            columns=columns,
            filters=[("episode_index", "=", episode)],
            partitioning=None,
        )


def check_row_count(path: Path, episode: int, found: int, expected: int, add: Add) -> bool:
    """Whether an episode has as many rows as its metadata says; adds an error where not."""
    if found != expected:
        what = (
            f"has {found} rows, expected {expected} as its metadata says; rows are missing or the "
            f"metadata is of another recording"
        )
        add(error("table-rows", path, what, episode=episode))
    return found == expected


def split_episodes(path: Path, table: pa.Table, add: Add) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each episode in a table that has `episode_index`."""
    column = table["episode_index"]
    indices = whole_numbers(column)
    if indices is None:
        add(no_numbers(path, "episode_index", column))
    if indices is None or not len(column):
        return
    starts = np.flatnonzero(np.diff(indices, prepend=indices[:1] - 1))
    if len(starts) == len(np.unique(indices)):  # contiguous, as lerobot writes them
        ends = np.append(starts[1:], len(indices))
        for start, end in zip(starts, ends, strict=True):
            yield int(indices[start]), table.slice(start, end - start)
    else:
        for index in np.unique(indices):
            yield int(index), table.take(np.flatnonzero(indices == index))


def episode_rows(
    path: Path, episode: int, table: pa.Table, keys: Keys, add: Add
) -> EpisodeRows | None:
    """An episode's rows; vectors with a problem are reported and left out.

    None after an error was added, where the order of the rows is not known.
    """
    rank = row_order(path, episode, table, add)
    if rank is None:
        return None
    vectors: dict[str, NDArray[np.float32]] = {}
    names: dict[str, Names] = {}
    for key, wanted in keys.items():
        column = VectorColumn(path, episode, key, add)
        values = column.read(table[key], wanted)
        if values is not None:
            vectors[key] = values[rank]
            names |= {key: column.names} if column.names else {}
    return EpisodeRows(vectors, _times(table, rank), names)


def row_order(path: Path, episode: int, table: pa.Table, add: Add) -> NDArray[np.int64] | None:
    """The places of an episode's rows in order, by `ORDER`; None after an error was added."""
    if "frame_index" not in table.column_names:
        return _rank_without(path, episode, table, add)
    order = whole_numbers(table["frame_index"])
    if order is None:
        add(no_numbers(path, "frame_index", table["frame_index"], episode))
        return None
    rank = np.argsort(order, kind="stable")
    first = int(order[rank[0]]) if len(rank) else 0
    if not np.array_equal(order[rank], first + np.arange(len(order))):
        times = _times(table, rank)
        if times is not None and (np.diff(order[rank]) > 0).all() and (np.diff(times) > 0).all():
            what = f"frame_index has gaps ({_short(order[rank])}); its rows are taken in that order"
            add(warning("frame-index-derived", path, what, episode=episode))
            return rank
        what = (
            f"frame_index is {_short(order)}, expected 0 to {len(order) - 1}, each once; rows are "
            f"missing or doubled; leave the episode out or record it again"
        )
        add(error("frame-index", path, what, episode=episode))
        return None
    if first:
        what = f"frame_index counts from {first}, not from 0; its rows are taken in that order"
        add(warning("frame-index-derived", path, what, episode=episode))
    return rank


def _rank_without(path: Path, episode: int, table: pa.Table, add: Add) -> NDArray[np.int64] | None:
    """The order of rows that have no frame_index, where `index` or the timestamps give it."""
    rows = np.arange(table.num_rows)
    index = whole_numbers(table["index"]) if "index" in table.column_names else None
    times = _times(table, rows)
    rank = _rank_by_time(times) if index is None else _rank_by_index(index, times)
    if rank is not None:
        moved = "" if np.array_equal(rank, rows) else ", which is not the one that they lie in"
        by = "timestamp" if index is None else "index"
        what = f"there is no frame_index; its rows are taken in the order of {by!r}{moved}"
        add(warning("frame-index-derived", path, what, episode=episode))
        return rank
    what = (
        "there is no frame_index, expected one, or an 'index' that counts the rows and that the "
        "timestamps do not contradict, or without that timestamps of even steps; export the "
        "dataset again"
    )
    add(error("frame-index", path, what, episode=episode))
    return None


def _rank_by_index(index: NDArray[np.int64], times: Times | None) -> NDArray[np.int64] | None:
    """The order of `index`, where that counts the rows or the timestamps say the same."""
    rank = np.argsort(index, kind="stable")
    counted = bool((np.diff(index[rank]) == 1).all())
    if counted and np.array_equal(index[rank], index):
        return rank  # a clock does not matter then
    steps = None if times is None else np.diff(times[rank])
    distinct = bool((np.diff(index[rank]) > 0).all())
    rising = steps is not None and bool((steps > 0).all())
    return rank if distinct and (rising or (counted and steps is None)) else None


def _rank_by_time(times: Times | None) -> NDArray[np.int64] | None:
    """The order of timestamps that rise, or would: then each step must be a whole one.

    Of a clock that was set back while recording, the order is that of the rows.
    """
    if times is None or not np.isfinite(times).all():
        return None
    rank = np.argsort(times, kind="stable")
    steps = np.diff(times[rank])
    if not (steps > 0).all():
        return None
    even = len(steps) == 0 or bool((np.abs(steps / np.median(steps) - 1) < _UNEVEN).all())
    return rank if even or np.array_equal(rank, np.arange(len(times))) else None


def _times(table: pa.Table, rank: NDArray[np.int64]) -> Times | None:
    if "timestamp" not in table.column_names or not is_real(table["timestamp"].type):
        return None
    return table["timestamp"].to_numpy()[rank].astype(np.float64)  # an empty value is NaN


def whole_numbers(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """The whole numbers of a column, whatever type they are stored in; None: there are others."""
    if column.null_count or not (is_real(column.type) or pa.types.is_decimal(column.type)):
        return None
    if pa.types.is_integer(column.type):
        return column.to_numpy().astype(np.int64)
    values = column.to_numpy().astype(np.float64)
    whole = np.isfinite(values) & (np.abs(values) < 1 << 53) & (values == np.rint(values))
    return values.astype(np.int64) if whole.all() else None


def no_numbers(
    path: Path, name: str, column: pa.ChunkedArray, episode: int | None = None
) -> Finding:
    """The error of an index column that does not hold whole numbers."""
    what = (
        f"{name} is {column.type} with {column.null_count} empty rows, expected a whole number in "
        f"each; export the dataset again"
    )
    return error("frame-index", path, what, episode=episode)


def _require(path: Path, present: Sequence[str], columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in present]
    if missing:
        raise DatasetError(
            f"{path}: column {missing[0]!r} is missing; found {list(present)}; expected it as "
            f"meta/info.json says",
            code="column-missing",
            where=path,
        )


@contextlib.contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Translate pyarrow's errors, at the one border where it is used."""
    try:
        check_file(path)
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as problem:
        check_file(path)  # it may have gone meanwhile
        raise DatasetError(
            f"{path}: not a readable parquet file ({first_line(problem)}); expected one written to "
            f"its end; copy or export the dataset again",
            code="table-unreadable",
            where=path,
        ) from problem


def _short(values: NDArray[np.int64]) -> str:
    shown = ", ".join(str(value) for value in values[:5])
    return f"[{shown}{', …' if len(values) > 5 else ''}] ({len(values)} rows)"
