"""The cameras of an episode file: which there are, in what order, how large, and how they lie."""

from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np

from episodes.attributes import names_in
from episodes.depth import is_depth_name
from episodes.jpeg import decode_jpeg
from job.errors import DatasetError


def cameras_in(file: h5py.File) -> dict[str, h5py.Dataset]:
    """What lies in the group of the images, in its order."""
    images = file["observations"].get("images")
    if not isinstance(images, h5py.Group):
        return {}
    found = {name: images.get(name) for name in images}  # None: a link that leads nowhere
    return {name: data for name, data in found.items() if isinstance(data, h5py.Dataset)}


def listed_cameras(path: Path, file: h5py.File, cameras: Collection[str]) -> tuple[str, ...]:
    """The cameras in the order of the file's attribute, else of the groups."""
    names = names_in(file, "camera_names")
    if not names:
        return tuple(cameras)
    unknown = [name for name in names if name not in cameras]
    if unknown:  # a name with slashes would lead elsewhere
        raise DatasetError(
            f"{path}: the attribute camera_names has {unknown[0]!r}, found {list(cameras)} under "
            f"/observations/images; choose among those with --camera_names",
            code="episode-unreadable",
        )
    return tuple(dict.fromkeys(names))


def is_depth(name: str, images: h5py.Dataset) -> bool:
    """Whether a camera is a depth stream or a mask by its shape, type or name."""
    return _has_one_channel(images) or is_depth_name(name)


def _has_one_channel(images: h5py.Dataset) -> bool:
    return images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 1)


def image_size(path: Path, images: h5py.Dataset, compressed: bool) -> tuple[int, int]:
    """H, W of a camera's frames; raises DatasetError for what is no picture of 8 bits.

    compressed: whether rows of one dimension are JPEGs
    """
    if compressed and images.ndim == 2 and len(images):
        height, width, _ = decode_jpeg(images[0], f"{path}: frame 0 of {images.name}").shape
        return height, width
    one_channel = _has_one_channel(images)
    if one_channel and images.dtype != np.uint8:
        raise DatasetError(
            f"{path}: {images.name} is {images.dtype} {images.shape}, a depth stream, which the "
            f"network cannot use, expected uint8 (T, H, W, 3); leave it out of --camera_names",
            code="camera-depth",
        )
    if not one_channel and (images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8):
        raise DatasetError(
            f"{path}: {images.name} is {images.dtype} {images.shape}, expected uint8 (T, H, W, 3), "
            f"or JPEG rows with the attribute compress; choose other cameras with --camera_names",
            code="episode-content",
        )
    return images.shape[1], images.shape[2]
