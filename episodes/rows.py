"""Where the frames of an episode file lie, so that they can be read without HDF5.

T time steps, H and W the image's height and width in pixels, L bytes of a row.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from episodes.arrays import Frame
from episodes.reader import open_episode


@dataclass(frozen=True)
class Rows:
    """Where the frames of one camera of one episode lie in the file."""

    offsets: NDArray[np.int64]  # (T,)
    shape: tuple[int, ...]  # of one: (H, W, 3), or (L,) for JPEG rows

    @property
    def size_bytes(self) -> int:
        """What one takes in the file."""
        return math.prod(self.shape)


def find_rows(path: Path, camera: str) -> Rows | None:
    """Where the frames lie, or None when only HDF5 can read them (compressed, or of many chunks).

    Our episodes hold them one after the other, upstream's recorder each in a chunk of its own.
    """
    with open_episode(path) as file:
        images: h5py.Dataset = file[f"observations/images/{camera}"]
        if images.dtype != np.uint8:
            return None
        offset, shape = images.id.get_offset(), images.shape[1:]
        if offset is not None:
            return Rows(offset + np.arange(len(images)) * math.prod(shape), shape)
        if images.chunks != (1, *shape) or images.id.get_create_plist().get_nfilters():
            return None
        rest = (0,) * len(shape)
        chunks = [images.id.get_chunk_info_by_coord((ts, *rest)) for ts in range(len(images))]
        if any(chunk.byte_offset is None for chunk in chunks):  # never written
            return None
        return Rows(np.array([chunk.byte_offset for chunk in chunks]), shape)


def read_row(path: Path, camera: str, ts: int) -> Frame:
    """A frame (H, W, 3) or JPEG row (L,) as HDF5 reads it."""
    with open_episode(path) as file:
        row: Frame = file[f"observations/images/{camera}"][ts]
    return row
