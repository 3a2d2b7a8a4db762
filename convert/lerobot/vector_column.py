"""A column of a data file as vectors: numbers, lists of them, or a struct with a field for each.

T rows of an episode, D values in a vector.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from convert.findings import Add, error

Names = tuple[str, ...]  # of dims, in order


class VectorColumn:
    """One vector of an episode; what is wrong with it is added as an error."""

    def __init__(self, path: Path, episode: int, key: str, add: Add) -> None:
        self._path, self._episode, self._key, self._add = path, episode, key, add
        self.names: Names = ()  # of the dims of a struct, from its fields

    def read(self, column: pa.ChunkedArray, wanted: Names | None) -> NDArray[np.float32] | None:
        """The vectors, (T, D); None after an error was added.

        wanted: info.json's names of the dims, whose order a struct with these fields is given
        """
        rows = len(column)
        if not rows:
            self._error("table-rows", "no rows, expected some; copy it again")
            return None
        values = column.combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks)
        if not pa.types.is_struct(values.type):
            return self._numbers(values, rows, f"column {self._key!r}")
        parts, names = [], []
        for name, field in _fields(values, ""):
            part = self._numbers(field, rows, f"field {name!r} of column {self._key!r}")
            if part is None:
                return None
            parts.append(part)
            names += (
                [name] if part.shape[1] == 1 else [f"{name}[{i}]" for i in range(part.shape[1])]
            )
        if not parts:
            self._error("column-type", f"column {self._key!r} is a struct without fields")
            return None
        if wanted is not None and sorted(wanted) == sorted(names):
            order = [names.index(name) for name in wanted]
            self.names = wanted
            return np.concatenate(parts, axis=1)[:, order]
        self.names = tuple(names)
        return np.concatenate(parts, axis=1)

    def _numbers(self, values: pa.Array, rows: int, what: str) -> NDArray[np.float32] | None:
        """Numbers, or lists of lists of them, as (T, D)."""
        empty = values.null_count
        ragged = False
        while _is_list(values.type):
            ragged = ragged or len(pc.unique(pc.list_value_length(values))) > 1
            values = values.flatten()  # unlike .values, this honours the offset of a slice
            empty = empty or values.null_count
        if empty:
            self._error(
                "value-missing", f"{what} has {empty} empty values, expected a number in each"
            )
            return None
        if pa.types.is_boolean(values.type) or pa.types.is_decimal(values.type):
            values = values.cast(pa.uint8() if pa.types.is_boolean(values.type) else pa.float64())
        if not is_real(values.type):
            self._error(
                "column-type",
                f"{what} holds {values.type}, expected numbers; choose another column",
            )
            return None
        with np.errstate(over="ignore"):  # beyond float32 a float64 becomes inf, an error below
            flat = values.to_numpy(zero_copy_only=False).astype(np.float32)
        if ragged or len(flat) == 0 or len(flat) % rows:
            self._error(
                "vector-width",
                f"{what} has {len(flat)} values in {rows} rows, expected equal widths",
            )
            return None
        vectors = flat.reshape(rows, -1)
        bad = np.argwhere(~np.isfinite(vectors))
        if len(bad):
            row, dim = bad[0]
            self._error(
                "not-finite",
                f"{what} is {vectors[row, dim]} at row {row}, dim {dim} ({len(bad)} such values), "
                f"expected finite numbers; leave the episode out or record it again",
            )
            return None
        return vectors

    def _error(self, code: str, what: str) -> None:
        self._add(error(code, self._path, what, episode=self._episode))


def _fields(values: pa.StructArray, prefix: str) -> Iterator[tuple[str, pa.Array]]:
    """The fields of a struct that are no structs, with their names: `arm.x` for one within one."""
    for field, inner in zip(values.type, values.flatten(), strict=True):
        name = f"{prefix}{field.name}"
        if pa.types.is_struct(inner.type):
            yield from _fields(inner, f"{name}.")
        else:
            yield name, inner


def is_real(kind: pa.DataType) -> bool:
    """Whether a column is of integers or floats."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
