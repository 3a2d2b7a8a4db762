"""The frames of one camera whose images lie in the data files, streamed: (H, W, 3) uint8 RGB.

A row holds a whole PNG or JPEG file. Rows are read in small batches from row groups that are opened
one at a time, so memory holds a page of the table, not the file. Parquet cannot be read by less,
and a page is up to 1,024 images long in what lerobot and pyarrow write (`page_bytes`).
"""

import contextlib
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from convert.findings import refuse
from convert.lerobot.table import (
    ORDER,
    check_row_count,
    no_numbers,
    parquet_errors,
    read_columns,
    row_order,
    whole_numbers,
)
from episodes.arrays import Frame
from episodes.input_file import OnRead, check_file, ignore
from job.errors import DatasetError, first_line

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
_TO_RGB = ("L", "LA", "RGBA", "P", "PA", "CMYK", "YCbCr")  # Pillow's modes with 8 bits per channel
_DEPTH = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112  # EXIF
_BUFFER_BYTES = 1 << 20
_BATCH_BYTES = 4 << 20
_MAX_BATCH_ROWS = 64
_PAGE_ROWS = 1024
# Compressed, decompressed and as an array: 977 MB measured for a page of 325 MB (pyarrow 24).
_PAGE_COPIES = 3
_NO_ROWS = pa.array([])

logger = logging.getLogger("act")


def page_bytes(path: Path, key: str) -> int:
    """The most memory that reading the images of one column takes, by the file's footer."""
    with parquet_errors(path), pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(place) for place in range(file.num_row_groups)]
        pages = (
            _column_bytes(group, key) * min(_PAGE_ROWS, group.num_rows) // group.num_rows
            for group in groups
            if group.num_rows
        )
        return _PAGE_COPIES * max(pages, default=0)


def _column_bytes(group: pq.RowGroupMetaData, key: str) -> int:
    columns = (group.column(place) for place in range(group.num_columns))
    return sum(
        column.total_uncompressed_size
        for column in columns
        if f"{column.path_in_schema}.".startswith(f"{key}.")
    )


