"""Small episode files, as our writer and as upstream's recorder lay them out."""

from pathlib import Path

import h5py
import numpy as np

from episodes.arrays import Frame
from episodes.writer import write_episode

CAMERAS = ("top", "wrist")
LENGTHS = (7, 4, 9)


def frame_of(episode: int, camera: int, ts: int) -> Frame:
    """A smooth frame, brighter rightwards, whose red, green and blue say which one it is."""
    colour = np.array([40 * episode + 30, 100 * camera + 40, 20 * ts + 30], np.uint8)
    return colour + np.broadcast_to(np.arange(48, dtype=np.uint8)[None, :, None] // 6, (32, 48, 3))


def write_episodes(folder: Path, storage: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = []
    for episode, length in enumerate(LENGTHS):
        vectors = {
            name: random.standard_normal((length, 3), np.float32)
            for name in ("action", "qpos", "qvel")
        }
        path = folder / f"episode_{episode}.hdf5"
        quality = 100 if storage == "jpeg" else None
        shapes = dict.fromkeys(CAMERAS, (length, 32, 48))
        attributes = {"sim": True, "camera_names": list(CAMERAS)}
        with write_episode(path, vectors, shapes, attributes, quality) as writer:
            for number, camera in enumerate(CAMERAS):
                for ts in range(length):
                    writer.write_frame(camera, ts, frame_of(episode, number, ts))
        if storage == "chunked":
            rechunk(path)
        paths.append(path)
    return paths


def rechunk(path: Path) -> None:
    """Store the images as upstream's recorder does."""
    with h5py.File(path, "r+") as file:
        images = file["observations/images"]
        for camera in CAMERAS:
            frames = images[camera][()]
            del images[camera]
            images.create_dataset(camera, data=frames, chunks=(1, 32, 48, 3))


def write_official(folder: Path, lengths: list[int], *, dims: int = 14) -> None:
    """Episodes as upstream's recorder lays them out: chunked, no attributes but sim."""
    random = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for index, length in enumerate(lengths):
        with h5py.File(folder / f"episode_{index}.hdf5", "w") as file:
            file.attrs["sim"] = True
            file["action"] = random.standard_normal((length, dims), np.float32)
            observations = file.create_group("observations")
            observations["qpos"] = random.standard_normal((length, dims), np.float32)
            observations["qvel"] = np.zeros((length, dims), np.float32)
            observations.create_group("images").create_dataset(
                "top",
                data=random.integers(0, 256, (length, 96, 128, 3), np.uint8),
                chunks=(1, 96, 128, 3),
            )
