"""What a conversion will do, decided before a frame is decoded: episodes, cameras, dims."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convert.camera_frames import first_frame
from convert.cameras import Camera, FrameOptions, check_sizes, name_cameras, orientation
from convert.features import (
    check_datasets_match,
    choose_env_state,
    choose_optional,
    choose_vector,
    dim_names,
)
from convert.findings import ERROR, Add, Finding, refuse, warning
from convert.flags import DataFlags
from convert.lerobot.dataset import Dataset, choose_cameras
from convert.lerobot.episode_list import VideoSpan
from convert.lerobot.table import EpisodeRows, read_episode
from convert.quaternion import Quaternion, find_quaternions
from convert.row_times import check_rate, row_rate
from convert.sources import NOTHING, LeftOut, Source, read_sources
from episodes.arrays import FloatArray
from episodes.input_file import OnRead, check_file, ignore
from episodes.padding import padding_names
from episodes.reading import ENV_STATE
from job.whole_files import sampled_sha256

# Raised when the bytes that a conversion writes change, so that old episode files are redone.
LAYOUT = 3
# A JPEG of quality 95 is about a tenth of the raw frame (0.092 measured on the sample's cameras).
_JPEG_SHARE = 0.12
_ORDINAL_BYTES = 8


@dataclass(frozen=True)
class Dims:
    """How a vector of the dataset becomes the policy's: padded with zeros, cut, or as it is."""

    keys: tuple[str, ...]  # of the features, whose dims are joined
    names: tuple[str, ...]  # of the dataset's dims
    size: int  # in the episode files

    @property
    def key(self) -> str:
        """The features as the command line has them."""
        return ",".join(self.keys)

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
        return self.names[: self.size] + padding_names(self.padded)

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


class Digests:
    """Digests of the files of an input, each of which is read once."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def of(self, path: Path) -> str:
        """The digest of a file, as it was when it was first asked for."""
        if path not in self._known:
            check_file(path)
            self._known[path] = sampled_sha256(path)
        return self._known[path]


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
    env_state: Dims | None  # None: the policy sees none
    row_rate: Fraction  # rows per second
    sim: bool
    fix_quaternions: bool
    frame_options: FrameOptions
    jpeg_quality: int | None  # None: raw frames, or none in the files
    folder: Path
    filmed: bool = False  # the files have no frames, but where in the videos they are
    frames_reason: str = ""  # why, as far as that was chosen
    digests: Digests = field(default_factory=Digests, compare=False)  # of the sources' files

    @property
    def fps(self) -> float:
        """Time steps per second, the same in every episode."""
        return float(self.row_rate)

    @property
    def vectors(self) -> dict[str, Dims]:
        """The vectors of the policy, by what the episode files call them."""
        env_state = {ENV_STATE: self.env_state} if self.env_state else {}
        return {"qpos": self.qpos, "action": self.action, **env_state}

    @property
    def shown_frames(self) -> str:
        """Where training takes its frames from, and why; empty where nothing was chosen."""
        where = "the dataset's videos" if self.filmed else "raw files"
        return f"from {where}: {self.frames_reason}" if self.frames_reason else ""

    def frame_count(self, numbers: Sequence[int]) -> int:
        """Frames of these episodes, all cameras together."""
        return sum(self.sources[number].episode.length for number in numbers) * len(self.cameras)

    def size_bytes(self, number: int) -> int:
        """About what an episode file takes on disk."""
        share = 1.0 if self.jpeg_quality is None else _JPEG_SHARE
        per_step = share * sum(camera.height * camera.width * 3 for camera in self.cameras)
        if self.filmed:
            per_step = _ORDINAL_BYTES * len(self.cameras)
        vectors = 4 * (2 * self.qpos.size + sum(dims.size for dims in self.vectors.values()))
        return int(self.sources[number].episode.length * (per_step + vectors)) + (1 << 16)

    def fingerprint(self, number: int) -> str:
        """A digest of all that shapes the bytes of `episode_<number>.hdf5`."""
        cameras = [
            asdict(camera) | {"orientation": str(camera.orientation)} for camera in self.cameras
        ]
        for camera in cameras:
            del camera["any_size"]  # it shapes no byte of an episode that is converted
        options = [LAYOUT, cameras, self.sim]
        dims = [asdict(self.qpos), asdict(self.action), self.velocity_key, self.effort_key]
        if self.env_state:  # those of episodes without one stay what they were
            dims.append(asdict(self.env_state))
        changes: list[Any] = [self.fix_quaternions, self.frame_options.rotated, self.jpeg_quality]
        if self.filmed:  # the file says where its videos are on this machine
            changes.append([str(span.path) for span in self._spans(number).values()])
        return _digest([options, dims, changes, number, self.source_fingerprint(number)])

    def _spans(self, number: int) -> dict[str, VideoSpan]:
        """Where an episode lies in its videos, by camera key, of the cameras that have one."""
        videos = self.sources[number].episode.videos
        keys = (camera.key for camera in self.cameras)
        return {key: videos[key] for key in keys if key in videos}

    def source_fingerprint(self, number: int) -> str:
        """A digest of an episode's source: its metadata and the files used, wherever they lie."""
        dataset, episode = self.sources[number].dataset, self.sources[number].episode
        spans = self._spans(number)
        paths = [episode.table_path, *(span.path for span in spans.values())]
        files = {path.relative_to(dataset.root).as_posix(): self.digests.of(path) for path in paths}
        places = {key: [span.from_s, span.to_s] for key, span in spans.items()}
        row = [dataset.version[:2], str(dataset.fps), episode.index, episode.length, episode.tasks]
        return _digest([row, places, files])


