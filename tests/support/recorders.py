"""ALOHA episode files as recorders of other people leave them: three, then changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from episodes.arrays import FloatArray, Frame

CAMERAS = ("cam_high", "cam_left_wrist")
HIGH = "observations/images/cam_high"
LENGTH = 12
SIZE = (24, 32)

Change = Callable[[h5py.File], None]


def vectors(dims: int, seed: int, length: int = LENGTH) -> FloatArray:
    """Smooth curves (length, dims), another one for each dim."""
    random = np.random.default_rng(seed)
    phase, rate = random.uniform(0, 6, dims), random.uniform(0.5, 2, dims)
    return np.sin(np.linspace(0, 6, length)[:, None] * rate + phase).astype(np.float32)


def frames(seed: int, size: tuple[int, int] = SIZE, length: int = LENGTH) -> Frame:
    """Frames (length, H, W, 3) that differ from each other."""
    base = np.random.default_rng(seed).integers(0, 255, (1, *size, 3))
    return ((base + 20 * np.arange(length)[:, None, None, None]) % 256).astype(np.uint8)


def record(
    folder: Path,
    count: int = 3,
    *,
    name: str = "episode_{}.hdf5",
    first: int = 0,
    sim: Any = False,
    sizes: tuple[tuple[int, int], tuple[int, int]] = (SIZE, SIZE),
) -> list[Path]:
    """Write episodes of two cameras and 14 dims, numbered from `first`; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name.format(number) for number in range(first, first + count)]
    for number, path in enumerate(paths, start=first):
        with h5py.File(path, "w") as file:
            if sim is not None:
                file.attrs["sim"] = sim
            qpos = vectors(14, number)
            file["observations/qpos"], file["action"] = qpos, qpos + np.float32(0.05)
            file["observations/qvel"] = np.zeros_like(qpos)
            for place, (camera, size) in enumerate(zip(CAMERAS, sizes, strict=True)):
                data = frames(10 * number + place, size)
                file.create_dataset(
                    f"observations/images/{camera}", data=data, chunks=(1, *data.shape[1:])
                )
    return paths


def change(path: Path, *changes: Change) -> None:
    """Change an episode file."""
    with h5py.File(path, "r+") as file:
        for one in changes:
            one(file)


def put(name: str, values: Any) -> Change:
    """Put a dataset in place of what has its name, if anything has."""

    def do(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = values

    return do


def say(attribute: str, value: Any) -> Change:
    """Set an attribute of the file."""

    def do(file: h5py.File) -> None:
        file.attrs[attribute] = value

    return do


def with_base(folder: Path, count: int = 3) -> list[Path]:
    """Episodes of a mobile base: the velocities that were measured stand beside the action."""
    paths = record(folder, count)
    for number, path in enumerate(paths):
        change(path, put("base_action", vectors(2, 99 + number)))
    return paths


DEPTH = put("observations/images/cam_high_depth", np.zeros((LENGTH, *SIZE), np.uint16))
