"""What reaches the network: the frame of (episode, time step, camera), however it is stored."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from act.dataset import Episodes, norm_stats, open_episodes
from act.episode import Frame
from act.episode_writer import write_episode
from act.errors import DatasetError
from act.loader import Batch, Loader

CAMERAS = ("top", "wrist")
LENGTHS = (7, 4, 9)


def frame_of(episode: int, camera: int, ts: int) -> Frame:
    """A smooth frame whose red, green and blue say which one it is."""
    colour = np.array([40 * episode + 30, 100 * camera + 40, 20 * ts + 30], np.uint8)
    return np.broadcast_to(colour, (32, 48, 3)).copy()


def write(folder: Path, storage: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
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


def batches(episodes: Episodes, **changes: int) -> list[Batch]:
    settings = {"chunk_size": 5, "latent_dim": 4, "batch_size": 2, "seed": 0, "threads": 2}
    with Loader(episodes, norm_stats(episodes), **(settings | changes)) as loader:
        return [
            batch for epoch in range(6) for batch in loader.batches([0, 1, 2], epoch, train=True)
        ]


@pytest.mark.parametrize(("storage", "tolerance"), [("raw", 0), ("chunked", 0), ("jpeg", 3)])
def test_each_image_is_the_frame_of_its_sample(
    tmp_path: Path, storage: str, tolerance: int
) -> None:
    episodes = open_episodes(write(tmp_path, storage), CAMERAS)
    for batch in batches(episodes):
        for b, (episode, ts) in enumerate(
            zip(batch.order.episode, batch.order.start_ts, strict=True)
        ):
            for c in range(len(CAMERAS)):
                found = batch.image[b, c].numpy().astype(int)
                expected = frame_of(int(episode), c, int(ts)).astype(int)
                assert abs(found - expected).max() <= tolerance


def test_camera_order_is_the_files_and_can_be_chosen(tmp_path: Path) -> None:
    paths = write(tmp_path, "raw")
    assert open_episodes(paths).camera_names == CAMERAS
    chosen = batches(open_episodes(paths, ("wrist", "top")))[0]
    usual = batches(open_episodes(paths))[0]
    assert (chosen.image == usual.image.flip(1)).all()


def test_threads_and_batches_change_no_sample(tmp_path: Path) -> None:
    episodes = open_episodes(write(tmp_path, "raw"), CAMERAS)
    for name in ("image", "qpos", "action", "is_pad", "eps"):
        one, other = (
            np.concatenate([getattr(batch, name).numpy() for batch in batches(episodes, **changes)])
            for changes in ({"threads": 1}, {"threads": 4, "batch_size": 3})
        )
        assert np.array_equal(one, other), name


def test_the_last_batch_is_kept(tmp_path: Path) -> None:
    episodes = open_episodes(write(tmp_path, "raw"), CAMERAS)
    assert [len(batch.qpos) for batch in batches(episodes)][:2] == [2, 1]


def test_images_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "raw")[0]
    with h5py.File(path, "r+") as file:
        del file["observations/images/top"]
        file["observations/images/top"] = np.zeros((7, 32, 48, 3), np.float32)
    with pytest.raises(DatasetError, match=r"float32 .*expected uint8"):
        open_episodes([path])


def test_a_value_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "raw")[0]
    with h5py.File(path, "r+") as file:
        file["observations/qpos"][3, 1] = np.nan
    with pytest.raises(DatasetError, match="qpos is nan at step 3, dim 1"):
        open_episodes([path])
