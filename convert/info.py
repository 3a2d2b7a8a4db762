"""info.json: what a LeRobot dataset says of its version, rate, features and paths, all checked."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from act.errors import DatasetError

VERSIONS = ("v2.0", "v2.1", "v3.0")
_DEPTH_TOKENS = {"depth", "disparity", "mask", "seg", "segmentation"}


@dataclass(frozen=True)
class Feature:
    """One column or video of the dataset."""

    key: str
    dtype: str  # "video", "image", or a numpy dtype's name
    shape: tuple[int, ...]
    names: tuple[str, ...] | None  # of a vector's dims, when there is one for each
    is_depth: bool


class Info:
    """info.json, with every access checked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "meta/info.json"
        self._values = self._load()

    def _load(self) -> dict[str, Any]:
        if not self.path.exists():
            if (self.root / "meta_data").exists():
                raise DatasetError(
                    f"{self.root}: found meta_data/, a v1.x dataset; expected one of "
                    f"{', '.join(VERSIONS)}; convert it with lerobot first"
                )
            raise DatasetError(
                f"{self.path}: no such file; expected the folder that contains meta/, data/ and "
                f"videos/ (or episode_*.hdf5 files); mount that folder as the input"
            )
        values = _read_json(self.path)
        if not isinstance(values, dict):
            raise self.error("the file", "a JSON object", values)
        return values

    def error(self, what: str, expected: str, found: Any) -> DatasetError:
        return DatasetError(f"{self.path}: {what} is {found!r}, expected {expected}")

    def get(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
        value = self._values.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(key, expected, value)
        return value

    def version(self) -> str:
        version = self.get("codebase_version", str, f"one of {', '.join(VERSIONS)}")
        if not re.fullmatch(r"v(2\.\d+|3\.\d+)", version):
            raise DatasetError(
                f"{self.path}: codebase_version is {version!r}, expected one of "
                f"{', '.join(VERSIONS)}; convert the dataset with the lerobot that wrote it"
            )
        jsonl = (self.root / "meta/episodes.jsonl").exists()
        if version.startswith("v3") and jsonl and not (self.root / "meta/episodes").exists():
            raise DatasetError(
                f"{self.path}: codebase_version is {version!r} but meta/episodes.jsonl is v2's "
                f"layout; expected meta/episodes/; correct the version or convert the dataset"
            )
        return version

    def fps(self) -> Fraction:
        fps = self.get("fps", (int, float), "a number above 0")
        if not (math.isfinite(fps) and fps > 0):
            raise self.error("fps", "a number above 0", fps)
        return Fraction(fps).limit_denominator(1001)

    def robot_type(self) -> str | None:
        value = self._values.get("robot_type")
        return value if isinstance(value, str) else None

    def total(self, key: str) -> int | None:
        value = self._values.get(key)
        return value if isinstance(value, int) else None

    def features(self) -> dict[str, Feature]:
        entries = self.get("features", dict, "an object with the dataset's features")
        return {key: self._feature(key, entry) for key, entry in entries.items()}

    def _feature(self, key: str, entry: Any) -> Feature:
        if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
            raise self.error(f"features[{key!r}]", "an object with a dtype", entry)
        shape: list[int] = entry.get("shape") or []
        if not (isinstance(shape, list | tuple) and all(isinstance(n, int) for n in shape)):
            raise self.error(f"features[{key!r}].shape", "a list of whole numbers", shape)
        names: tuple[str, ...] = tuple(_flat_names(entry.get("names")))
        fits = len(names) == math.prod(shape)
        return Feature(
            key, entry["dtype"], tuple(shape), names if fits else None, _is_depth(key, entry)
        )

    def fill(self, template_key: str, **values: Any) -> Path:
        """A path from one of info.json's templates, always inside the dataset."""
        template = self.get(template_key, str, "a path template")
        path = PurePosixPath(_PLACEHOLDER.sub(lambda m: _place(m, values), template))
        if path.is_absolute() or ".." in path.parts or "{" in str(path):
            raise self.error(
                template_key, f"a path inside the dataset made of {sorted(values)}", template
            )
        return self.root / path


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


def _is_depth(key: str, entry: Mapping[str, Any]) -> bool:
    if entry["dtype"] not in ("video", "image"):
        return False
    info = entry.get("info") or entry.get("video_info") or {}
    if not isinstance(info, dict):
        info = {}
    marked = info.get("is_depth_map") or info.get("video.is_depth_map")
    grey = str(info.get("video.pix_fmt") or "").startswith("gray")
    shape: Any = entry.get("shape") or ()
    one_channel = len(shape) == 3 and 1 in (shape[0], shape[2])
    return bool(marked or grey or one_channel or re.split(r"[._/-]", key)[-1] in _DEPTH_TOKENS)


def _read_json(path: Path) -> Any:
    """A JSON file; raises DatasetError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not readable as JSON ({error})") from error


def read_jsonl(path: Path) -> list[Any]:
    """A file with one JSON value per line; raises DatasetError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not readable as JSON lines ({error})") from error
