"""What reaches the network: the frame of (episode, time step, camera), however it is stored."""

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from act.batches.device_jpegs import DeviceJpegs, all_jpeg, decodes_on_device
from act.batches.loader import Loader, Pass, passes
from act.batches.order import Order
from act.batches.sampler import Sampler
from act.policies.statistics import norm_stats
from episodes.episode_set import open_episodes
from episodes.frames import FrameStore
from episodes.jpeg import encode_jpeg
from episodes.reading import NO_CAMERAS, Reading
from job.errors import DatasetError, UsageError
from tests.support.batches import CPU, batches
from tests.support.episodes import CAMERAS, LENGTHS, frame_of, write_episodes
from tests.support.errors import raises_code
from tests.support.paths import ROOT


@pytest.mark.parametrize(("storage", "tolerance"), [("raw", 0), ("chunked", 0), ("jpeg", 3)])
def test_each_image_is_the_frame_of_its_sample(
    tmp_path: Path, storage: str, tolerance: int
) -> None:
    episodes = open_episodes(write_episodes(tmp_path, storage), CAMERAS)
    for batch in batches(episodes):
        for b, (episode, ts) in enumerate(
            zip(batch.order.episode, batch.order.start_ts, strict=True)
        ):
            for c in range(len(CAMERAS)):
                found = batch.image[b, c].numpy().astype(int)
                expected = frame_of(int(episode), c, int(ts)).astype(int)
                assert abs(found - expected).max() <= tolerance


def test_camera_order_is_the_files_and_can_be_chosen(tmp_path: Path) -> None:
    paths = write_episodes(tmp_path, "raw")
    assert open_episodes(paths).camera_names == CAMERAS
    chosen = batches(open_episodes(paths, ("wrist", "top")))[0]
    usual = batches(open_episodes(paths))[0]
    assert (chosen.image == usual.image.flip(1)).all()


def test_threads_and_batches_change_no_sample(tmp_path: Path) -> None:
    episodes = open_episodes(write_episodes(tmp_path, "raw"), CAMERAS)
    for name in ("image", "qpos", "action", "is_pad", "eps"):
        one, other = (
            np.concatenate(
                [getattr(batch, name).numpy() for batch in batches(episodes, CPU, **changes)]
            )
            for changes in ({"threads": 1}, {"threads": 4, "batch_size": 3})
        )
        assert np.array_equal(one, other), name


def test_frames_kept_on_the_device_are_the_same(tmp_path: Path) -> None:
    episodes = open_episodes(write_episodes(tmp_path, "jpeg"), CAMERAS)
    for read, cached in zip(batches(episodes), batches(episodes, cached=1), strict=True):
        assert torch.equal(read.image, cached.image)


@pytest.mark.parametrize("cached", [0, 1])
def test_jpegs_that_the_device_decodes_are_the_same(tmp_path: Path, cached: int) -> None:
    """On the CPU torchvision and Pillow decode alike; for nvJPEG see tests/test_gpu.py."""
    episodes = open_episodes(write_episodes(tmp_path, "jpeg"), CAMERAS)
    assert all_jpeg(episodes)
    found = batches(episodes, cached=cached, decodes_jpegs=1)
    for here, there in zip(batches(episodes), found, strict=True):
        assert torch.equal(here.image, there.image)
        assert here.image.stride() == there.image.stride()


def test_a_jpeg_that_the_device_does_not_decode_is_named(tmp_path: Path) -> None:
    paths = write_episodes(tmp_path, "jpeg")
    small = np.frombuffer(encode_jpeg(np.zeros((16, 16, 3), np.uint8), 50), np.uint8)
    with h5py.File(paths[1], "r+") as file:
        rows = file[f"observations/images/{CAMERAS[0]}"]
        rows[2] = 0
        rows[3] = np.pad(small, (0, rows.shape[1] - len(small)))
    jpegs = DeviceJpegs(FrameStore(open_episodes(paths, CAMERAS)), CPU)
    for ts in (2, 3):
        with raises_code(DatasetError, "episode-content", rf"episode_1\.hdf5: frame {ts} of"):
            jpegs.gather(Order(np.array([0, 1]), np.array([0, ts])))


def test_only_jpegs_of_one_size_are_decoded_on_the_device(tmp_path: Path) -> None:
    assert not all_jpeg(open_episodes(write_episodes(tmp_path / "raw", "raw"), CAMERAS))
    paths = write_episodes(tmp_path / "jpeg", "jpeg")
    assert not all_jpeg(open_episodes(paths, CAMERAS, Reading(image_size=(16, 24))))
    assert not all_jpeg(open_episodes(paths, NO_CAMERAS))
    gpu = torch.device("cuda")  # which need not be there
    assert decodes_on_device("gpu", open_episodes(paths, CAMERAS), gpu)
    assert not decodes_on_device("cpu", open_episodes(paths, CAMERAS), gpu)
    with raises_code(UsageError, "flag-unused", "--frames jpeg"):
        decodes_on_device("gpu", open_episodes(paths, NO_CAMERAS), gpu)


