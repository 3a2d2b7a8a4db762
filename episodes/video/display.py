"""What a display matrix has players do to a video's frames, and doing it.

A matrix takes the pixel at (x, y) to (a x + c y, b x + d y), but for a constant.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from numpy.typing import NDArray

from episodes.orientation import Turn
from job.errors import DatasetError

_QUARTERS = {(1, 0): 0, (0, -1): 90, (-1, 0): 180, (0, 1): 270}  # (a, b), counterclockwise


@dataclass(frozen=True)
class Display:
    """A display matrix, in units of a pixel."""

    a: float
    b: float
    c: float
    d: float

    @property
    def is_plain(self) -> bool:
        """Whether it changes nothing."""
        return self.turned == (1, 0, 0, 1)

    @property
    def turned(self) -> tuple[int, int, int, int]:
        """Its entries as whole numbers."""
        return round(self.a), round(self.b), round(self.c), round(self.d)

    @property
    def is_right_angled(self) -> bool:
        """Whether each pixel comes to lie on one."""
        a, b, c, d = self.turned
        exact = np.allclose(self.turned, (self.a, self.b, self.c, self.d), atol=1e-3)
        return bool(exact) and abs(a * d - b * c) == 1

    @property
    def turn(self) -> Turn:
        """What players do to a frame; of a slanted one the angle alone."""
        if not self.is_right_angled:
            return Turn(float(np.degrees(np.arctan2(-self.b, self.a)) % 360))
        a, b, c, d = self.turned
        mirrored = a * d - b * c < 0
        # a mirror turns the x axis round
        return Turn(_QUARTERS[(-a, -b) if mirrored else (a, b)], mirrored)

    def refuse_slanted(self, path: Path) -> None:
        """Raise DatasetError unless each pixel comes to lie on one."""
        if not self.is_right_angled:
            raise DatasetError(
                f"{path}: players show its frames {self.turn}, by its display matrix, expected a "
                f"multiple of 90 for --apply_rotation; re-encode it upright, or leave the flag out",
                code="video-slanted",
                where=path,
            )

    def apply(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A frame (H, W, 3) as players show it; for a matrix with right angles."""
        a, b, c, d = self.turned
        if not a:  # x and y change places
            frame = frame.swapaxes(0, 1)
        rows, columns = b + d, a + c  # the signs of y and x in the result
        return np.ascontiguousarray(frame[::rows, ::columns])


def read_display(frame: av.VideoFrame) -> Display | None:
    """The display matrix of a decoded frame; None for none, or one that changes nothing."""
    # not frame.side_data, which the frame keeps: the two would hold each other, and the pictures
    found: Any = SideDataContainer(frame)  # type: ignore[call-arg]
    data = found.get(Type.DISPLAYMATRIX)
    if data is None:
        return None
    a, b, _, c, d = (np.frombuffer(bytes(data), np.int32)[:5] / (1 << 16)).tolist()
    display = Display(a, b, c, d)
    return None if display.is_plain else display
