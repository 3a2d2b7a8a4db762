"""Frames made smaller by area averaging, so that cameras of different sizes become one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from episodes.arrays import Frame
from job.errors import DatasetError, UsageError

Size = tuple[int, int]  # height and width in pixels


def enlarges(recorded: Size, wanted: Size) -> bool:
    """Whether frames would have to grow to the size that is wanted, which would invent detail."""
    return wanted[0] > recorded[0] or wanted[1] > recorded[1]


@dataclass(frozen=True)
class Reduction:
    """How a camera's frames become one size."""

    recorded: Size  # of the first frame of the first episode
    wanted: Size
    any_size: bool  # whether other frames may be recorded in another size

    def check(self, size: Size, path: Path, which: str) -> None:
        """Refuse a frame for its size; raises DatasetError, and UsageError for one too small.

        path, which: its file and what to call it there
        """
        if not self.any_size and size != self.recorded:
            raise DatasetError(
                f"{path}: {which} is {by(size)}, expected {by(self.recorded)} as in the first "
                f"episode; leave the episode out, or bring all to one size with --image_size",
                code="video-size",
                where=path,
            )
        if enlarges(size, self.wanted):
            raise UsageError(
                f"{path}: {which} is {by(size)}, which --image_size {by(self.wanted)} would "
                f"enlarge; expected a size that is not larger, as enlarging adds nothing",
                code="image-enlarged",
            )


def by(size: Size) -> str:
    """A size as it is shown."""
    return f"{size[0]}x{size[1]}"


def resize_area(frame: Frame, height: int, width: int) -> Frame:
    """Average the area under each pixel of a smaller frame, parts of pixels by their part.

    frame: (H, W, 3) uint8; returns: (height, width, 3) uint8, the very frame when it has that size.
    Raises ValueError to enlarge, which would invent detail.
    """
    if frame.shape[:2] == (height, width):
        return frame
    if min(height, width) < 1 or enlarges(frame.shape[:2], (height, width)):
        raise ValueError(
            f"cannot resize {frame.shape[0]}x{frame.shape[1]} to {height}x{width}, expected a "
            f"smaller size"
        )
    if frame.shape[0] % height == 0 and frame.shape[1] % width == 0:
        return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))
    # Pillow's box counts whole pixels only: at 2/3 it averages now one, now two (up to 90 levels)
    rows = _average(frame.astype(np.float32), height)
    both = _average(rows.transpose(1, 0, 2), width).transpose(1, 0, 2)
    return np.ascontiguousarray((both + 0.5).astype(np.uint8))


def _average(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Average along the first axis: (N, …) to (size, …)."""
    edges = np.arange(size + 1) * (len(values) / size)
    first = np.floor(edges[:-1]).astype(int)
    last = np.ceil(edges[1:] - 1e-9).astype(int)
    total = np.zeros((size, *values.shape[1:]), np.float32)
    for step in range(int((last - first).max())):
        place = first + step
        part = np.minimum(edges[1:], place + 1) - np.maximum(edges[:-1], place)
        weight = (part.clip(0) * size / len(values)).astype(np.float32)
        total += values[place.clip(max=len(values) - 1)] * weight[:, None, None]
    return total
