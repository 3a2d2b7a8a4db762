"""The parquet files of a LeRobot dataset: rows of one episode as float32 arrays.

T rows (time steps) of an episode, D values in a vector.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from convert.findings import Add, Finding, error, refuse, warning
from convert.lerobot.file import OnRead, check_file
from job.errors import DatasetError, first_line

Times = NDArray[np.float64]  # (T,), timestamps in seconds

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
    numbers = _whole_numbers(column)
    if numbers is None:
        refuse(_no_numbers(path, "episode_index", column))
        return {}
    values, counts = np.unique(numbers, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


class EpisodeRows(NamedTuple):
    """An episode's rows in the order of `frame_index`."""

    vectors: dict[str, NDArray[np.float32]]  # each (T, D)
    times: Times | None  # None: the table has none


def read_episode(path: Path, episode: int, keys: Sequence[str], on_read: OnRead) -> EpisodeRows:
    """The vectors `keys` of one episode, and its timestamps.

    Raises DatasetError when rows are missing, a value is not a finite number, or widths differ.
    """
    on_read(path)
    table = _episode_table(path, episode, keys)
    if not table.num_rows:  # none can be found where the episodes are no numbers: raises then
        row_counts(path, on_read)
    return episode_rows(path, episode, table, keys, refuse)


def _episode_table(path: Path, episode: int, keys: Sequence[str]) -> pa.Table:
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
    indices = _whole_numbers(column)
    if indices is None:
        add(_no_numbers(path, "episode_index", column))
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
    path: Path, episode: int, table: pa.Table, keys: Sequence[str], add: Add
) -> EpisodeRows:
    """An episode's rows; vectors with a problem are reported and left out."""
    rank = _rank(path, episode, table, add)
    if rank is None:
        return EpisodeRows({}, None)
    found = {key: _vectors(path, episode, key, table[key], add) for key in keys}
    vectors = {key: values[rank] for key, values in found.items() if values is not None}
    return EpisodeRows(vectors, _times(table, rank))


def _rank(path: Path, episode: int, table: pa.Table, add: Add) -> NDArray[np.int64] | None:
    """The places of an episode's rows in order; None after an error was added."""
    if "frame_index" not in table.column_names:
        return _rank_without(path, episode, table, add)
    order = _whole_numbers(table["frame_index"])
    if order is None:
        add(_no_numbers(path, "frame_index", table["frame_index"], episode))
        return None
    rank = np.argsort(order, kind="stable")
    first = int(order[rank[0]]) if len(rank) else 0
    if not np.array_equal(order[rank], first + np.arange(len(order))):
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
    index = _whole_numbers(table["index"]) if "index" in table.column_names else None
    times = _times(table, rows)
    counted = index is not None and bool((np.diff(index) == 1).all())
    rising = times is not None and bool((np.diff(times) > 0).all())
    if counted or (rising and index is None):
        by = "index" if counted else "timestamp"
        what = f"there is no frame_index; its rows are taken in the order of {by!r}"
        add(warning("frame-index-derived", path, what, episode=episode))
        return rows
    what = (
        "there is no frame_index, expected one, or an 'index' that counts the rows, or without "
        "that timestamps that rise; export the dataset again"
    )
    add(error("frame-index", path, what, episode=episode))
    return None


def _times(table: pa.Table, rank: NDArray[np.int64]) -> Times | None:
    if "timestamp" not in table.column_names or not _is_real(table["timestamp"].type):
        return None
    return table["timestamp"].to_numpy()[rank].astype(np.float64)  # an empty value is NaN


def _vectors(
    path: Path, episode: int, key: str, column: pa.ChunkedArray, add: Add
) -> NDArray[np.float32] | None:
    rows = len(column)
    if not rows:
        add(error("table-rows", path, "no rows, expected some; copy it again", episode=episode))
        return None
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    empty = values.null_count
    ragged = False
    while _is_list(values.type):
        ragged = ragged or len(pc.unique(pc.list_value_length(values))) > 1
        values = values.flatten()  # unlike .values, this honours the offset of a slice
        empty = empty or values.null_count
    if empty:
        what = f"column {key!r} has {empty} empty values, expected a number in each"
        add(error("value-missing", path, what, episode=episode))
        return None
    if pa.types.is_boolean(values.type) or pa.types.is_decimal(values.type):
        values = values.cast(pa.uint8() if pa.types.is_boolean(values.type) else pa.float64())
    if not _is_real(values.type):
        what = f"column {key!r} holds {values.type}, expected numbers; choose another column"
        add(error("column-type", path, what, episode=episode))
        return None
    with np.errstate(over="ignore"):  # beyond float32 a float64 becomes inf, an error below
        flat = values.to_numpy(zero_copy_only=False).astype(np.float32)
    if ragged or len(flat) == 0 or len(flat) % rows:
        what = f"column {key!r} has {len(flat)} values in {rows} rows, expected equal widths"
        add(error("vector-width", path, what, episode=episode))
        return None
    vectors = flat.reshape(rows, -1)
    bad = np.argwhere(~np.isfinite(vectors))
    if len(bad):
        row, dim = bad[0]
        add(
            error(
                "not-finite",
                path,
                f"column {key!r} is {vectors[row, dim]} at row {row}, dim "
                f"{dim} ({len(bad)} such values), expected finite numbers; leave the episode out "
                f"or record it again",
                episode=episode,
            )
        )
        return None
    return vectors


def _whole_numbers(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """The whole numbers of a column, whatever type they are stored in; None: there are others."""
    if column.null_count or not (_is_real(column.type) or pa.types.is_decimal(column.type)):
        return None
    if pa.types.is_integer(column.type):
        return column.to_numpy().astype(np.int64)
    values = column.to_numpy().astype(np.float64)
    whole = np.isfinite(values) & (np.abs(values) < 1 << 53) & (values == np.rint(values))
    return values.astype(np.int64) if whole.all() else None


def _no_numbers(
    path: Path, name: str, column: pa.ChunkedArray, episode: int | None = None
) -> Finding:
    what = (
        f"{name} is {column.type} with {column.null_count} empty rows, expected a whole number in "
        f"each; export the dataset again"
    )
    return error("frame-index", path, what, episode=episode)


def _is_real(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


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
