"""The parquet files of a LeRobot dataset: rows of one episode as float32 arrays.

T rows (time steps) of an episode, D values in a vector.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from act.errors import DatasetError
from convert.findings import Finding, Say, error, refuse

_LFS_POINTER = b"version https://git-lfs"
_KINDS = {".parquet": "table", ".mp4": "video"}
_PARQUET = b"PAR1"  # at both ends; the one at the end is written last
_MP4_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide"}


def read_columns(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), code: str = "column-missing"
) -> pa.Table:
    """Some columns of a parquet file, `optional` ones if they are there; raises DatasetError."""
    with parquet_errors(path), pq.ParquetFile(path, pre_buffer=True) as file:
        present = file.schema_arrow.names
        _require(path, present, columns)
        names = [*columns, *(name for name in optional if name in present)]
        # a name also takes the columns that it prefixes, hence the select
        return file.read(columns=names, use_threads=False).select(names)


def row_counts(path: Path) -> dict[int, int]:
    """How many rows of which episode a data file holds; raises DatasetError."""
    column = read_columns(path, ["episode_index"])["episode_index"]
    if not _has_numbers(column):
        refuse(_no_numbers(path, "episode_index", column))
    counts = pc.value_counts(column)
    return {entry["values"]: entry["counts"] for entry in counts.to_pylist()}


def read_episode(path: Path, episode: int, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """The vectors `keys` of one episode, each (T, D) float32, in the order of `frame_index`.

    Raises DatasetError when rows are missing, a value is not a finite number, or widths differ.
    """
    return episode_vectors(path, episode, _episode_table(path, episode, keys), keys, refuse)


def _episode_table(path: Path, episode: int, keys: Sequence[str]) -> pa.Table:
    with parquet_errors(path):
        columns = ["frame_index", *keys]
        _require(path, pq.read_schema(path).names, ["episode_index", *columns])
        return pq.read_table(
            path,
            columns=columns,
            filters=[("episode_index", "=", episode)],
            partitioning=None,
        )


def split_episodes(path: Path, table: pa.Table, say: Say) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each episode in a table that has `episode_index`."""
    column = table["episode_index"]
    if not _has_numbers(column):
        say(_no_numbers(path, "episode_index", column))
    if not _has_numbers(column) or not len(column):
        return
    indices = column.to_numpy()
    starts = np.flatnonzero(np.diff(indices, prepend=indices[:1] - 1))
    if len(starts) == len(np.unique(indices)):  # contiguous, as lerobot writes them
        ends = np.append(starts[1:], len(indices))
        for start, end in zip(starts, ends, strict=True):
            yield int(indices[start]), table.slice(start, end - start)
    else:
        for index in np.unique(indices):
            yield int(index), table.take(np.flatnonzero(indices == index))


def episode_vectors(
    path: Path, episode: int, table: pa.Table, keys: Sequence[str], say: Say
) -> dict[str, NDArray[np.float32]]:
    """The vectors `keys` in an episode's rows; those with a problem are said and left out."""
    if not _has_numbers(table["frame_index"]):
        say(_no_numbers(path, "frame_index", table["frame_index"], episode))
        return {}
    order = table["frame_index"].to_numpy()
    rank = np.argsort(order, kind="stable")
    if not np.array_equal(order[rank], np.arange(len(order))):
        say(error("frame-index", path, f"frame_index is {_short(order)}, expected 0 to "
                  f"{len(order) - 1}, each once; rows are missing or doubled; leave the episode "
                  f"out or record it again", episode=episode))  # fmt: skip
        return {}
    vectors = {key: _vectors(path, episode, key, table[key], say) for key in keys}
    return {key: values[rank] for key, values in vectors.items() if values is not None}


def _vectors(
    path: Path, episode: int, key: str, column: pa.ChunkedArray, say: Say
) -> NDArray[np.float32] | None:
    rows = len(column)
    if not rows:
        say(error("table-rows", path, "no rows, expected some; copy it again", episode=episode))
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
        say(error("value-missing", path, what, episode=episode))
        return None
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        what = f"column {key!r} holds {values.type}, expected numbers; choose another column"
        say(error("column-type", path, what, episode=episode))
        return None
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, and is said below
        flat = values.to_numpy(zero_copy_only=False).astype(np.float32)
    if ragged or len(flat) == 0 or len(flat) % rows:
        what = f"column {key!r} has {len(flat)} values in {rows} rows, expected equal widths"
        say(error("vector-width", path, what, episode=episode))
        return None
    vectors = flat.reshape(rows, -1)
    bad = np.argwhere(~np.isfinite(vectors))
    if len(bad):
        row, dim = bad[0]
        say(error("not-finite", path, f"column {key!r} is {vectors[row, dim]} at row {row}, dim "
                  f"{dim} ({len(bad)} such values), expected finite numbers; leave the episode out "
                  f"or record it again", episode=episode))  # fmt: skip
        return None
    return vectors


