"""What a LeRobot dataset says about itself, v2.0 to v3.0, as one small record.

LeRobot's keys appear here, in `info.py` and `episode_list.py` beside it, nowhere else.
Nothing here opens a video or reads a vector: the tables are `table.py`, the frames `video.py`.
Source of the format: lerobot 0.3.3 (v2.1) and 0.4.4 (v3.0), and the files they write.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from convert.findings import ERROR, Add, Finding, error, refuse, warning
from convert.lerobot.episode_list import Episode, read_v2, read_v3
from convert.lerobot.file_uses import FileUses
from convert.lerobot.info import VERSIONS, Feature, Info
from episodes.input_file import OnRead, ignore
from episodes.reading import NO_CAMERAS

_IMAGE_PREFIXES = ("observation.images.", "observation.image.", "observation.")


@dataclass(frozen=True)
class Dataset:
    """A LeRobot dataset's metadata."""

    root: Path
    version: str
    fps: Fraction
    robot_type: str | None
    features: Mapping[str, Feature]  # in the order of info.json
    episodes: tuple[Episode, ...]
    total_episodes: int  # as info.json says; more than are listed where a recording was cut off
    total_frames: int
    users: Mapping[Path, Sequence[tuple[Episode, str]]]  # of each video: episodes, their cameras

    @property
    def cameras(self) -> list[str]:
        """Keys of the image and video features that are not depth, in the dataset's order."""
        return [
            key
            for key, feature in self.features.items()
            if feature.dtype in ("video", "image") and not feature.is_depth
        ]

    def file_uses(self, path: Path, rate: Fraction) -> FileUses:
        """What all episodes take of a video that has `rate` frames a second."""
        return FileUses(
            episode.use_of(camera, rate, self.fps) for episode, camera in self.users[path]
        )

    @property
    def not_listed(self) -> tuple[int, int]:
        """How many episodes and frames info.json has beyond those that are listed."""
        frames = sum(episode.length for episode in self.episodes)
        return (
            max(0, self.total_episodes - len(self.episodes)),
            max(0, self.total_frames - frames),
        )

    def names(self, keys: Iterable[str]) -> dict[str, tuple[str, ...] | None]:
        """Features, with the names of their dims where info.json has one for each."""
        return {key: self.features[key].names for key in keys}

    @property
    def tasks(self) -> list[str]:
        """The task texts of all episodes, each once."""
        return list(dict.fromkeys(task for episode in self.episodes for task in episode.tasks))


def is_dataset(folder: Path) -> bool:
    """Whether `folder` looks like a LeRobot dataset of any version."""
    info = folder / "meta/info.json"
    return info.exists() or info.is_symlink() or (folder / "meta_data").exists()


def read_features(root: Path, videos: bool = True) -> Dataset:
    """What info.json alone has of the dataset in `root`, without any episode.

    videos: whether what it says of videos is looked at

    Opens no table and no video, so nothing in it can crash the process; raises DatasetError.
    """
    info = Info(root, videos=videos)
    for problem in info.problems():
        refuse(problem)
    return Dataset(
        root,
        info.version(),
        info.fps(),
        info.robot_type(),
        info.features(),
        (),
        info.total("total_episodes") or 0,
        info.total("total_frames") or 0,
        {},
    )


def read_dataset(
    root: Path, add: Add = refuse, on_read: OnRead = ignore, videos: bool = True
) -> Dataset:
    """Read the metadata in `root`; raises DatasetError with the file that is at fault.

    add: receives each problem after which reading continues; by default an error is raised
    on_read: called with each file that is read
    videos: whether what the metadata say of videos is read; without it, episodes have none
    """
    info = Info(root, on_read, videos)
    findings: list[Finding] = []

    def note(finding: Finding) -> None:
        findings.append(finding)
        add(finding)

    for problem in info.problems():
        note(problem)
    if findings:
        refuse(findings[0])
    version, features = info.version(), info.features()
    if version not in VERSIONS:
        what = f"codebase_version is {version!r}; it is read as {', '.join(VERSIONS)} are"
        add(warning("version-minor", info.path, what))
    video_keys = info.video_keys()
    read = read_v3 if version.startswith("v3") else read_v2
    episodes = _in_order(info, read(info, video_keys, note), note)
    if not any(finding.severity == ERROR for finding in findings):  # else the counts must differ
        _check_totals(info, episodes, note)
    if not episodes and not findings:
        note(error("episodes-missing", info.root / "meta", "no episodes, expected at least one"))
    return Dataset(
        root,
        version,
        info.fps(),
        info.robot_type(),
        features,
        tuple(episodes),
        info.total("total_episodes") or 0,
        info.total("total_frames") or 0,
        _users(episodes),
    )


