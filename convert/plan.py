"""What a conversion will do, decided before a frame is decoded: episodes, cameras, dims."""

import hashlib
import json
import logging
import math
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from convert.camera_frames import Camera, recorded_size
from convert.flags import DataFlags
from convert.lerobot.dataset import Dataset, camera_name, choose_cameras
from convert.lerobot.file import check_file
from convert.lerobot.table import read_episode
from convert.quaternion import Quaternion, find_quaternions
from convert.sources import NOTHING, LeftOut, Source, read_sources
from episodes.reader import FloatArray
from job.errors import DatasetError, UsageError
from job.whole_files import sampled_sha256

logger = logging.getLogger("act")

# Raised when the bytes that a conversion writes change, so that old episode files are redone.
LAYOUT = 2
STATE_KEYS = ("observation.state", "state", "observation.qpos")
ACTION_KEYS = ("action", "actions")
VELOCITY_KEYS = ("observation.velocity", "observation.qvel")
EFFORT_KEYS = ("observation.effort",)
# A JPEG of quality 95 is about a tenth of the raw frame (0.092 measured on the sample's cameras).
_JPEG_SHARE = 0.12


@dataclass(frozen=True)
class Dims:
    """How a vector of the dataset becomes the policy's: padded with zeros, cut, or as it is."""

    key: str
    names: tuple[str, ...]  # of the dataset's dims
    size: int  # in the episode files

    @property
    def cut(self) -> tuple[str, ...]:
        """Names of the dims that are cut away."""
        return self.names[self.size :]

    @property
    def padded(self) -> int:
        """How many zero dims are added at the end."""
        return max(0, self.size - len(self.names))

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of the dims in the episode files."""
        return self.names[: self.size] + tuple(f"padding[{i}]" for i in range(self.padded))

    @cached_property
    def quaternions(self) -> list[Quaternion]:
        """The orientations among the dataset's dims, found by name."""
        return find_quaternions(self.names)

    def fit(self, vectors: FloatArray) -> FloatArray:
        """(T, D) of the dataset to (T, size), values unchanged."""
        fitted = np.zeros((len(vectors), self.size), np.float32)
        kept = min(self.size, vectors.shape[1])
        fitted[:, :kept] = vectors[:, :kept]
        return fitted


@dataclass(frozen=True)
class Plan:
    """Everything a worker needs to write any of the episodes."""

    datasets: tuple[Dataset, ...]
    sources: tuple[Source, ...]  # by the output's episode number
    left_out: LeftOut
    cameras: tuple[Camera, ...]
    qpos: Dims
    action: Dims
    velocity_key: str | None  # None: qvel is zeros
    effort_key: str | None  # None: there is no effort, which upstream does without
    sim: bool
    fix_quaternions: bool
    jpeg_quality: int | None  # None: raw frames
    folder: Path

    @property
    def fps(self) -> float:
        """Time steps per second, the same in every dataset."""
        return float(self.datasets[0].fps)

    @property
    def frame_count(self) -> int:
        """Frames to decode, all cameras together."""
        return sum(source.episode.length for source in self.sources) * len(self.cameras)

    def size_bytes(self, number: int) -> int:
        """About what an episode file takes on disk."""
        share = 1.0 if self.jpeg_quality is None else _JPEG_SHARE
        per_step = share * sum(camera.height * camera.width * 3 for camera in self.cameras)
        vectors = 4 * (3 * self.qpos.size + self.action.size)
        return int(self.sources[number].episode.length * (per_step + vectors)) + (1 << 16)

    def fingerprint(self, number: int) -> str:
        """A digest of all that shapes the bytes of `episode_<number>.hdf5`."""
        options = [LAYOUT, [asdict(camera) for camera in self.cameras], self.sim]
        dims = [asdict(self.qpos), asdict(self.action), self.velocity_key, self.effort_key]
        changes = [self.fix_quaternions, self.jpeg_quality]
        return _digest([options, dims, changes, number, self.source_fingerprint(number)])

    def source_fingerprint(self, number: int) -> str:
        """A digest of an episode's source: its metadata and the files used, wherever they lie."""
        dataset, episode = self.sources[number].dataset, self.sources[number].episode
        keys = [camera.key for camera in self.cameras]
        spans = {key: episode.videos[key] for key in keys if key in episode.videos}
        paths = [episode.table_path, *(span.path for span in spans.values())]
        files = {path.relative_to(dataset.root).as_posix(): _source_digest(path) for path in paths}
        places = {key: [span.first, span.window] for key, span in spans.items()}
        row = [dataset.version[:2], str(dataset.fps), episode.index, episode.length, episode.tasks]
        return _digest([row, places, files])