def _has_numbers(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_integer(column.type) and not column.null_count)


def _no_numbers(
    path: Path, name: str, column: pa.ChunkedArray, episode: int | None = None
) -> Finding:
    what = (
        f"{name} is {column.type} with {column.null_count} empty rows, expected a whole number in "
        f"each; export the dataset again"
    )
    return error("frame-index", path, what, episode=episode)


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
    except (pa.ArrowException, OSError, ValueError, KeyError) as problem:
        what = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise DatasetError(
            f"{path}: not a readable parquet file ({what}); expected one written to its end; "
            f"copy or export the dataset again",
            code="table-unreadable",
            where=path,
        ) from problem


def check_file(path: Path) -> None:
    """Refuse a file that cannot be whole: absent, empty, a dead link, an LFS pointer, no end.

    What is not a regular file is not opened: reading a pipe would wait for ever.
    """
    kind = _KINDS.get(path.suffix, "file")
    try:
        status = path.stat()
    except (OSError, ValueError) as problem:
        raise _absent(path, kind, problem) from problem
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise _refusal(path, "file-kind", f"{what}, expected a regular file; copy it again")
    if not os.access(path, os.R_OK):
        raise _refusal(
            path, "file-permission",
            f"not readable by user {os.getuid()}:{os.getgid()}; chmod -R a+rX the dataset",
        )  # fmt: skip
    head, tail = _ends(path, status.st_size)
    if head.startswith(_LFS_POINTER):
        raise _refusal(path, "lfs-pointer", "a Git LFS pointer, not the file; run git lfs pull")
    if not head:
        raise _refusal(path, "file-empty", "empty, expected a whole file; copy it again")
    _check_format(path, kind, head, tail)


def _check_format(path: Path, kind: str, head: bytes, tail: bytes) -> None:
    if kind == "table" and not head.startswith(_PARQUET):
        raise _refusal(
            path, "table-unreadable",
            f"not a parquet file (magic bytes not found): it begins with {head[:8]!r}, expected "
            f"{_PARQUET!r}; copy it again",
        )  # fmt: skip
    if kind == "table" and not tail.endswith(_PARQUET):
        raise _refusal(
            path, "table-truncated",
            f"a parquet file without its end: found {tail[-4:]!r}, expected {_PARQUET!r}; the "
            f"recording was not finished or the copy is cut off; copy it again, or use only the "
            f"episodes that are whole",
        )  # fmt: skip
    if kind == "video" and head[4:8] not in _MP4_BOXES:
        raise _refusal(
            path, "video-unreadable",
            f"cannot be decoded: it begins with {head[:12]!r}, expected an MP4 header (ftyp); "
            f"copy it again",
        )  # fmt: skip


def _ends(path: Path, size: int) -> tuple[bytes, bytes]:
    try:
        with path.open("rb") as file:
            head = file.read(len(_LFS_POINTER))
            file.seek(max(0, size - 4))
            return head, file.read(4)
    except OSError as problem:
        raise _refusal(path, "file-permission", f"not readable ({problem.strerror})") from problem


def _absent(path: Path, kind: str, problem: Exception) -> DatasetError:
    if isinstance(problem, PermissionError):
        return _refusal(
            path, "file-permission",
            f"its folder is not readable by user {os.getuid()}:{os.getgid()}; chmod -R a+rX the "
            f"dataset",
        )  # fmt: skip
    link = next((place for place in (path, *path.parents) if _is_dead_link(place)), None)
    if link is None:
        return _refusal(
            path, f"{kind}-missing", "no such file, expected it as the metadata says; copy it again"
        )
    target = str(link.readlink())
    cache = "blobs/" in target
    return _refusal(
        path, "link-dangling",
        f"a link to {target!r}, which is not there, expected its file; "
        + ("this is a snapshot of the Hugging Face cache: mount the cache root (the folder that "
           "holds blobs/ and snapshots/)" if cache else
           "mount the folder that holds the link's target too")
        + ", or copy the dataset with its links resolved (cp -rL)",
    )  # fmt: skip


def _is_dead_link(path: Path) -> bool:
    try:
        return path.is_symlink() and not path.exists()
    except (OSError, ValueError):
        return False


def _refusal(path: Path, code: str, what: str) -> DatasetError:
    return DatasetError(f"{path}: {what}", code=code, where=path)


def _short(values: NDArray[np.int64]) -> str:
    shown = ", ".join(str(value) for value in values[:5])
    return f"[{shown}{', …' if len(values) > 5 else ''}] ({len(values)} rows)"
