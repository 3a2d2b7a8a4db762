"""Frames made smaller by area averaging, so that cameras of different sizes become one."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from episodes.arrays import Frame


def resize_area(frame: Frame, height: int, width: int) -> Frame:
    """Average the area under each pixel of a smaller frame, parts of pixels by their part.

    frame: (H, W, 3) uint8; returns: (height, width, 3) uint8, the very frame when it has that size.
    Raises ValueError to enlarge, which would invent detail.
    """
    if frame.shape[:2] == (height, width):
        return frame
    if not (0 < height <= frame.shape[0] and 0 < width <= frame.shape[1]):
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
