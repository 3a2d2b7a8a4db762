"""Conversion of datasets that the real lerobot wrote, against what the real lerobot reads."""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from convert.episodes import Converted, convert, split_tasks
from convert.lerobot.dataset import read_dataset
from job.errors import DatasetError, OutputError, UsageError
from tests.support.barcode import read_code
from tests.support.commands import make_config
from tests.support.errors import raises_code
from tests.support.paths import DATA, SAMPLES, SMALL

Convert = Callable[..., Converted]
CAMERAS = ("front", "wrist")
LEROBOT = json.loads((SMALL / "frames.json").read_text())
NAMES = sorted(LEROBOT)


@pytest.fixture
def converted(tmp_path: Path) -> Convert:
    def run(source: Path, **flags: Any) -> Converted:
        return convert(make_config(tmp_path, input=source, **flags), tmp_path / "episodes")

    return run


@pytest.fixture(scope="module")
def lerobots(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Converted]:
    """One of lerobot's small datasets, converted once for all tests that look at it."""

    @cache
    def run(name: str) -> Converted:
        folder = tmp_path_factory.mktemp(name)
        return convert(make_config(folder, input=SMALL / name), folder / "episodes")

    return run


def images(path: Path, camera: str) -> NDArray[np.uint8]:
    with h5py.File(path) as file:
        return file[f"observations/images/{camera}"][()]


def vectors(path: Path, name: str) -> NDArray[np.float32]:
    with h5py.File(path) as file:
        return file[name][()]


