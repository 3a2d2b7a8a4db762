"""The parquet files of a LeRobot dataset: rows of one episode as float32 arrays.

T rows (time steps) of an episode, D values in a vector.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from act.errors import DatasetError

_LFS_POINTER = b"version https://git-lfs"


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of a parquet file; raises DatasetError naming what is missing."""
    with parquet_errors(path):
        _require(path, pq.read_schema(path), columns)
        return pq.read_table(path, columns=list(columns), partitioning=None)


def row_counts(path: Path) -> dict[int, int]:
    """How many rows of which episode a data file holds."""
    table = read_columns(path, ["episode_index"])
    counts = pc.value_counts(table["episode_index"])
    return {entry["values"]: entry["counts"] for entry in counts.to_pylist()}


def read_episode(path: Path, episode: int, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """The vectors `keys` of one episode, each (T, D) float32, in the order of `frame_index`.

    Raises DatasetError when rows are missing, a value is not a finite number, or widths differ.
    """
    table = _episode_table(path, episode, keys)
    order = table["frame_index"].to_numpy()
    rank = np.argsort(order, kind="stable")
    if not np.array_equal(order[rank], np.arange(len(order))):
        raise DatasetError(
            f"{path}: episode {episode} has frame_index {_short(order)}, expected 0 to "
            f"{len(order) - 1}, each once; rows are missing or doubled"
        )
    return {key: _vectors(path, episode, key, table[key])[rank] for key in keys}


def _episode_table(path: Path, episode: int, keys: Sequence[str]) -> pa.Table:
    with parquet_errors(path):
        columns = ["frame_index", *keys]
        _require(path, pq.read_schema(path), ["episode_index", *columns])
        return pq.read_table(
            path,
            columns=columns,
            filters=[("episode_index", "=", episode)],
            partitioning=None,
        )


def _vectors(path: Path, episode: int, key: str, column: pa.ChunkedArray) -> NDArray[np.float32]:
    rows = len(column)
    where = f"{path}: column {key!r} of episode {episode}"
    values = column.combine_chunks() if rows else pa.array([])
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    if values.null_count:
        raise DatasetError(f"{where} has {values.null_count} empty rows, expected a vector in each")
    # flatten(), unlike .values, honours the offset of a slice
    while pa.types.is_nested(values.type) and not pa.types.is_struct(values.type):
        values = values.flatten()
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise DatasetError(f"{where} holds {values.type}, expected numbers")
    flat = values.to_numpy(zero_copy_only=False).astype(np.float32)
    if rows == 0 or len(flat) % rows:
        raise DatasetError(f"{where} has {len(flat)} values in {rows} rows, expected equal widths")
    vectors = flat.reshape(rows, -1)
    bad = np.argwhere(~np.isfinite(vectors))
    if len(bad):
        row, dim = bad[0]
        raise DatasetError(
            f"{where} is {vectors[row, dim]} at row {row}, dim {dim}, expected a finite number; "
            f"leave the episode out or record it again"
        )
    return vectors


def _require(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in schema.names]
    if missing:
        raise DatasetError(
            f"{path}: column {missing[0]!r} is missing; found {schema.names}; expected it as "
            f"meta/info.json says"
        )


@contextlib.contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Translate pyarrow's errors, at the one border where it is used."""
    try:
        check_file(path)
        yield
    except (pa.ArrowException, OSError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(
            f"{path}: not a readable parquet file ({what}); expected one written to its end; "
            f"copy or export the dataset again"
        ) from error


def check_file(path: Path) -> None:
    """Refuse a file that cannot be whole: absent, empty, a dead link, an LFS pointer."""
    if not path.exists():
        if path.is_symlink():
            raise DatasetError(
                f"{path}: a link to {str(path.readlink())!r}, which is not there; mount the folder "
                f"that holds the link's target too, or copy the dataset with cp -rL"
            )
        raise DatasetError(f"{path}: no such file; expected it as the metadata says; copy it again")
    if not os.access(path, os.R_OK):
        raise DatasetError(
            f"{path}: not readable by user {os.getuid()}:{os.getgid()}; chmod -R a+rX the dataset"
        )
    with path.open("rb") as file:
        head = file.read(len(_LFS_POINTER))
    if head == _LFS_POINTER:
        raise DatasetError(f"{path}: a Git LFS pointer, not the file itself; run git lfs pull")
    if not head:
        raise DatasetError(f"{path}: empty; expected a whole file; copy it again")


def _short(values: NDArray[np.int64]) -> str:
    shown = ", ".join(str(value) for value in values[:5])
    return f"[{shown}{', …' if len(values) > 5 else ''}] ({len(values)} rows)"