def _users(episodes: Sequence[Episode]) -> dict[Path, list[tuple[Episode, str]]]:
    users: dict[Path, list[tuple[Episode, str]]] = {}
    for episode in (episode for episode in episodes if episode.length > 0):
        for key, span in episode.videos.items():
            users.setdefault(span.path, []).append((episode, key))
    return users


def camera_name(key: str) -> str:
    """The HDF5 name of a camera key: what follows the prefix, in characters a link can hold."""
    short = next((key[len(p) :] for p in _IMAGE_PREFIXES if key.startswith(p)), key)
    return re.sub(r"[^A-Za-z0-9_-]", "_", short) or key


def choose_cameras(dataset: Dataset, keys: tuple[str, ...], add: Add = refuse) -> list[str]:
    """The camera keys asked for, else all; what cannot be had is an error, with the nearest.

    keys: NO_CAMERAS = no camera is wanted
    """
    if keys == NO_CAMERAS:
        return []
    info_path = dataset.root / "meta/info.json"
    chosen = list(keys) or dataset.cameras
    guessed = [key for key, feature in dataset.features.items() if feature.is_depth_by_guess]
    if not chosen:
        add(error("camera-none", info_path, _no_camera(dataset, guessed)))
    usable = {*dataset.cameras, *guessed}  # these where they are named
    for key in chosen:
        if key not in usable:
            feature = dataset.features.get(key)
            code = "camera-depth" if feature is not None and feature.is_depth else "camera-unknown"
            add(error(code, info_path, _unknown_camera(dataset, key)))
    return [key for key in chosen if key in usable]


def _no_camera(dataset: Dataset, guessed: Sequence[str]) -> str:
    """guessed: cameras that are taken for depth, and could be named"""
    named = (
        f"use {guessed[0]!r}, which is named or shaped as depth or grey, with --camera_keys "
        f"{','.join(guessed)}, or "
        if guessed
        else ""
    )
    return (
        f"no camera among the features {list(dataset.features)}; expected one of dtype video or "
        f"image that is not depth; {named}train on the state alone with --camera_keys none"
    )


def _unknown_camera(dataset: Dataset, key: str) -> str:
    feature = dataset.features.get(key)
    if feature is not None and feature.is_depth:
        return (
            f"--camera_keys: {key!r} is a depth stream, which the network cannot use; leave it out"
        )
    near = difflib.get_close_matches(key, dataset.cameras, n=1, cutoff=0.4)
    return f"--camera_keys: {key!r} is not a camera of {dataset.root}; it has {dataset.cameras}" + (
        f"; the nearest is {near[0]!r}" if near else ""
    )


def _in_order(info: Info, episodes: Iterable[Episode], add: Add) -> list[Episode]:
    """The episodes by number; a hole is no error."""
    by_index = {episode.index: episode for episode in episodes}
    holes = max(by_index, default=-1) + 1 - len(by_index)
    if holes > 0:
        first = next(number for number in range(len(by_index) + 1) if number not in by_index)
        add(
            warning(
                "episode-gap",
                info.root / "meta",
                f"episode_index has {holes} holes, the "
                f"first at {first}; the output is numbered without holes",
            )
        )
    return [by_index[index] for index in sorted(by_index)]


def _check_totals(info: Info, episodes: list[Episode], add: Add) -> None:
    for code, key, number in (
        ("episode-count", "total_episodes", len(episodes)),
        ("frame-count", "total_frames", sum(episode.length for episode in episodes)),
    ):
        stated = info.total(key)
        if stated is not None and stated != number:
            add(
                error(
                    code,
                    info.path,
                    f"{key} is {stated}, but the episode list has {number}; "
                    f"expected the same number; the recording was not finished, or the copy is "
                    f"not whole",
                )
            )
