"""The episode file `episode_<i>.hdf5`: upstream ALOHA's layout, in both directions.

T time steps, Q qpos dims, A action dims, E environment state dims, H and W the image's height and
width in pixels.

    attribute camera_names           the cameras in order, which HDF5 does not keep
    attribute sim                    bool; False makes ACT train on action[t - 1] (act/batches/)
    /action                          float32 (T, A)
    /observations/qpos, qvel         float32 (T, Q); effort too where it was recorded
    /observations/env_state          float32 (T, E), only where the policy sees it; not upstream's
    /observations/images/<camera>    uint8 (T, H, W, 3) RGB, contiguous and page-aligned
or, with the attribute compress True (ALOHA's compressed layout, which act-plus-plus reads),
    /observations/images/<camera>    uint8 (T, L): a JPEG per row (episodes/jpeg.py), zero-padded
    /compress_len                    int32 (C, T), the length of each JPEG
"""

import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from episodes.flags import ENV_STATE, NO_CAMERAS
from episodes.input_folder import list_input
from episodes.jpeg import decode_jpeg
from job.errors import DatasetError, JobError, first_line
from job.machine import memory_bytes

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Frame = NDArray[np.uint8]

_LARGEST_SHARE = 8  # of the memory, for what is read at once
_QPOS, _ACTION, _ENV_STATE = "observations/qpos", "action", f"observations/{ENV_STATE}"
_NAME = re.compile(r"episode_(\d+)\.hdf5")


def episode_path(folder: Path, index: int) -> Path:
    """The file of episode `index`, named as upstream's loader looks for it."""
    return folder / f"episode_{index}.hdf5"


def find_episodes(folder: Path) -> list[Path]:
    """The episode files in `folder` by number; raises DatasetError when a number is missing."""
    paths = list_input(folder)
    numbered = {int(match[1]): path for path in paths if (match := _NAME.fullmatch(path.name))}
    missing = sorted(set(range(len(numbered))) - set(numbered))
    if missing:
        raise DatasetError(
            f"{folder}: episode_{missing[0]}.hdf5 is missing, though there are {len(numbered)} "
            f"episode files; expected episode_0.hdf5 … without gaps; rename them",
            code="episodes-none",
        )
    return [numbered[index] for index in sorted(numbered)]


@dataclass(frozen=True)
class EpisodeInfo:
    """What an episode file says of itself, without its frames."""

    path: Path
    sim: bool
    length: int
    qpos_dim: int
    action_dim: int
    image_sizes: dict[str, tuple[int, int]]  # camera: (H, W)
    compressed: bool  # frames are JPEG rows
    fps: float | None  # this and the names: None in files that our converter did not write
    qpos_names: tuple[str, ...] | None
    action_names: tuple[str, ...] | None
    env_state_dim: int | None = None  # None: there is none, or it was not asked for
    env_state_names: tuple[str, ...] | None = None


def read_info(
    path: Path, camera_names: Sequence[str] = (), *, env_state: bool = False
) -> EpisodeInfo:
    """Look at one episode file; raises DatasetError when it is not an ALOHA episode.

    camera_names: NO_CAMERAS = its images are not looked at
    env_state: whether its environment state is looked at, where there is one
    """
    with open_episode(path) as file:
        qpos, action = file[_QPOS], file[_ACTION]
        vectors = [qpos, action]
        if env_state and _ENV_STATE in file:
            vectors.append(file[_ENV_STATE])
        sees = tuple(camera_names) != NO_CAMERAS
        images = file.get("observations/images", {}) if sees else {}
        names = (_names(file, "camera_names") or tuple(images)) if sees else ()
        compressed = bool(file.attrs.get("compress", False))
        if unknown := set(names) - set(images):  # a name with slashes would lead elsewhere
            raise ValueError(f"no images of {min(unknown)!r}, but of {sorted(images)}")
        for dataset in vectors:
            if dataset.ndim != 2 or not dataset.shape[1]:
                raise ValueError(f"{dataset.name} has shape {dataset.shape}, not (T, dims)")
            _check_own(path, file, dataset, dataset.shape)
        for dataset in images.values():
            _check_own(path, file, dataset, dataset.shape[1:])
        info = EpisodeInfo(
            path=path,
            sim=bool(file.attrs.get("sim", False)),
            length=len(action),
            qpos_dim=qpos.shape[1],
            action_dim=action.shape[1],
            image_sizes={name: _image_size(path, images[name], compressed) for name in names},
            compressed=compressed,
            fps=_fps(file),
            qpos_names=_names(file, "qpos_names"),
            action_names=_names(file, "action_names"),
            env_state_dim=vectors[2].shape[1] if vectors[2:] else None,
            env_state_names=_names(file, "env_state_names"),
        )
        lengths = {vector.name.rpartition("/")[2]: len(vector) for vector in vectors}
        lengths |= {f"images/{name}": len(images[name]) for name in images}
    if len(set(lengths.values())) != 1 or info.length == 0:
        raise DatasetError(
            f"{path}: found {lengths} time steps, expected the same number above 0 in each; "
            f"record or convert the episode again",
            code="episode-content",
        )
    return info