def test_batches_are_of_the_pass_that_is_asked_for(tmp_path: Path) -> None:
    """Those of the next one wait, though they may be made already."""
    episodes = open_episodes(write_episodes(tmp_path, "raw"), CAMERAS)
    sampler = Sampler(episodes, 0, chunk_size=5, latent_dim=4, batch_size=2)
    todo = [(one, [0, 1, 2] if one.train else [1]) for one in passes(3)]
    with Loader(
        sampler, norm_stats(episodes), todo, threads=2, device=torch.device("cpu")
    ) as loader:
        found = [[b.order.episode.tolist() for b in loader.batches(one)] for one, _ in todo]
        assert [sorted(chain.from_iterable(one)) for one in found] == [[1], [0, 1, 2]] * 3
        assert list(loader.batches(Pass(9, train=True))) == []


def test_a_file_that_is_cut_off_during_training_is_named(tmp_path: Path) -> None:
    paths = write_episodes(tmp_path, "raw")
    episodes = open_episodes(paths, CAMERAS)
    store = FrameStore(episodes)
    out = np.empty((1, *store.shape), np.uint8)
    store.copy_into(np.array([1]), np.array([3]), out)
    os.truncate(paths[1], paths[1].stat().st_size - 32 * 48 * 3 * 2)
    with raises_code(DatasetError, "episode-unreadable", r"episode_1\.hdf5: .*frame 3"):
        store.copy_into(np.array([1]), np.array([3]), out)
    store.close()


