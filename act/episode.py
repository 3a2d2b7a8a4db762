"""The episode file `episode_<i>.hdf5`: upstream ALOHA's layout, in both directions.

T time steps, Q qpos dims, A action dims, H and W the image's height and width in pixels.

    attribute camera_names           the cameras in order, which HDF5 does not keep
    attribute sim                    bool; False makes ACT train on action[t - 1] (act/dataset.py)
    /action                          float32 (T, A)
    /observations/qpos, qvel         float32 (T, Q); effort too where it was recorded
    /observations/images/<camera>    uint8 (T, H, W, 3) RGB, contiguous and page-aligned
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from act.errors import DatasetError

FloatArray = NDArray[np.float32]
Frame = NDArray[np.uint8]

_NAME = re.compile(r"episode_(\d+)\.hdf5")
# Frames start on a page, so that training can map them and a copy of one touches no other page.
_PAGE_BYTES = 4096


def episode_path(folder: Path, index: int) -> Path:
    """The file of episode `index`, named as upstream's loader looks for it."""
    return folder / f"episode_{index}.hdf5"


def find_episodes(folder: Path) -> list[Path]:
    """The episode files in `folder` by number; raises DatasetError when a number is missing."""
    numbered = {
        int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    }
    missing = sorted(set(range(len(numbered))) - set(numbered))
    if missing:
        raise DatasetError(
            f"{folder}: episode_{missing[0]}.hdf5 is missing, though there are {len(numbered)} "
            f"episode files; expected episode_0.hdf5 … without gaps; rename them"
        )
    return [numbered[index] for index in sorted(numbered)]


class EpisodeWriter:
    """An episode file being written: vectors at once, frames one by one into their place.

    HDF5 lays the file out; the frames go past it, straight to where it put their dataset. That
    saves a copy, and a full disk is an ordinary error instead of one while HDF5 closes the file.
    Memory holds one frame however long T is.
    """

    def __init__(
        self,
        path: Path,
        vectors: dict[str, FloatArray],
        images: dict[str, tuple[int, int, int]],
        attributes: dict[str, Any],
    ) -> None:
        """Lay out `path`.

        vectors: `action`, and the observations `qpos`, `qvel` and, where there is one, `effort`
        images: (T, H, W) of each camera; attributes: of the file, `sim` among them
        """
        with h5py.File(
            path, "w", alignment_threshold=_PAGE_BYTES, alignment_interval=_PAGE_BYTES
        ) as file:
            for name, value in attributes.items():
                file.attrs[name] = value
            for name, values in vectors.items():
                group = file if name == "action" else file.require_group("observations")
                group.create_dataset(name, data=values, dtype=np.float32)
            self._offsets = {
                camera: _allocate(file, camera, shape) for camera, shape in images.items()
            }
        self._file = path.open("r+b", buffering=0)

    def write_frame(self, camera: str, ts: int, frame: Frame) -> None:
        """Write frame `ts` (H, W, 3) of a camera."""
        content = np.ascontiguousarray(frame).data.cast("B")
        place = self._offsets[camera] + ts * len(content)
        while content:
            written = os.pwrite(self._file.fileno(), content, place)
            content, place = content[written:], place + written

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def _allocate(file: h5py.File, camera: str, shape: tuple[int, int, int]) -> int:
    """Make a contiguous uint8 dataset (T, H, W, 3) that is not written yet; returns its offset."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # every frame is written, or the file is not
    plist.set_obj_track_times(False)  # the same episode gives the same bytes
    group = file.require_group("observations/images")
    space = h5py.h5s.create_simple((*shape, 3))
    made = h5py.h5d.create(group.id, camera.encode(), h5py.h5t.STD_U8LE, space, plist)
    offset: int = made.get_offset()
    return offset


@dataclass(frozen=True)
class EpisodeInfo:
    """What an episode file says of itself, without its frames."""

    path: Path
    sim: bool
    length: int
    qpos_dim: int
    action_dim: int
    image_sizes: dict[str, tuple[int, int]]  # camera: (H, W)
    fps: float | None  # this and the names: None in files that our converter did not write
    qpos_names: tuple[str, ...] | None
    action_names: tuple[str, ...] | None


def read_info(path: Path) -> EpisodeInfo:
    """Look at one episode file; raises DatasetError when it is not an ALOHA episode."""
    with open_episode(path) as file:
        qpos, action = file["observations/qpos"], file["action"]
        images = file["observations/images"]
        names = _names(file, "camera_names") or tuple(images)
        info = EpisodeInfo(
            path=path,
            sim=bool(file.attrs.get("sim", False)),
            length=len(action),
            qpos_dim=qpos.shape[1],
            action_dim=action.shape[1],
            image_sizes={name: images[name].shape[1:3] for name in names},
            fps=float(file.attrs["fps"]) if "fps" in file.attrs else None,
            qpos_names=_names(file, "qpos_names"),
            action_names=_names(file, "action_names"),
        )
        lengths = {"action": len(action), "qpos": len(qpos)}
        lengths |= {f"images/{name}": len(images[name]) for name in images}
    if len(set(lengths.values())) != 1 or info.length == 0:
        raise DatasetError(
            f"{path}: found {lengths} time steps, expected the same number above 0 in each; "
            f"record or convert the episode again"
        )
    return info


def _names(file: h5py.File, attribute: str) -> tuple[str, ...] | None:
    names = file.attrs.get(attribute)
    return None if names is None else tuple(str(name) for name in names)


def read_vectors(path: Path) -> tuple[FloatArray, FloatArray]:
    """The qpos (T, Q) and action (T, A) of an episode, float32."""
    with open_episode(path) as file:
        qpos = file["observations/qpos"][()].astype(np.float32)
        return qpos, file["action"][()].astype(np.float32)


@contextlib.contextmanager
def open_episode(path: Path) -> Iterator[h5py.File]:
    """Open an episode file for reading; h5py's errors become a DatasetError with the path."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (KeyError, OSError) as error:
        raise DatasetError(
            f"{path}: not a whole ALOHA episode ({error}); expected an HDF5 file with /action, "
            f"/observations/qpos and /observations/images/<camera>"
        ) from error