def make_plan(config: DataFlags, folder: Path, left_out: LeftOut = NOTHING) -> Plan:
    """Decide; raises DatasetError for what cannot be converted, warns of what will be lost."""
    datasets, sources = read_sources(config, left_out)
    first = datasets[0]
    state_key = _vector_key(first, "state_key", config.state_key, STATE_KEYS)
    action_key = _vector_key(first, "action_key", config.action_key, ACTION_KEYS)
    cameras = _name_cameras(config, sources[0])
    for other in datasets[1:]:
        _check_like_first(
            other, first, [*(camera.key for camera in cameras), state_key, action_key]
        )
    vectors = read_episode(
        sources[0].episode.table_path, sources[0].episode.index, [state_key, action_key]
    )
    return Plan(
        datasets=tuple(datasets),
        sources=tuple(sources),
        left_out=left_out,
        cameras=cameras,
        qpos=_dims(first, state_key, vectors[state_key].shape[1], config.state_dim),
        action=_dims(first, action_key, vectors[action_key].shape[1], config.state_dim),
        velocity_key=_optional_key(datasets, VELOCITY_KEYS, state_key),
        effort_key=_optional_key(datasets, EFFORT_KEYS, state_key),
        sim=_is_sim(config),
        fix_quaternions=config.fix_quaternions,
        jpeg_quality=config.jpeg_quality if config.image_storage == "jpeg" else None,
        folder=folder,
    )


def _vector_key(dataset: Dataset, flag: str, asked: str, candidates: tuple[str, ...]) -> str:
    there = [key for key in candidates if key in dataset.features]
    if asked != "auto":
        there = [asked] if asked in dataset.features else []
    if len(there) == 1:
        return there[0]
    vectors = {
        key: list(feature.shape)
        for key, feature in dataset.features.items()
        if feature.dtype.startswith(("float", "int")) and not key.endswith("index")
    }
    wanted = candidates if asked == "auto" else (asked,)
    raise DatasetError(
        f"{dataset.root}/meta/info.json: found {there or 'none'} of the features {list(wanted)}, "
        f"expected one; the vectors are {vectors}; name one with --{flag}",
        code=flag.replace("_key", "-missing"),
    )


def _optional_key(
    datasets: list[Dataset], candidates: tuple[str, ...], state_key: str
) -> str | None:
    """A vector that is used where every dataset has it, as wide as the state."""
    for key in candidates:
        having = [dataset for dataset in datasets if key in dataset.features]
        fits = all(
            math.prod(dataset.features[key].shape) == math.prod(dataset.features[state_key].shape)
            for dataset in having
        )
        if len(having) == len(datasets) and fits:
            return key
        if having:
            logger.warning(
                "%r is left out: expected it in every dataset, as wide as %r", key, state_key
            )
    return None


def _is_sim(config: DataFlags) -> bool:
    """The `sim` attribute; LeRobot stores action[t] with observation[t], so False must be known."""
    if config.sim == "auto" and not config.is_sim:
        logger.warning(
            "--sim auto writes sim=False for the task %r, so ACT trains on action[t-1], upstream's "
            "shift for real robots; --sim true trains on action[t]", config.task_name,
        )  # fmt: skip
    return config.is_sim