def test_more_episodes_than_files_may_be_open(tmp_path: Path) -> None:
    """Docker's soft limit can be 1,024, and datasets are larger."""
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from episodes.episode_set import open_episodes
from episodes.frames import FrameStore
paths = sorted(Path(sys.argv[1]).glob("*.hdf5"))
episodes = open_episodes(paths * 30)
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
store = FrameStore(episodes)
out = np.empty((90, *store.shape), np.uint8)
store.copy_into(np.arange(90), np.zeros(90, np.int64), out)
assert np.array_equal(out[:3], out[-3:]) and out.any()
"""
    write_episodes(tmp_path, "raw")
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_last_batch_is_kept(tmp_path: Path) -> None:
    episodes = open_episodes(write_episodes(tmp_path, "raw"), CAMERAS)
    assert [len(batch.qpos) for batch in batches(episodes)][:2] == [2, 1]


def test_images_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = write_episodes(tmp_path, "raw")[0]
    with h5py.File(path, "r+") as file:
        del file["observations/images/top"]
        file["observations/images/top"] = np.zeros((7, 32, 48, 3), np.float32)
    with raises_code(DatasetError, "episode-content", "float32 .*uint8"):
        open_episodes([path])


def test_a_value_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    path = write_episodes(tmp_path, "raw")[0]
    with h5py.File(path, "r+") as file:
        file["observations/qpos"][3, 1] = np.nan
    with raises_code(DatasetError, "not-finite", "qpos is nan at step 3, dim 1"):
        open_episodes([path])


def linked(path: Path, other: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["action"]
        file["action"] = h5py.ExternalLink(other.name, "/action")


def stored_elsewhere(path: Path, other: Path) -> None:
    with h5py.File(path, "r+") as file:
        shape = file["action"].shape
        del file["action"]
        storage = [(str(other), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("action", shape, np.float32, external=storage)


def virtual(path: Path, other: Path) -> None:
    with h5py.File(path, "r+") as file:
        shape = file["action"].shape
        del file["action"]
        layout = h5py.VirtualLayout(shape, np.float32)
        layout[:] = h5py.VirtualSource(other, "action", shape)
        file.create_virtual_dataset("action", layout)


@pytest.mark.parametrize("change", [linked, stored_elsewhere, virtual])
def test_an_episode_whose_data_lie_in_another_file_is_refused(
    tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    first, second, *_ = write_episodes(tmp_path, "raw")
    change(first, second)
    with raises_code(DatasetError, "episode-content", r"episode_0\.hdf5: /action"):
        open_episodes([first])


def never_written(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any) -> None:
    del file[name]
    chunks = (1, *shape[1:]) if len(shape) == 4 else (1 << 12, *shape[1:])
    file.create_dataset(name, shape, dtype, chunks=chunks)


def claim_all(file: h5py.File) -> None:
    """A file of 200 kB with days of steps: each would be looked up in it, for each camera."""
    for name in ("action", "observations/qpos"):
        never_written(file, name, (20_000_000, 3), np.float32)
    for camera in CAMERAS:
        never_written(file, f"observations/images/{camera}", (20_000_000, 32, 48, 3), np.uint8)


def claim_images(file: h5py.File) -> None:
    never_written(file, "observations/images/top", (7, 32, 48, 3), np.uint8)


def cut_short(file: h5py.File) -> None:
    """Chunks for some of the frames, as a recording that was ended leaves it."""
    frames = file["observations/images/top"][:3]
    never_written(file, "observations/images/top", (7, 32, 48, 3), np.uint8)
    file["observations/images/top"][:3] = frames


def no_dims(file: h5py.File) -> None:
    del file["action"]
    file["action"] = np.zeros((7, 0), np.float32)


@pytest.mark.parametrize(
    ("change", "code", "values"),
    [
        (claim_all, "episode-content", r"/observations/qpos .*\(20000000, 3\), .*0 of 4883"),
        (claim_images, "episode-content", "/observations/images/top .* 0 of 7"),
        (cut_short, "episode-content", "/observations/images/top .* 3 of 7"),
        (no_dims, "episode-content", r"/action .*\(7, 0\)"),
    ],
)
def test_an_episode_that_claims_more_than_its_file_holds_is_refused(
    tmp_path: Path, change: Callable[[h5py.File], None], code: str, values: str
) -> None:
    (path, *_) = write_episodes(tmp_path, "raw")
    with h5py.File(path, "r+") as file:
        change(file)
    with raises_code(DatasetError, code, values):
        FrameStore(open_episodes([path]))


def test_a_contiguous_claim_beyond_the_end_of_the_file_is_refused(tmp_path: Path) -> None:
    (path, *_) = write_episodes(tmp_path, "raw")
    os.truncate(path, path.stat().st_size - 1)
    with raises_code(DatasetError, "episode-unreadable", r"episode_0\.hdf5"):
        open_episodes([path])


@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}])
def test_chunks_of_any_shape_that_are_all_there_are_read(
    tmp_path: Path, filters: dict[str, Any]
) -> None:
    (path, *_) = write_episodes(tmp_path, "raw")
    with h5py.File(path, "r+") as file:
        for name in ("action", "observations/qpos", "observations/images/top"):
            values = file[name][()]
            del file[name]
            file.create_dataset(name, data=values, chunks=(2, *values.shape[1:]), **filters)
    assert open_episodes([path]).lengths == [7]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_an_episode_that_claims_more_than_the_memory_is_refused(
    tmp_path: Path, dtype: type[np.generic]
) -> None:
    (path, *_) = write_episodes(tmp_path, "raw")
    with h5py.File(path, "r+") as file:
        del file["action"]
        file.create_dataset("action", (1 << 34, 14), dtype, chunks=(1, 14))
    with raises_code(DatasetError, "episode-content", "962 GB"):
        open_episodes([path])


def test_episodes_that_claim_more_than_the_memory_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_episodes(tmp_path, "raw")
    monkeypatch.setattr("episodes.episode_set.memory_bytes", lambda: 4 * 4 * 6 * sum(LENGTHS) - 1)
    with raises_code(DatasetError, "vectors-too-large", "3 episodes"):
        open_episodes(paths)


def test_vectors_of_another_rank_are_refused(tmp_path: Path) -> None:
    (path, *_) = write_episodes(tmp_path, "raw")
    with h5py.File(path, "r+") as file:
        del file["action"]
        file["action"] = np.zeros((7, 3, 2), np.float32)
    with raises_code(DatasetError, "episode-content", r"/action .*\(7, 3, 2\)"):
        open_episodes([path])


def test_a_camera_name_that_leads_out_of_the_images_is_refused(tmp_path: Path) -> None:
    first, second, *_ = write_episodes(tmp_path, "raw")
    with h5py.File(first, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink(second.name, "/observations/images/top")
        file.attrs["camera_names"] = ["/elsewhere"]
    with raises_code(DatasetError, "episode-unreadable", "'/elsewhere'"):
        open_episodes([first])


def test_a_pipe_in_place_of_an_episode_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "episode_0.hdf5")
    with raises_code(DatasetError, "episode-unreadable", r"episode_0\.hdf5"):
        open_episodes([tmp_path / "episode_0.hdf5"])


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (30000, 30000)])
def test_a_compressed_frame_of_another_size_is_refused(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """Its size is what its head says, which is all that is changed here."""
    (path, *_) = write_episodes(tmp_path, "jpeg")
    with h5py.File(path, "r+") as file:
        rows = file["observations/images/top"]
        row = rows[3].tobytes()
        head = row.index(b"\xff\xc0") + 5
        dims = b"".join(side.to_bytes(2, "big") for side in size)
        rows[3] = np.frombuffer(row[:head] + dims + row[head + 4 :], np.uint8)
    with raises_code(DatasetError, "episode-content", r"episode_0\.hdf5: frame 3 of top"):
        batches(open_episodes([path, path, path]), batch_size=3)