class ImageReader:
    """The images of one column of a data file, read forward; going back opens the group again."""

    def __init__(self, path: Path, key: str, on_read: OnRead = ignore) -> None:
        """Open a data file; raises DatasetError when its column `key` holds no images.

        on_read: called with the file, again for each of its rows, and with images in other files
        """
        self.path = path
        self.key = key
        self._on_read = on_read
        self._index = read_columns(path, ["episode_index"], on_read, ORDER)
        with parquet_errors(path):
            # without these two, pyarrow holds whole columns in memory
            self._file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        self._check_column()
        sizes = [
            self._file.metadata.row_group(group).num_rows
            for group in range(self._file.num_row_groups)
        ]
        self._starts = np.cumsum([0, *sizes])  # first row of each row group
        self._has_warned = False
        self._group = -1  # the row group that is open
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.Array = _NO_ROWS
        self._first = 0  # row of the file that the batch begins with

    def frames(self, episode: int, count: int) -> Iterator[Frame]:
        """Give the first `count` frames of an episode, each (H, W, 3) uint8, read-only.

        Raises DatasetError when one is missing or cannot be decoded.
        """
        rows = self._rows(episode, count)
        if (np.diff(rows) > 0).all():
            cells = (self._cell(row) for row in rows)
        else:  # the file's order is another one: keep what is compressed, not the pixels
            kept = {row: self._cell(row) for row in sorted(rows)}
            cells = (kept.pop(row) for row in rows)
        for frame, cell in enumerate(cells):
            yield self._decode(cell, episode, frame)

    def _check_column(self) -> None:
        schema = self._file.schema_arrow
        if schema.names.count(self.key) != 1:
            what = "is there twice" if self.key in schema.names else "is missing"
            raise DatasetError(
                f"{self.path}: column {self.key!r} {what}; found {schema.names}; expected its "
                f"images once, as meta/info.json says; export the dataset again",
                code="image-unreadable",
                where=self.path,
            )
        kind = schema.field(self.key).type
        fields = {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}
        if fields and len(fields) < kind.num_fields:
            fields, kind = {}, pa.null()  # two of one name cannot be distinguished
        if not _is_binary(kind) and not _is_binary(fields.get("bytes", kind)):
            raise DatasetError(
                f"{self.path}: column {self.key!r} holds {kind}, expected image files as binary or "
                f"struct<bytes: binary, path: string>; export the dataset again",
                code="image-unreadable",
                where=self.path,
            )

    def _rows(self, episode: int, count: int) -> list[int]:
        """Where the frames 0 … count - 1 lie in the file."""
        column = self._index["episode_index"]
        numbers = whole_numbers(column)
        if numbers is None:
            refuse(no_numbers(self.path, "episode_index", column))
        rows = np.flatnonzero(numbers == episode)
        order = row_order(self.path, episode, self._index.take(rows), refuse)
        assert order is not None, "what is wrong was refused"
        check_row_count(self.path, episode, min(len(rows), count), count, refuse)
        return rows[order][:count].tolist()

    def _cell(self, row: int) -> Any:
        """What a row of the file holds; costs least when rows are asked for in order."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if group != self._group or row < self._first:
            self._open(group)
        while row >= self._first + len(self._batch):
            self._advance()
        self._on_read(self.path)  # an image in a file of its own may have been read since
        with parquet_errors(self.path):  # texts are decoded only now
            cell = self._batch[row - self._first].as_py()
        if row + 1 == self._starts[group + 1]:
            self._release()  # its pages would stay in memory while another camera is read
        return cell

    def _open(self, group: int) -> None:
        self._release()
        self._group = group
        self._first = int(self._starts[group])
        self._batches = self._file.iter_batches(
            batch_size=self._batch_rows(group),
            row_groups=[group],
            columns=[self.key],
            use_threads=False,
        )

    def _batch_rows(self, group: int) -> int:
        rows = self._file.metadata.row_group(group)
        with parquet_errors(self.path):
            size_bytes = _column_bytes(rows, self.key)
        return max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES * rows.num_rows // max(1, size_bytes)))

    def _advance(self) -> None:
        self._on_read(self.path)
        self._first += len(self._batch)
        self._batch = _NO_ROWS
        with parquet_errors(self.path):
            batch = next(self._batches, None)
        if batch is None:
            raise DatasetError(
                f"{self.path}: column {self.key!r} ends before row {self._first}, expected "
                f"{self._starts[-1]} rows as its footer says; copy or export the dataset again",
                code="table-unreadable",
                where=self.path,
            )
        self._batch = batch.column(batch.schema.get_field_index(self.key))

    def _release(self) -> None:
        self._group, self._first = -1, 0
        self._batches, self._batch = iter(()), _NO_ROWS

    def _decode(self, cell: Any, episode: int, frame: int) -> Frame:
        where = f"{self.path}: frame {frame} of episode {episode}, column {self.key!r}"
        data, name = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, "")
        if data:
            return self._to_rgb(io.BytesIO(data), where)
        path = self._find(name if isinstance(name, str) else "", episode, where)
        self._on_read(path)
        check_file(path)
        with path.open("rb") as file:
            return self._to_rgb(file, f"{where} ({path})")

    def _find(self, name: str, episode: int, where: str) -> Path:
        """The file of an image that was left out of the table; never one outside the dataset."""
        root = next((p for p in self.path.parents if (p / "meta/info.json").exists()), None)
        if root is not None and name:
            folder = root / "images" / self.key
            base = name.replace("\\", "/").rsplit("/", 1)[-1]
            candidates = [root / name]
            candidates += [folder / f"episode{mark}{episode:06d}" / base for mark in "_-"]
            with image_errors(where):
                for path in candidates:
                    if _is_inside(path, root) and (path.is_symlink() or path.is_file()):
                        return path
        raise DatasetError(
            f"{where} is empty and its path {name!r} leads to no file in the dataset; expected the "
            f"image itself in the table; export the dataset with its images embedded",
            code="image-unreadable",
            where=self.path,
        )

    def _to_rgb(self, stream: BinaryIO, where: str) -> Frame:
        with image_errors(where), Image.open(stream, formats=_FORMATS) as image:
            mode = image.mode
            if mode == "RGB" or mode in _TO_RGB:
                pixels = _upright(image)
                # a palette's transparency has no place in RGB, and Pillow warns of that
                pixels = pixels.convert("RGBA") if mode in ("P", "PA") else pixels
                rgb = np.asarray(pixels.convert("RGB"))
        if mode != "RGB":
            self._report_mode(mode, where)
        return rgb

    def _report_mode(self, mode: str, where: str) -> None:
        if mode not in _TO_RGB:
            what = "a depth image" if mode in _DEPTH else "no colour image"
            raise DatasetError(
                f"{where} has pixels of mode {mode!r}, {what}; expected 8-bit RGB; leave this "
                f"camera out with --camera_keys",
                code="image-depth",
                where=self.path,
            )
        if not self._has_warned:
            logger.warning("%s has pixels of mode %r, converted to RGB here and after", where, mode)
            self._has_warned = True

    def close(self) -> None:
        """Close the file."""
        self._release()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_inside(path: Path, root: Path) -> bool:
    """By its name alone: the links of a Hugging Face snapshot lead out of it on purpose."""
    return Path(os.path.normpath(path)).is_relative_to(os.path.normpath(root))


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says, as the datasets library and so LeRobotDataset does."""
    if image.getexif().get(_ORIENTATION, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


@contextlib.contextmanager
def image_errors(where: str) -> Iterator[None]:
    """Translate Pillow's errors, at the one border where it is used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which is not ours to mend
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    # its readers let all kinds out on broken bytes; seen are OSError, SyntaxError and ValueError
    except Exception as error:
        # the address is another at each run
        what = re.sub(r" <_io\.BytesIO object at 0x[0-9a-f]+>", "", first_line(error))
        raise DatasetError(
            f"{where} cannot be decoded ({what}); expected a whole image, one of "
            f"{', '.join(_FORMATS)}; leave the episode out or export the dataset again",
            code="image-unreadable",
        ) from error