def _fps(file: h5py.File) -> float | None:
    found = float(file.attrs["fps"]) if "fps" in file.attrs else None
    if found is not None and not (math.isfinite(found) and found > 0):
        raise ValueError(f"fps is {found}, expected a number above 0")
    return found


def _check_own(
    path: Path, file: h5py.File, dataset: h5py.Dataset, at_once: tuple[int, ...]
) -> None:
    """Refuse data that lie in other files, and a part read at once that would fill the memory."""
    if dataset.file.filename != file.filename or dataset.is_virtual or dataset.external:
        raise DatasetError(
            f"{path}: {dataset.name} lies in another file, expected all of an episode in its own; "
            f"write it again",
            code="episode-content",
        )
    row_bytes = max(4, dataset.dtype.itemsize) * math.prod(at_once)  # vectors become float32
    if row_bytes > memory_bytes() // _LARGEST_SHARE:
        raise DatasetError(
            f"{path}: {dataset.name} is {dataset.dtype} {dataset.shape}, which takes "
            f"{row_bytes / 1e9:.0f} GB at once, expected less than the memory; write it again",
            code="episode-content",
        )
    _check_stored(path, dataset)


def _check_stored(path: Path, dataset: h5py.Dataset) -> None:
    """Refuse what the file cannot hold, before anything is made for each of its time steps.

    HDF5 reads rows that were never written as zeros: a file of 200 kB can claim millions.
    """
    stored, place = dataset.id.get_storage_size(), dataset.id.get_offset() or 0
    if dataset.chunks:
        sides = zip(dataset.shape, dataset.chunks, strict=True)
        what, claimed = "chunks", math.prod(-(-side // chunk) for side, chunk in sides)
        there = dataset.id.get_num_chunks()
    else:
        what, claimed, there = "bytes", dataset.size * dataset.dtype.itemsize, stored
    if there < claimed or 0 in dataset.shape[1:] or place + stored > path.stat().st_size:
        raise DatasetError(
            f"{path}: {dataset.name} is {dataset.dtype} {dataset.shape}, of which {there} of "
            f"{claimed} {what} were written in a file of {path.stat().st_size} bytes, expected all "
            f"of it; the recording was not finished; leave the episode out or record it again",
            code="episode-content",
        )


def _names(file: h5py.File, attribute: str) -> tuple[str, ...] | None:
    names = file.attrs.get(attribute)
    return None if names is None else tuple(str(name) for name in names)


def _image_size(path: Path, images: h5py.Dataset, compressed: bool) -> tuple[int, int]:
    if compressed and images.ndim == 2 and len(images):
        height, width, _ = decode_jpeg(images[0], f"{path}: frame 0 of {images.name}").shape
        return height, width
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise DatasetError(
            f"{path}: {images.name} is {images.dtype} {images.shape}, expected uint8 (T, H, W, 3), "
            f"or JPEG rows with the attribute compress",
            code="episode-content",
        )
    return images.shape[1], images.shape[2]


def read_vectors(path: Path) -> tuple[FloatArray, FloatArray]:
    """The qpos (T, Q) and action (T, A) of an episode, float32."""
    qpos, action = _read(path, _QPOS, _ACTION)
    return qpos, action


def read_env_state(path: Path) -> FloatArray:
    """The environment state (T, E) of an episode, float32."""
    (env_state,) = _read(path, _ENV_STATE)
    return env_state


def _read(path: Path, *names: str) -> list[FloatArray]:
    with open_episode(path) as file:
        read = {name: file[name][()].astype(np.float32) for name in names}
    for name, values in read.items():
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise DatasetError(
                f"{path}: /{name} is {values[tuple(bad[0])]} at step {bad[0][0]}, dim {bad[0][1]}, "
                f"expected a finite number; leave the episode out or record it again",
                code="not-finite",
            )
    return list(read.values())


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


def try_episode(path: Path, camera_names: Sequence[str] = (), *, env_state: bool = False) -> None:
    """Do what training will do first with a file: for a process that may crash over a broken one.

    camera_names, env_state: as `read_info` takes them; raises DatasetError as training would.
    """
    info = read_info(path, camera_names, env_state=env_state)
    read_vectors(path)
    if info.env_state_dim is not None:
        read_env_state(path)
    for camera in info.image_sizes:
        find_rows(path, camera)
        row = read_row(path, camera, 0)
        if info.compressed:
            decode_jpeg(row, f"{path}: frame 0 of {camera}")


@contextlib.contextmanager
def open_episode(path: Path) -> Iterator[h5py.File]:
    """Open an episode file for reading; h5py's errors become a DatasetError with the path."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError("no such file" if not path.exists() else "not a file")
        with h5py.File(path, "r") as file:
            yield file
    except JobError:
        raise
    except Exception as error:  # whatever a reader of foreign bytes may stumble over
        raise DatasetError(
            f"{path}: not a whole ALOHA episode ({first_line(error)}); expected an HDF5 file "
            f"with /action, /observations/qpos and /observations/images/<camera>",
            code="episode-unreadable",
        ) from error