def make_plan(
    flags: DataFlags,
    folder: Path,
    left_out: LeftOut = NOTHING,
    add: Add = refuse,
    on_read: OnRead = ignore,
) -> Plan:
    """Decide; raises DatasetError or UsageError for what cannot be converted.

    add: receives what is wrong or will be lost; by default an error is raised
    on_read: called with each file that is read
    """
    datasets, sources = read_sources(flags, left_out, on_read)
    plan = plan_for(flags, folder, datasets, sources, left_out, add, on_read)
    assert plan is not None, "what is wrong was refused"
    return plan


def plan_for(
    flags: DataFlags,
    folder: Path,
    datasets: Sequence[Dataset],
    sources: Sequence[Source],
    left_out: LeftOut,
    add: Add,
    on_read: OnRead,
) -> Plan | None:
    """The plan for these episodes; None when an error was added and not raised."""
    errors = []

    def note(finding: Finding) -> None:
        errors.extend([finding] if finding.severity == ERROR else [])
        add(finding)

    first, source = datasets[0], sources[0]
    state_keys = choose_vector(first, "state", flags.state_key, note)
    action_keys = choose_vector(first, "action", flags.action_key, note)
    env_state_keys = choose_env_state(datasets, flags.env_state_use, flags.env_state_key, note)
    keys = choose_cameras(first, flags.camera_keys, note)
    if errors:
        return None
    vector_keys = list(dict.fromkeys([*state_keys, *action_keys, *env_state_keys]))
    check_datasets_match(datasets, [*keys, *vector_keys], note)
    cameras = _plan_cameras(flags, keys, source, note, on_read)
    episode = source.episode
    rows = read_episode(episode.table_path, episode.index, first.names(vector_keys), on_read)
    rate = row_rate(rows.times, first.fps)
    _check_rates(sources, rate, note, on_read)
    if errors:
        return None
    return Plan(
        datasets=tuple(datasets),
        sources=tuple(sources),
        left_out=left_out,
        cameras=cameras,
        qpos=_dims(first, state_keys, rows, flags.state_dim, note),
        action=_dims(first, action_keys, rows, flags.state_dim, note),
        velocity_key=choose_optional(datasets, "velocity", state_keys, note),
        effort_key=choose_optional(datasets, "effort", state_keys, note),
        env_state=_dims(first, env_state_keys, rows, 0, note) if env_state_keys else None,
        row_rate=rate,
        sim=flags.is_sim,
        fix_quaternions=flags.fix_quaternions,
        frame_options=_frame_options(flags),
        jpeg_quality=flags.jpeg_quality if flags.image_storage == "jpeg" else None,
        folder=folder,
    )


def _check_rates(sources: Sequence[Source], rate: Fraction, add: Add, on_read: OnRead) -> None:
    """Whether each dataset's first rows have the rate of the plan; each has one rate within."""
    firsts = {source.dataset.root: source for source in reversed(sources)}
    for source in firsts.values() if len(firsts) > 1 else ():
        episode = source.episode
        rows = read_episode(episode.table_path, episode.index, {}, on_read)
        check_rate(episode, rows.times, rate, source.dataset.fps, add)


def _plan_cameras(
    flags: DataFlags, keys: Sequence[str], source: Source, add: Add, on_read: OnRead
) -> tuple[Camera, ...]:
    if not keys:
        return ()
    root, wanted = source.dataset.root, flags.image_height_width
    names = name_cameras(keys, flags.camera_names, root, add)
    options = _frame_options(flags)
    first = {key: first_frame(source, key, on_read, options) for key in keys}
    sizes = {key: size for key, (size, _) in first.items()}
    check_sizes(sizes, wanted, root, add)
    return tuple(
        Camera(
            key,
            name,
            sizes[key],
            *(wanted or sizes[key]),
            any_size=wanted is not None,
            orientation=orientation(first[key][1], options.rotated),
        )
        for key, name in zip(keys, names, strict=False)
    )


def _frame_options(flags: DataFlags) -> FrameOptions:
    return FrameOptions(flags.apply_rotation, frozenset(flags.camera_keys))


def _dims(
    dataset: Dataset, keys: tuple[str, ...], rows: EpisodeRows, wanted: int, add: Add
) -> Dims:
    names = dim_names(dataset, keys, rows)
    dims, found = Dims(keys, names, wanted or len(names)), len(names)
    if dims.cut:
        message = (
            f"--state_dim {wanted} cuts away {len(dims.cut)} of the {found} dims of {dims.key}: "
            f"{', '.join(dims.cut)}; the policy will never see or move them; --state_dim 0 keeps "
            f"all"
        )
        add(warning("dims-cut", dataset.root / "meta/info.json", message))
    return dims


def plan_fingerprint(plan: Plan) -> str:
    """A digest of the episodes used, the same wherever the datasets are mounted."""
    return _digest([plan.source_fingerprint(number) for number in range(len(plan.sources))])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
