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
or, with no frame in the file (episodes/filmed.py),
    /observations/videos/<camera>    int64 (T,): where the frames are in a video of the dataset
Recorders of others leave out attributes and add parts: `EpisodeInfo` says which.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from episodes.arrays import FloatArray
from episodes.attributes import names_in, rate_in, truth_in
from episodes.file_cameras import cameras_in, image_size, is_depth, listed_cameras
from episodes.filmed import FILMED, Filmed, filmed_in
from episodes.orientation import Orientation, read_orientations
from episodes.reading import ENV_STATE, LEFT_OUT, NO_CAMERAS, SMOOTHED
from episodes.stored import check_own
from job.errors import DatasetError, JobError, first_line
from job.file_system import NO_LOCKS

_VECTORS = ("observations/qpos", "action")
_ENV_STATE = f"observations/{ENV_STATE}"
_BASE = "base_action"
_KNOWN: dict[str, tuple[str, ...]] = {"": ("action", "observations", _BASE, "compress_len")}
_KNOWN["observations"] = ("qpos", "qvel", "effort", "images", FILMED)
_SMOOTHING = 5  # steps
_MOST_LISTED = 100  # of the parts that are not read


def episode_path(folder: Path, index: int) -> Path:
    """The file of episode `index`, named as upstream's loader looks for it."""
    return folder / f"episode_{index}.hdf5"


@dataclass(frozen=True)
class EpisodeInfo:
    """What an episode file says of itself, without its frames."""

    path: Path
    sim: bool
    length: int
    qpos_dim: int
    action_dim: int
    image_sizes: dict[str, tuple[int, int]]  # camera: (H, W), of those that are looked at
    compressed: bool  # frames are JPEG rows
    fps: float | None  # this and the names: None in files that our converter did not write
    qpos_names: tuple[str, ...] | None
    action_names: tuple[str, ...] | None
    orientations: dict[str, Orientation] = field(default_factory=dict)  # camera: how its frames lie
    cameras: tuple[str, ...] = ()  # all that could be chosen
    depth: dict[str, bool] = field(default_factory=dict)  # taken for depth: could it be chosen?
    has_base: bool = False  # whether there is a /base_action, joined to the action or not
    base_dim: int = 0  # the last dims of the action, where it is joined
    not_known: tuple[str, ...] = ()  # parts that nobody reads
    env_state_dim: int | None = None  # None: there is none, or it was not asked for
    env_state_names: tuple[str, ...] | None = None
    filmed: dict[str, Filmed] = field(default_factory=dict)  # camera: where its frames are instead


def read_info(
    path: Path,
    camera_names: Sequence[str] = (),
    base_action: str = LEFT_OUT,
    env_state: bool = False,
) -> EpisodeInfo:
    """Look at one episode file; raises DatasetError when it is not an ALOHA episode.

    camera_names: the cameras that are looked at, as far as they are there; none = all that the
    file's attribute names, else all in its group's own order; depth streams are left out then
    NO_CAMERAS = none is looked at
    base_action: whether /base_action is joined to the action (episodes/reading.py)
    env_state: whether the environment state is looked at, where there is one
    """
    with open_episode(path) as file:
        return _look(path, file, camera_names, base_action, env_state)


def _look(
    path: Path, file: h5py.File, camera_names: Sequence[str], base_action: str, env_state: bool
) -> EpisodeInfo:
    env_state = env_state and _ENV_STATE in file
    vectors = {name: file[name] for name in _vectors(path, file, base_action)}
    qpos, action, *base = vectors.values()
    if env_state:
        vectors[_ENV_STATE] = file[_ENV_STATE]
    without = tuple(camera_names) == NO_CAMERAS
    cameras = {} if without else cameras_in(file)
    filmed = {} if without else filmed_in(path, file)
    depth = {n: i.dtype == np.uint8 for n, i in cameras.items() if is_depth(n, i)}
    compressed = truth_in(file, "compress")
    there = (*cameras, *filmed)
    names = [name for name in camera_names if name in there]
    if not camera_names:
        names = [name for name in listed_cameras(path, file, there) if name not in depth]
    images = {name: cameras[name] for name in names if name in cameras}
    filmed = {name: filmed[name] for name in names if name in filmed}
    _check_stored(path, file, vectors, images)
    sizes = {name: image_size(path, data, compressed) for name, data in images.items()}
    sizes |= {name: one.reduction.wanted for name, one in filmed.items()}
    info = EpisodeInfo(
        path=path,
        sim=truth_in(file, "sim"),
        length=len(action),
        qpos_dim=qpos.shape[1],
        action_dim=sum(dataset.shape[1] for dataset in (action, *base)),
        image_sizes={name: sizes[name] for name in names},
        compressed=compressed,
        fps=rate_in(file, "fps"),
        qpos_names=_dim_names(file, "qpos_names", qpos),
        action_names=_action_names(file, action, *base),
        cameras=there,
        depth=depth,
        has_base=_BASE in file,
        base_dim=sum(dataset.shape[1] for dataset in base),
        not_known=tuple(name for name in _not_known(file) if name not in vectors),
        env_state_dim=vectors[_ENV_STATE].shape[1] if env_state else None,
        env_state_names=names_in(file, "env_state_names") if env_state else None,
        orientations=read_orientations(file),
        filmed=filmed,
    )
    lengths = {f"images/{name}": len(data) for name, data in images.items()}
    lengths |= {f"{FILMED}/{name}": len(one.ordinals) for name, one in filmed.items()}
    _check_lengths(path, vectors, lengths)
    return info


