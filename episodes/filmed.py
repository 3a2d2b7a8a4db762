"""Frames that are not in an episode file: where they lie in a video of the dataset.

    /observations/videos/<camera>    int64 (T,), the ordinal of each step's frame in the video
        attributes path, sha256 (of samples of the file), fps (a fraction), recorded and size
        (H, W), any_size, rotated, grey
T time steps, H and W the image's height and width in pixels.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from episodes.resize import Reduction, Size
from episodes.stored import check_own
from job.errors import DatasetError, first_line

FILMED = "videos"  # the group below /observations


@dataclass(frozen=True)
class Filmed:
    """The frames of one camera in one episode, as they lie in a video."""

    path: Path
    sha256: str  # of samples of the file
    fps: Fraction  # of the dataset, on whose grid the frames are
    ordinals: NDArray[np.int64]  # (T,)
    reduction: Reduction
    rotated: bool = False  # as the file's display matrix has players show them
    grey: bool = False  # the file may have one channel, which is given three times

    @property
    def attributes(self) -> dict[str, Any]:
        """All but the ordinals, as an episode file has it."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "fps": str(self.fps),
            "recorded": self.reduction.recorded,
            "size": self.reduction.wanted,
            "any_size": self.reduction.any_size,
            "rotated": self.rotated,
            "grey": self.grey,
        }


def filmed_in(path: Path, file: h5py.File) -> dict[str, Filmed]:
    """What an episode file says of its cameras' videos, by camera; raises DatasetError."""
    group = file["observations"].get(FILMED)
    if not isinstance(group, h5py.Group):
        return {}
    found = {name: group.get(name) for name in group}  # None: a link that leads nowhere
    return {
        name: _read(path, file, name, data)
        for name, data in found.items()
        if isinstance(data, h5py.Dataset)
    }


def _read(path: Path, file: h5py.File, name: str, data: h5py.Dataset) -> Filmed:
    check_own(path, file, data, data.shape)
    try:
        attributes = dict(data.attrs)
        return Filmed(
            path=Path(attributes["path"]),
            sha256=str(attributes["sha256"]),
            fps=Fraction(attributes["fps"]),
            ordinals=_ordinals(data),
            reduction=Reduction(
                recorded=_size(attributes["recorded"]),
                wanted=_size(attributes["size"]),
                any_size=bool(attributes["any_size"]),
            ),
            **{key: bool(attributes[key]) for key in ("rotated", "grey")},
        )
    except (KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise DatasetError(
            f"{path}: /observations/{FILMED}/{name} is not as a conversion with --frames video "
            f"writes it ({first_line(error)}); convert the dataset again",
            code="episode-content",
        ) from error


def _ordinals(data: h5py.Dataset) -> NDArray[np.int64]:
    ordinals = np.asarray(data[()], np.int64)
    if ordinals.ndim != 1 or (np.diff(ordinals) <= 0).any() or (ordinals < 0).any():
        raise ValueError("ordinals do not rise")
    return ordinals


def _size(values: Any) -> Size:
    height, width = (int(value) for value in values)
    if not (height > 0 and width > 0):
        raise ValueError("no size")
    return height, width