def table_rows(root: Path, key: str, episode: int) -> NDArray[np.float32]:
    """The float32 values of a column, read as plainly as pyarrow can."""
    rows = []
    for path in sorted((root / "data").rglob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            if row["episode_index"] == episode:
                rows.append((row["frame_index"], row[key]))
    return np.array([values for _, values in sorted(rows)], np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_lerobots_on_every_row(lerobots: Callable[[str], Converted], name: str) -> None:
    result = lerobots(name)
    for camera in CAMERAS:
        frames = np.concatenate([images(path, camera) for path in result.paths])
        found = [hashlib.sha256(frame.tobytes()).hexdigest()[:16] for frame in frames]
        assert found == LEROBOT[name]["frames"][f"observation.images.{camera}"]


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_lands_on_its_own_row(lerobots: Callable[[str], Converted], name: str) -> None:
    result = lerobots(name)
    painted = []
    for path in result.paths:
        for number, camera in enumerate(CAMERAS):
            codes = [read_code(image) for image in images(path, camera)]
            assert [code.frame for code in codes] == list(range(len(codes)))
            assert {code.camera for code in codes} == {number}
            assert len({code.episode for code in codes}) == 1
        painted += [code.episode for code in codes]
    assert painted == LEROBOT[name]["barcode_episode"]


@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_the_tables_bits(lerobots: Callable[[str], Converted], name: str) -> None:
    result = lerobots(name)
    for number, episode in enumerate(read_dataset(SMALL / name).episodes):
        for path, key in (("action", "action"), ("observations/qpos", "observation.state")):
            expected = table_rows(SMALL / name, key, episode.index)
            found = vectors(result.paths[number], path)
            assert found.dtype == np.float32
            assert found.tobytes() == expected.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_samples_equal_a_straight_decode(converted: Convert, sample: Path) -> None:
    result = converted(sample)
    for camera in ("top", "angle"):
        frames = np.concatenate([images(path, camera) for path in result.paths])
        videos = sorted(p for p in sample.rglob("*.mp4") if camera in str(p))
        straight = [
            f.to_ndarray(format="rgb24") for p in videos for f in av.open(p).decode(video=0)
        ]
        assert len(frames) == len(straight) == 218
        assert all(np.array_equal(*pair) for pair in zip(frames, straight, strict=True))
    for number, path in enumerate(result.paths):
        for name, key in (("action", "action"), ("observations/qpos", "observation.state")):
            assert vectors(path, name).tobytes() == table_rows(sample, key, number).tobytes()


def test_v20_v21_and_v30_of_one_recording_give_the_same_arrays(
    lerobots: Callable[[str], Converted],
) -> None:
    names = ("v20", "v21_h264", "v30_converted")
    digests = [[_content(path) for path in lerobots(name).paths] for name in names]
    assert digests[0] == digests[1] == digests[2]
    assert len(set(digests[0])) == 4


def _content(path: Path) -> str:
    digest = hashlib.sha256()
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                digest.update(name.encode() + item[()].tobytes())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return digest.hexdigest()


def test_layout_is_upstreams(converted: Convert) -> None:
    result = converted(SMALL / "v30_h264", state_dim=16)
    assert [path.name for path in result.paths] == [f"episode_{i}.hdf5" for i in range(4)]
    with h5py.File(result.paths[1]) as file:
        assert bool(file.attrs["sim"]) is True
        assert file["action"].shape == file["observations/qpos"].shape == (25, 16)
        assert file["observations/qvel"].shape == (25, 16)
        assert not file["observations/qvel"][()].any()
        frames = file["observations/images/front"]
        assert frames.shape == (25, 96, 128, 3)
        assert frames.chunks is None
        assert frames.id.get_offset() % 4096 == 0


def test_velocity_becomes_qvel(converted: Convert) -> None:
    result = converted(DATA / "aloha_sim_v30", max_episodes=1)
    expected = table_rows(DATA / "aloha_sim_v30", "observation.velocity", 0)
    assert vectors(result.paths[0], "observations/qvel").tobytes() == expected.tobytes()


def test_padding_and_cutting(converted: Convert) -> None:
    result = converted(SMALL / "v30_h264", state_dim=7)
    assert (result.plan.qpos.padded, result.plan.qpos.cut) == (1, ())
    assert (result.plan.action.padded, result.plan.action.cut) == (0, ())
    qpos = vectors(result.paths[0], "observations/qpos")
    assert np.array_equal(qpos[:, :6], table_rows(SMALL / "v30_h264", "observation.state", 0))
    assert not qpos[:, 6].any()

    result = converted(SMALL / "v30_h264", state_dim=5)
    assert result.plan.action.cut == ("gripper.pos", "base.vel")
    expected = table_rows(SMALL / "v30_h264", "action", 0)[:, :5]
    assert np.array_equal(vectors(result.paths[0], "action"), expected)


def test_choice_order_and_names_of_cameras(converted: Convert) -> None:
    result = converted(
        SMALL / "v30_h264",
        camera_keys="observation.images.wrist,observation.images.front",
        camera_names="b,a",
    )
    assert [camera.name for camera in result.plan.cameras] == ["b", "a"]
    assert read_code(images(result.paths[0], "b")[0]).camera == 1
    assert read_code(images(result.paths[0], "a")[0]).camera == 0


def test_misspelt_camera_names_the_nearest(converted: Convert) -> None:
    with raises_code(DatasetError, "camera-unknown", "'observation.images.front'"):
        converted(SMALL / "v30_h264", camera_keys="observation.images.frnot")


def test_names_must_fit_the_automatic_cameras(converted: Convert) -> None:
    with raises_code(UsageError, "camera-names", "1 name"):
        converted(SMALL / "v30_h264", camera_names="only")


@pytest.mark.parametrize(
    ("sim", "task", "expected"),
    [
        ("auto", "sim_cube", True),
        ("auto", "cube", False),
        ("true", "cube", True),
        ("false", "sim_cube", False),
    ],
)
def test_sim_attribute(converted: Convert, sim: str, task: str, expected: bool) -> None:
    result = converted(SMALL / "v30_h264", sim=sim, task_name=task, max_episodes=1)
    with h5py.File(result.paths[0]) as file:
        assert bool(file.attrs["sim"]) is expected


def test_workers_change_nothing_in_the_bytes(tmp_path: Path) -> None:
    bytes_by_count = []
    for count in (1, 3):
        config = make_config(tmp_path, input=SMALL / "v30_bframes", convert_workers=count)
        result = convert(config, tmp_path / str(count))
        bytes_by_count.append([path.read_bytes() for path in result.paths])
    assert bytes_by_count[0] == bytes_by_count[1]


@pytest.mark.slow
def test_second_run_keeps_what_is_whole_and_redoes_what_changed(tmp_path: Path) -> None:
    def run(**flags: Any) -> Converted:
        return convert(make_config(tmp_path, input=SMALL / "v30_h264", **flags), tmp_path / "e")

    first = run()
    before = {path: path.stat().st_mtime_ns for path in first.paths}
    first.paths[2].unlink()
    again = run()
    after = {path: path.stat().st_mtime_ns for path in again.paths}
    assert [path for path in before if before[path] != after[path]] == [first.paths[2]]
    assert run().frames_per_second is None
    assert run(sim="false").frames_per_second is not None


def test_fewer_episodes_leave_no_stale_ones_behind(tmp_path: Path) -> None:
    folder = tmp_path / "episodes"
    convert(make_config(tmp_path, input=SMALL / "v30_h264"), folder)
    convert(make_config(tmp_path, input=SMALL / "v30_h264", max_episodes=2), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["episode_0.hdf5", "episode_1.hdf5"]


def test_an_episode_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    folder = tmp_path / "episodes"
    folder.mkdir()
    foreign = folder / "episode_4.hdf5"
    with h5py.File(foreign, "w") as file:
        file["action"] = np.zeros((3, 2), np.float32)
    with raises_code(OutputError, "episode-foreign", "episode_4.hdf5"):
        convert(make_config(tmp_path, input=SMALL / "v30_h264"), folder)
    assert foreign.exists()


def test_foreign_episodes_in_the_way_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "episodes"
    folder.mkdir()
    (folder / "episode_1.hdf5").write_bytes(b"somebody's")
    with raises_code(OutputError, "episode-foreign", "episode_1.hdf5"):
        convert(make_config(tmp_path, input=SMALL / "v30_h264"), folder)
    assert [path.name for path in folder.iterdir()] == ["episode_1.hdf5"]
    assert (folder / "episode_1.hdf5").read_bytes() == b"somebody's"


def test_tasks_hold_each_episode_once_in_order() -> None:
    tasks = split_tasks(list(range(50)), 2)
    assert [number for task in tasks for number in task] == list(range(50))
    assert len(tasks) == 8
    assert split_tasks([4, 7], 8) == [[4], [7]]