_Parts = Mapping[str, h5py.Dataset]


def _check_stored(path: Path, file: h5py.File, vectors: _Parts, images: _Parts) -> None:
    """Refuse vectors of another shape, and what the file does not hold itself."""
    for dataset in vectors.values():
        if dataset.ndim != 2 or not dataset.shape[1]:
            raise DatasetError(
                f"{path}: {dataset.name} has shape {dataset.shape}, expected (T, dims); record or "
                f"convert the episode again",
                code="episode-content",
            )
        check_own(path, file, dataset, dataset.shape)
    for dataset in images.values():
        check_own(path, file, dataset, dataset.shape[1:])


def _check_lengths(path: Path, vectors: _Parts, of_cameras: Mapping[str, int]) -> None:
    """Refuse parts that do not have the same number of time steps."""
    lengths = {name.rpartition("/")[2]: len(dataset) for name, dataset in vectors.items()}
    lengths |= of_cameras
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise DatasetError(
            f"{path}: found {lengths} time steps, expected the same number above 0 in each; "
            f"record or convert the episode again",
            code="episode-content",
        )


def _vectors(path: Path, file: h5py.File, base_action: str) -> tuple[str, ...]:
    """The vectors that are read, the base's last where it is joined to the action."""
    if base_action == LEFT_OUT:
        return _VECTORS
    if _BASE not in file:
        raise DatasetError(
            f"{path}: has no /{_BASE}, expected one in every file with --{_BASE} {base_action}; "
            f"leave the flag out, or the episode",
            code="episode-content",
        )
    return *_VECTORS, _BASE


def _not_known(file: h5py.File) -> tuple[str, ...]:
    """The groups and datasets that are no part of the layout, by path."""
    found = (
        f"{group}/{name}".strip("/")
        for group, known in _KNOWN.items()
        for name in islice(file[group or "/"], _MOST_LISTED)
        if name not in known
    )
    return tuple(found)


def _dim_names(file: h5py.File, attribute: str, vectors: h5py.Dataset) -> tuple[str, ...] | None:
    names = names_in(file, attribute)
    return names if names is not None and len(names) == vectors.shape[1] else None


def _action_names(
    file: h5py.File, action: h5py.Dataset, base: h5py.Dataset | None = None
) -> tuple[str, ...] | None:
    """The names of the action's dims; numbers where a base without names is joined to it."""
    names = _dim_names(file, "action_names", action)
    if base is None:
        return names
    base_names = _dim_names(file, f"{_BASE}_names", base)
    return (names or _numbers(action)) + (base_names or _numbers(base))


def _numbers(vectors: h5py.Dataset) -> tuple[str, ...]:
    return tuple(f"{vectors.name.strip('/')}[{dim}]" for dim in range(vectors.shape[1]))


def read_vectors(path: Path, base_action: str = LEFT_OUT) -> tuple[FloatArray, FloatArray]:
    """The qpos (T, Q) and action (T, A) of an episode, float32.

    base_action: whether /base_action is joined behind the action
    """
    with open_episode(path) as file:
        qpos, action, *base = _read(path, file, _vectors(path, file, base_action))
    if base_action == SMOOTHED:
        base = [_smooth(values) for values in base]
    return qpos, np.concatenate([action, *base], axis=1) if base else action


def read_env_state(path: Path) -> FloatArray:
    """The environment state (T, E) of an episode, float32."""
    with open_episode(path) as file:
        (env_state,) = _read(path, file, [_ENV_STATE])
    return env_state


def _read(path: Path, file: h5py.File, names: Sequence[str]) -> list[FloatArray]:
    """Vectors as float32; raises DatasetError for one that holds what is no number."""
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


def _smooth(values: FloatArray) -> FloatArray:
    """The mean over five steps, zeros beyond the ends: what Mobile ALOHA's trainer does (T, D).

    https://github.com/MarkFzp/act-plus-plus, utils.py: a base is recorded as its wheels turn, and
    not as it was commanded.
    """
    window = np.ones(_SMOOTHING) / _SMOOTHING
    columns = [np.convolve(column, window)[_SMOOTHING // 2 :][: len(values)] for column in values.T]
    return np.stack(columns, axis=1).astype(np.float32)


@contextlib.contextmanager
def open_episode(path: Path) -> Iterator[h5py.File]:
    """Open an episode file for reading; h5py's errors become a DatasetError with the path."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise FileNotFoundError("no such file" if not path.exists() else "not a file")
        with _open(path) as file:
            yield file
    except JobError:
        raise
    except Exception as error:  # whatever a reader of foreign bytes may stumble over
        raise DatasetError(
            f"{path}: not a whole ALOHA episode ({first_line(error)}); expected an HDF5 file "
            f"with /action, /observations/qpos and /observations/images/<camera>",
            code="episode-unreadable",
        ) from error


def _open(path: Path) -> h5py.File:
    """With HDF5's lock, which a recorder that still writes the file holds, where there are any."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return h5py.File(path, "r", locking=False)