def _check_like_first(other: Dataset, first: Dataset, keys: list[str]) -> None:
    for what, found, expected in (
        ("fps", other.fps, first.fps),
        *((key, _kind(other, key), _kind(first, key)) for key in keys),
    ):
        if found != expected:
            raise DatasetError(
                f"{other.root}/meta/info.json: {what} is {found!s}, expected {expected!s} as in "
                f"{first.root}; only recordings of one robot go together",
                code="datasets-differ",
            )


def _kind(dataset: Dataset, key: str) -> object:
    feature = dataset.features.get(key)
    if feature is None:
        return "missing"
    return "a camera" if feature.dtype in ("video", "image") else (feature.shape, feature.names)


def _name_cameras(config: DataFlags, first: Source) -> tuple[Camera, ...]:
    keys = choose_cameras(first.dataset, config.camera_keys)
    names = list(config.camera_names) or _short_names(keys)
    if len(names) != len(keys):
        raise UsageError(
            f"--camera_names: found {len(names)} names for the dataset's cameras {keys}; expected "
            f"one name for each, in this order (or choose with --camera_keys)"
        )
    sizes = {key: recorded_size(first, key) for key in keys}
    wanted = config.image_height_width
    if wanted is None and len(set(sizes.values())) > 1:
        shown = {key: f"{height}x{width}" for key, (height, width) in sizes.items()}
        raise DatasetError(
            f"{first.dataset.root}: the cameras differ in size: {shown}; expected one size, as the "
            f"network joins them along the width; choose with --camera_keys, or give --image_size",
            code="camera-sizes",
        )
    for key, size in sizes.items():
        _check_reduction(key, size, wanted or size)
    return tuple(
        Camera(key, name, sizes[key], *(wanted or sizes[key]))
        for key, name in zip(keys, names, strict=True)
    )


def _check_reduction(key: str, recorded: tuple[int, int], wanted: tuple[int, int]) -> None:
    if wanted[0] > recorded[0] or wanted[1] > recorded[1]:
        raise UsageError(
            f"--image_size {wanted[0]}x{wanted[1]}: camera {key!r} is {recorded[0]}x{recorded[1]}, "
            f"expected a size that is not larger, as enlarging adds nothing"
        )
    if abs(wanted[0] * recorded[1] - wanted[1] * recorded[0]) > max(recorded):
        logger.warning(
            "--image_size %dx%d squeezes camera %r, which is %dx%d: its pictures are distorted",
            *wanted, key, *recorded,
        )  # fmt: skip


def _short_names(keys: list[str]) -> list[str]:
    """A name for each camera: the short one, with a number where two would be the same."""
    names: list[str] = []
    for key in keys:
        short = name = camera_name(key)
        while name in names:
            name = f"{short}_{names.count(short) + 1}" if name == short else f"{name}_"
        names.append(name)
    return names


def _dims(dataset: Dataset, key: str, found: int, wanted: int) -> Dims:
    names = dataset.features[key].names
    if names is None or len(names) != found:
        names = tuple(f"{key}[{i}]" for i in range(found))
    dims = Dims(key, names, wanted or found)
    if dims.cut:
        logger.warning(
            "--state_dim %d CUTS AWAY %d of the %d dims of %s: %s; the policy will never see or "
            "move them; --state_dim 0 keeps all",
            wanted, len(dims.cut), found, key, ", ".join(dims.cut),
        )  # fmt: skip
    return dims


def plan_fingerprint(plan: Plan) -> str:
    """A digest of the episodes used, the same wherever the datasets are mounted."""
    return _digest([plan.source_fingerprint(number) for number in range(len(plan.sources))])


def forget_digests() -> None:
    """Read the files again for the next fingerprint."""
    _source_digest.cache_clear()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def _source_digest(path: Path) -> str:
    check_file(path)
    return sampled_sha256(path)
