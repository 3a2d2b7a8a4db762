"""info.json: what a LeRobot dataset says of its version, rate, features and paths, all checked."""

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from convert.findings import Finding, finding_of
from convert.lerobot.depth import has_one_channel, is_marked_depth, is_named_depth, video_info
from episodes.folder import other_files
from episodes.input_file import OnRead, check_file, ignore
from job.errors import DatasetError

VERSIONS = ("v2.0", "v2.1", "v3.0")


@dataclass(frozen=True)
class Feature:
    """One column or video of the dataset."""

    key: str
    dtype: str  # "video", "image", or a numpy dtype's name
    shape: tuple[int, ...]
    names: tuple[str, ...] | None  # of a vector's dims, when there is one for each
    is_depth: bool  # or a mask, or of one channel: no camera unless it is named as one
    is_depth_by_guess: bool  # which --camera_keys overrules
    video_fps: float | None = None  # what the encoder was given, for file 0 of the recording

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of an image as info.json has it, channels first or last; it can be stale."""
        if len(self.shape) != 3:
            return None
        height, width = self.shape[1:] if self.shape[0] in (1, 3, 4) else self.shape[:2]
        return height, width


class Info:
    """info.json, with every access checked."""

    def __init__(self, root: Path, on_read: OnRead = ignore, videos: bool = True) -> None:
        """Read the file; raises DatasetError.

        on_read: called with this file, and with those that are found by it
        videos: whether cameras are used; if not, entries about videos are not checked
        """
        self.root = root
        self._videos = videos
        self.path = root / "meta/info.json"
        self.on_read = on_read
        self._values = self._load()

    def _load(self) -> dict[str, Any]:
        if not self.path.exists() and not self.path.is_symlink():
            if (self.root / "meta_data").exists():
                raise DatasetError(
                    f"{self.root / 'meta_data'}: found a v1.x dataset, expected one of "
                    f"{', '.join(VERSIONS)}; convert it with lerobot first",
                    code="version",
                    where=self.root / "meta_data",
                )
            readable = os.access(self.root, os.R_OK | os.X_OK)
            others = [path.name for path in other_files(self.root)] if readable else []
            found = f" (found {others[0]}, which is not named so)" if others else ""
            below = next(iter(sorted(self.root.glob("*/episode_*.hdf5"))), None)  # of our own jobs
            remedy = f"name {below.parent}" if below else "mount that folder as the input"
            raise DatasetError(
                f"{self.path}: no such file; expected the folder that contains meta/, data/ and "
                f"videos/, or episode_<number>.hdf5 files{found}; {remedy}",
                code="info-missing",
                where=self.path,
            )
        values = _read_json(self.path, self.on_read)
        if not isinstance(values, dict):
            raise self.error("the file", "a JSON object", values, "info-unreadable")
        return values

    def problems(self) -> Iterator[Finding]:
        """Everything wrong in the file: reading goes no further when there is something."""
        checks: list[Callable[[], object]] = [self.fps, self.features]
        try:
            v2 = self.version().startswith("v2")
        except DatasetError as problem:
            yield finding_of(problem, self.path)
        else:  # what else the file must say depends on the version
            first = {"episode_index": 0, "episode_chunk": 0}
            first = first if v2 else {"chunk_index": 0, "file_index": 0}
            checks += [self.chunks_size] if v2 else []
            checks.append(lambda: self.fill("data_path", **first))
            if self.video_keys():
                checks.append(lambda: self.fill("video_path", **first, video_key="key"))
                checks.append(self._check_camera_paths)
        for check in checks:
            try:
                check()
            except DatasetError as problem:
                yield finding_of(problem, self.path)

    def _check_camera_paths(self) -> None:
        template = self._values.get("video_path")
        if len(self.video_keys()) > 1 and "{video_key" not in str(template):
            raise self.error("video_path", "a path with {video_key}", template, "template")

    def error(self, what: str, expected: str, found: Any, code: str = "info-value") -> DatasetError:
        """The error of a value that is not what it should be."""
        return DatasetError(
            f"{self.path}: {what} is {found!r}, expected {expected}; export the dataset again",
            code=code,
            where=self.path,
        )

    def get(self, key: str, kind: type | tuple[type, ...], expected: str, code: str = "") -> Any:
        """The value of a key; raises DatasetError unless it is of that kind."""
        value = _whole(self._values.get(key)) if kind is int else self._values.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(key, expected, value, code or "info-value")
        return value

    def version(self) -> str:
        """The format, `v2.x` or `v3.x`; raises DatasetError for others and for another's layout."""
        known = f"one of {', '.join(VERSIONS)}"
        version = self.get("codebase_version", str, known, "version")
        if not re.fullmatch(r"v(2\.\d+|3\.\d+)", version):
            raise DatasetError(
                f"{self.path}: codebase_version is {version!r}, expected {known}; convert the "
                f"dataset with the lerobot that wrote it",
                code="version",
                where=self.path,
            )
        theirs, other = ("meta/episodes", "meta/episodes.jsonl")
        if version.startswith("v2"):
            theirs, other = other, theirs
        if (self.root / other).exists() and not (self.root / theirs).exists():
            raise DatasetError(
                f"{self.path}: codebase_version is {version!r} but {other} is the layout of "
                f"{'v2' if version.startswith('v3') else 'v3'}, expected {theirs}; correct the "
                f"version or convert the dataset",
                code="layout",
                where=self.path,
            )
        return version

    def fps(self) -> Fraction:
        """Frames per second; raises DatasetError."""
        fps = self.get("fps", (int, float), "a number above 0", "fps")
        if not 0.001 <= fps <= 1e6:  # NaN is not, nor is an integer beyond every float
            raise self.error("fps", "a number from 0.001 to 1e6", fps, "fps")
        return Fraction(fps).limit_denominator(1001)

    def chunks_size(self) -> int:
        """Most files in a folder; raises DatasetError."""
        size: int = self.get("chunks_size", int, "a whole number above 0")
        if size < 1:
            raise self.error("chunks_size", "a whole number above 0", size)
        return size

    def video_keys(self) -> list[str]:
        """Keys of the video features, also where other features are wrong; none where unwanted."""
        if not self._videos:
            return []
        entries = self._values.get("features")
        entries = entries if isinstance(entries, dict) else {}
        return [k for k, v in entries.items() if isinstance(v, dict) and v.get("dtype") == "video"]

    def robot_type(self) -> str | None:
        """The robot's name, where there is one."""
        value = self._values.get("robot_type")
        return value if isinstance(value, str) else None

    def total(self, key: str) -> int | None:
        """A count such as `total_episodes`, where there is one."""
        value = _whole(self._values.get(key))
        return value if isinstance(value, int) else None

    def features(self) -> dict[str, Feature]:
        """The features by key; raises DatasetError for a malformed one."""
        entries = self.get("features", dict, "an object with the dataset's features", "features")
        return {key: self._feature(key, entry) for key, entry in entries.items()}

    def _feature(self, key: str, entry: Any) -> Feature:
        if not key or not _is_text(key):
            raise self.error("the name of a feature", "a text that is not empty", key, "features")
        if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
            raise self.error(f"features[{key!r}]", "an object with a dtype", entry, "features")
        shape: list[int] = entry.get("shape") or []
        shape = [_whole(n) for n in shape] if isinstance(shape, list) else shape
        if not (isinstance(shape, list | tuple) and all(isinstance(n, int) for n in shape)):
            raise self.error(f"features[{key!r}].shape", "whole numbers", shape, "features")
        try:
            names = tuple(_flat_names(entry.get("names")))
        except RecursionError as problem:
            raise self.error(
                f"features[{key!r}].names", "a list", "nested", "features"
            ) from problem
        bad = next((name for name in names if not _is_text(name)), None)
        if bad is not None:
            raise self.error(f"features[{key!r}].names", "texts", bad, "features")
        fits = len(names) == math.prod(shape)
        fps = video_info(entry).get("video.fps")
        is_marked = is_marked_depth(entry)
        is_guessed = has_one_channel(entry) or is_named_depth(key, entry)
        return Feature(
            key,
            entry["dtype"],
            tuple(shape),
            names if fits else None,
            is_marked or is_guessed,
            is_guessed and not is_marked,
            float(fps) if isinstance(fps, int | float) and 0 <= fps <= 1e6 else None,
        )

    def fill(self, template_key: str, **values: Any) -> Path:
        """A path from one of info.json's templates, always inside the dataset."""
        template = self.get(template_key, str, "a path template", "template")
        expected = f"a path inside the dataset made of {sorted(values)}"
        try:
            path = PurePosixPath(_PLACEHOLDER.sub(lambda m: _place(m, values), template))
            too_long = any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in path.parts)
        except ValueError as problem:
            raise self.error(template_key, expected, template, "template") from problem
        inside = not path.is_absolute() and ".." not in path.parts and "{" not in str(path)
        if not inside or too_long or not _is_text(str(path)):
            raise self.error(template_key, expected, template, "template")
        return self.root / path


_MAX_NAME_BYTES = 255  # of a file, on every usual file system

# Only what lerobot writes is understood: a name, and zero-padding. str.format would also follow
# attributes and take any width, which a template from a stranger must not.
_PLACEHOLDER = re.compile(r"\{(\w+)(?::0?(\d)d)?\}")


def _place(match: re.Match[str], values: Mapping[str, Any]) -> str:
    value = values.get(match[1])
    if value is None:
        return match[0]
    return f"{int(value):0{int(match[2])}d}" if match[2] else str(value)


def _flat_names(names: Any) -> Iterator[str]:
    if isinstance(names, dict):
        for value in names.values():
            yield from _flat_names(value)
    elif isinstance(names, list):
        yield from (str(name) for name in names)


def _whole(value: Any) -> Any:
    """A whole number as such, also where it was stored as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_text(name: str) -> bool:
    """Whether a file can hold it: no zero in it, no half of a surrogate pair."""
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False


def _read_json(path: Path, on_read: OnRead) -> Any:
    """A JSON file; raises DatasetError."""
    on_read(path)
    check_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as problem:
        raise DatasetError(
            f"{path}: not readable as JSON ({problem}); copy it again",
            code="info-unreadable",
            where=path,
        ) from problem
