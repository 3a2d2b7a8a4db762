"""Which cameras are depth streams or masks, by what info.json says of a feature: one rule."""

from collections.abc import Mapping
from typing import Any

from episodes.depth import is_depth_name


def video_info(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a feature's entry has of its video."""
    info = entry.get("info") or entry.get("video_info")
    return info if isinstance(info, dict) else {}


def is_named_depth(key: str, entry: Mapping[str, Any]) -> bool:
    """Whether a camera's name says so."""
    return _is_camera(entry) and is_depth_name(key)


def is_marked_depth(entry: Mapping[str, Any]) -> bool:
    """Whether a camera's metadata says so."""
    info = video_info(entry)
    marked = info.get("is_depth_map") or info.get("video.is_depth_map")
    return _is_camera(entry) and bool(marked)


def has_one_channel(entry: Mapping[str, Any]) -> bool:
    """Whether a camera's shape or pixel format says so."""
    shape: Any = entry.get("shape") or ()
    grey = str(video_info(entry).get("video.pix_fmt") or "").startswith("gray")
    return _is_camera(entry) and (grey or (len(shape) == 3 and 1 in (shape[0], shape[2])))


def _is_camera(entry: Mapping[str, Any]) -> bool:
    return entry["dtype"] in ("video", "image")
