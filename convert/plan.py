"""What a conversion will do, decided before a frame is decoded: cameras, dims, episodes, disk."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from act.config import Config
from act.episode import FloatArray
from act.errors import DatasetError
from act.files import sampled_sha256
from convert.lerobot import (
    ACTION_KEY,
    EFFORT_KEY,
    STATE_KEY,
    VELOCITY_KEY,
    Dataset,
    Episode,
    camera_name,
    choose_cameras,
)
from convert.table import check_file, read_episode
from convert.video import VideoReader

logger = logging.getLogger("act")

# Raised when the bytes that a conversion writes change, so that old episode files are redone.
LAYOUT = 1


@dataclass(frozen=True)
class Camera:
    """One camera: its LeRobot key, its name in the files and the policy, its size in pixels."""

    key: str
    name: str
    height: int
    width: int


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

    def fit(self, vectors: FloatArray) -> FloatArray:
        """(T, D) of the dataset to (T, size), values unchanged."""
        fitted = np.zeros((len(vectors), self.size), np.float32)
        kept = min(self.size, vectors.shape[1])
        fitted[:, :kept] = vectors[:, :kept]
        return fitted


@dataclass(frozen=True)
class Plan:
    """Everything a worker needs to write any of the episodes."""

    dataset: Dataset
    episodes: tuple[Episode, ...]  # in the order of the output's numbers
    cameras: tuple[Camera, ...]
    qpos: Dims
    action: Dims
    sim: bool
    folder: Path

    @property
    def has_velocity(self) -> bool:
        """Whether qvel is recorded; it is zeros where it is not."""
        return VELOCITY_KEY in self.dataset.features

    @property
    def has_effort(self) -> bool:
        """Whether effort is recorded; upstream does without where it is not."""
        return EFFORT_KEY in self.dataset.features

    @property
    def frame_count(self) -> int:
        """Frames to decode, all cameras together."""
        return sum(episode.length for episode in self.episodes) * len(self.cameras)

    @property
    def size_bytes(self) -> int:
        """What the episode files take on disk, to within a page per camera."""
        per_step = sum(camera.height * camera.width * 3 for camera in self.cameras)
        vectors = 4 * (3 * self.qpos.size + self.action.size)
        steps = sum(episode.length for episode in self.episodes)
        return steps * (per_step + vectors) + len(self.episodes) * (1 << 16)

    def fingerprint(self, number: int) -> str:
        """A digest of all that shapes the bytes of `episode_<number>.hdf5`."""
        options = [LAYOUT, [asdict(camera) for camera in self.cameras], self.sim]
        dims = [asdict(self.qpos), asdict(self.action), self.has_velocity, self.has_effort]
        source = episode_fingerprint(self.dataset, self.episodes[number])
        return _digest([options, dims, number, source])


def make_plan(config: Config, folder: Path, dataset: Dataset) -> Plan:
    """Decide; raises DatasetError for what cannot be converted, warns of what will be lost."""
    for key in (STATE_KEY, ACTION_KEY):
        if key not in dataset.features:
            raise DatasetError(
                f"{dataset.root}/meta/info.json: feature {key!r} is missing; found "
                f"{list(dataset.features)}; expected a recorded state and action"
            )
    episodes = _choose_episodes(config, dataset)
    cameras = _name_cameras(config, dataset, episodes[0])
    first = read_episode(episodes[0].table_path, episodes[0].index, [STATE_KEY, ACTION_KEY])
    return Plan(
        dataset=dataset,
        episodes=episodes,
        cameras=cameras,
        qpos=_dims(dataset, STATE_KEY, first[STATE_KEY].shape[1], config.state_dim),
        action=_dims(dataset, ACTION_KEY, first[ACTION_KEY].shape[1], config.state_dim),
        sim=config.task_name.startswith("sim_") if config.sim == "auto" else config.sim == "true",
        folder=folder,
    )


def _choose_episodes(config: Config, dataset: Dataset) -> tuple[Episode, ...]:
    empty = [episode.index for episode in dataset.episodes if episode.length < 1]
    if empty:
        logger.warning("%s: episodes %s have no frames and are skipped", dataset.root, empty[:10])
    episodes = tuple(episode for episode in dataset.episodes if episode.length > 0)
    if not episodes:
        raise DatasetError(f"{dataset.root}: every episode is empty; expected at least one frame")
    return episodes[: config.max_episodes or None]


def _name_cameras(config: Config, dataset: Dataset, episode: Episode) -> tuple[Camera, ...]:
    keys = choose_cameras(dataset, config.camera_keys)
    names = list(config.camera_names) or _short_names(keys)
    if len(names) != len(keys):
        raise DatasetError(
            f"--camera_names: found {len(names)} names for the dataset's cameras {keys}; expected "
            f"one name for each, in this order (or choose with --camera_keys)"
        )
    cameras = tuple(
        Camera(key, name, *_first_size(dataset, episode, key))
        for key, name in zip(keys, names, strict=True)
    )
    if len({(camera.height, camera.width) for camera in cameras}) > 1:
        sizes = {camera.key: f"{camera.height}x{camera.width}" for camera in cameras}
        raise DatasetError(
            f"{dataset.root}: the cameras differ in size: {sizes}; expected one size, as the "
            f"network joins them along the width; choose cameras with --camera_keys"
        )
    return cameras


def _short_names(keys: list[str]) -> list[str]:
    names = [camera_name(key) for key in keys]
    return [
        key.replace("/", "_") if names.count(name) > 1 else name
        for key, name in zip(keys, names, strict=True)
    ]


def _first_size(dataset: Dataset, episode: Episode, key: str) -> tuple[int, int]:
    """The decoded size: what info.json says describes file 0 of the recording and can be stale."""
    span = episode.videos[key]
    with VideoReader(span.path, dataset.fps, dataset.file_firsts[span.path]) as reader:
        height, width, _ = next(iter(reader.frames(span.first, 1))).shape
    return height, width


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


def episode_fingerprint(dataset: Dataset, episode: Episode) -> str:
    """A digest of an episode's source: its row of the metadata and its files, wherever they lie."""
    files = {
        str(span.path.relative_to(dataset.root)): span.path for span in episode.videos.values()
    }
    files[str(episode.table_path.relative_to(dataset.root))] = episode.table_path
    spans = {key: [span.first, span.window] for key, span in episode.videos.items()}
    row = [dataset.version[:2], str(dataset.fps), episode.index, episode.length, episode.tasks]
    return _digest([row, spans, {name: _source_digest(path) for name, path in files.items()}])


def dataset_fingerprint(plan: Plan) -> str:
    """A digest of the episodes used, the same wherever the dataset is mounted."""
    return _digest([episode_fingerprint(plan.dataset, episode) for episode in plan.episodes])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def _source_digest(path: Path) -> str:
    check_file(path)
    return sampled_sha256(path)
