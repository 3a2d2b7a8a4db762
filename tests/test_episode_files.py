"""ALOHA episode files of any recorder: which are read, and what of them, and how."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from act.batches.order import Order, first_action
from act.policies.dataset_section import dataset_section, dataset_section_of_files
from convert.input_kind import find_episode_folders
from episodes.episode_set import Episodes, open_episodes
from episodes.folder import choose_files, find_episodes
from episodes.frames import open_frames
from episodes.jpeg import encode_jpeg
from episodes.reader import read_info, read_vectors
from episodes.reading import AS_RECORDED, SMOOTHED, Reading
from episodes.resize import resize_area
from episodes.writer import write_episode
from job.errors import DatasetError, UsageError
from tests.support.commands import make_config
from tests.support.episodes import rechunk, write_episodes
from tests.support.errors import raises_code
from tests.support.recorders import (
    CAMERAS,
    DEPTH,
    HIGH,
    LENGTH,
    SIZE,
    change,
    frames,
    put,
    record,
    say,
    vectors,
    with_base,
)


def read_frame(episodes: Episodes, episode: int, ts: int) -> Any:
    """The frames of a time step, (C, H, W, 3)."""
    source = open_frames(episodes)
    out = np.empty((1, *source.shape), np.uint8)
    source.copy_into(np.array([episode]), np.array([ts]), out)
    source.close()
    return out[0]


# Which files, and in which order


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["episode_10.hdf5", "episode_9.hdf5"], ["episode_9.hdf5", "episode_10.hdf5"]),
        (["episode_1.hdf5", "episode_2.hdf5"], ["episode_1.hdf5", "episode_2.hdf5"]),
        (["episode_7.hdf5", "episode_0.hdf5"], ["episode_0.hdf5", "episode_7.hdf5"]),
        (["episode_0010.hdf5", "episode_0009.hdf5"], ["episode_0009.hdf5", "episode_0010.hdf5"]),
        (["episode10.hdf5", "episode2.hdf5"], ["episode2.hdf5", "episode10.hdf5"]),
        (["._episode_0.hdf5", "episode_0.hdf5", "episode_0_video.mp4"], ["episode_0.hdf5"]),
    ],
)
def test_episodes_are_sorted_by_number(
    tmp_path: Path, names: list[str], expected: list[str]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in find_episodes(tmp_path)] == expected


@pytest.mark.parametrize("other", ["episode_007.hdf5", "episode7.hdf5"])
def test_two_files_of_one_number_are_both_named(tmp_path: Path, other: str) -> None:
    (tmp_path / "episode_7.hdf5").touch()
    (tmp_path / other).touch()
    with raises_code(DatasetError, "episode-twice", rf"(?=.*{other})(?=.*episode_7\.hdf5)"):
        find_episodes(tmp_path)


def chosen(tmp_path: Path, *folders: str, **flags: Any) -> list[str]:
    paths = [tmp_path / folder for folder in folders]
    files = choose_files(paths, make_config(tmp_path / "output", **flags))
    return [file.path.relative_to(tmp_path).as_posix() for file in files]


def test_episodes_are_chosen_by_number_counted_on_over_the_folders(tmp_path: Path) -> None:
    for folder, numbers in (("a", (1, 4)), ("b", (0, 2))):
        (tmp_path / folder).mkdir()
        for number in numbers:
            (tmp_path / folder / f"episode_{number}.hdf5").touch()
    a1, a4, b0, b2 = (f"{f}/episode_{n}.hdf5" for f, n in zip("aabb", (1, 4, 0, 2), strict=True))
    assert chosen(tmp_path, "a", "b") == [a1, a4, b0, b2]
    assert chosen(tmp_path, "b", "a") == [b0, b2, a1, a4]
    assert chosen(tmp_path, "a", "b", episodes="4:6") == [a4, b0]  # b's begin at 5
    assert chosen(tmp_path, "a", "b", exclude_episodes="1,7") == [a4, b0]
    assert chosen(tmp_path, "a", "b", exclude_episodes="1", max_episodes=2) == [a4, b0]
    with raises_code(DatasetError, "episodes-missing", "4 .*1 to 7"):
        chosen(tmp_path, "a", "b", episodes="2,3")


def test_folders_of_episodes_are_found_as_datasets_are(tmp_path: Path) -> None:
    a, b, lerobot = (tmp_path / name for name in ("in/a", "in/b", "lerobot"))
    for folder in (a, b):
        folder.mkdir(parents=True)
        (folder / "episode_0.hdf5").touch()
    (lerobot / "meta").mkdir(parents=True)
    (lerobot / "meta/info.json").touch()
    assert find_episode_folders([b, a]) == [b, a]
    assert find_episode_folders([tmp_path / "in"]) == [a, b]
    assert find_episode_folders([lerobot]) == []
    with raises_code(UsageError, "input-mixed", r"in/a .*lerobot"):
        find_episode_folders([lerobot, a])
    with raises_code(UsageError, "input-twice", "in/a"):
        find_episode_folders([tmp_path / "in", a])


# Attributes


@pytest.mark.parametrize(
    "value",
    [
        "cam_left_wrist,cam_high",
        '["cam_left_wrist", "cam_high"]',
        "['cam_left_wrist', 'cam_high']",
        b'["cam_left_wrist", "cam_high"]',
        ["cam_left_wrist", "cam_high"],
        np.array([b"cam_left_wrist", b"cam_high"]),
        np.array(["cam_left_wrist", "cam_high"], object),
        np.array(['["cam_left_wrist", "cam_high"]'], object),
        np.array([[b"cam_left_wrist"], [b"cam_high"]]),
    ],
    ids=repr,
)
def test_the_order_of_the_cameras_is_that_of_the_attribute(tmp_path: Path, value: Any) -> None:
    (path,) = record(tmp_path, 1)
    change(path, say("camera_names", value))
    assert list(read_info(path).image_sizes) == ["cam_left_wrist", "cam_high"]


@pytest.mark.parametrize("value", [None, 3, h5py.Empty("f"), np.array([1.0, 2.0]), "", "[]"])
def test_without_names_the_order_is_the_groups_own(tmp_path: Path, value: Any) -> None:
    (path,) = record(tmp_path, 1)

    def rebuild(file: h5py.File) -> None:
        del file["observations/images"]
        images = file["observations"].create_group("images", track_order=True)
        for camera in reversed(CAMERAS):
            images[camera] = frames(0)
        if value is not None:
            file.attrs["camera_names"] = value

    change(path, rebuild)
    assert list(read_info(path).image_sizes) == ["cam_left_wrist", "cam_high"]


def test_an_attribute_may_name_one_camera(tmp_path: Path) -> None:
    (path,) = record(tmp_path, 1)
    change(path, say("camera_names", "cam_high"))
    assert list(read_info(path).image_sizes) == ["cam_high"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, False),
        (True, True),
        (1, True),
        (0.0, False),
        ("False", False),
        (b"true", True),
        (np.array([True]), True),
    ],
    ids=repr,
)
def test_sim_in_any_form(tmp_path: Path, value: Any, expected: bool) -> None:
    (path,) = record(tmp_path, 1, sim=value)
    assert read_info(path).sim is expected


@pytest.mark.parametrize("attribute", ["sim", "fps"])
def test_an_attribute_of_no_meaning_is_refused_for_what_it_is(
    tmp_path: Path, attribute: str
) -> None:
    (path,) = record(tmp_path, 1)
    change(path, say(attribute, "maybe"))
    message = f"{path}: the attribute {attribute} is 'maybe'"
    with raises_code(DatasetError, "episode-content", re.escape(message)):
        read_info(path)
    change(path, say(attribute, 1))  # as it says
    assert read_info(path).sim is (attribute == "sim")


# Cameras


def test_only_chosen_cameras_are_looked_at(tmp_path: Path) -> None:
    paths = record(tmp_path)
    change(paths[1], DEPTH, put("observations/images/cam_low", np.zeros((5, 4), np.float32)))
    change(paths[2], put("observations/images/cam_left_wrist", np.zeros((3, 2))))
    assert open_episodes(paths, ["cam_high"]).lengths == [LENGTH] * 3
    assert open_episodes(paths[:2]).camera_names == CAMERAS
    with raises_code(DatasetError, "episode-content", "cam_left_wrist"):
        open_episodes(paths)


def test_depth_is_left_out_and_refused_by_name(tmp_path: Path) -> None:
    paths = record(tmp_path)
    for path in paths:
        change(path, DEPTH)
    assert open_episodes(paths).camera_names == CAMERAS
    with raises_code(DatasetError, "camera-depth", "uint16"):
        open_episodes(paths, ["cam_high", "cam_high_depth"])


def test_a_guess_by_the_name_is_overruled(tmp_path: Path) -> None:
    (path,) = record(tmp_path, 1)
    change(path, put("observations/images/depth_left", frames(7)))
    change(path, put("observations/images/depth_cam_rgb", frames(8)))
    assert "depth_left" not in open_episodes([path]).camera_names
    assert "depth_cam_rgb" in open_episodes([path]).camera_names
    asked = open_episodes([path], ["depth_left"])
    np.testing.assert_array_equal(read_frame(asked, 0, 3)[0], frames(7)[3])


@pytest.mark.parametrize("shape", [(LENGTH, *SIZE), (LENGTH, *SIZE, 1)])
def test_one_channel_that_is_named_is_grey(tmp_path: Path, shape: tuple[int, ...]) -> None:
    (path,) = record(tmp_path, 1)
    grey = frames(3)[..., 0]
    change(path, put("observations/images/infrared", grey.reshape(shape)))
    assert open_episodes([path]).camera_names == CAMERAS
    found = read_frame(open_episodes([path], ["infrared"]), 0, 5)[0]
    np.testing.assert_array_equal(found, np.repeat(grey[5][..., None], 3, axis=2))


def test_a_compressed_file_may_hold_raw_frames_too(tmp_path: Path) -> None:
    (path,) = record(tmp_path, 1)
    rows = [encode_jpeg(frame, 95) for frame in np.full((LENGTH, *SIZE, 3), 90, np.uint8)]
    longest = max(map(len, rows))
    padded = np.stack([np.frombuffer(row.ljust(longest, b"\0"), np.uint8) for row in rows])
    lengths = np.array([[len(row) for row in rows]])
    change(path, put(HIGH, padded), put("compress_len", lengths), say("compress", True))
    high, wrist = read_frame(open_episodes([path]), 0, 4)
    assert abs(high.astype(int) - 90).max() <= 3
    np.testing.assert_array_equal(wrist, frames(1)[4])
    assert read_info(path).not_known == ()


def remove_images(file: h5py.File) -> None:
    del file["observations/images"]


def only_depth(file: h5py.File) -> None:
    remove_images(file)
    DEPTH(file)


@pytest.mark.parametrize("without", [remove_images, only_depth])
def test_a_file_without_a_camera_of_colour(
    tmp_path: Path, without: Callable[[h5py.File], None]
) -> None:
    (path,) = record(tmp_path, 1)
    change(path, without)
    with raises_code(DatasetError, "camera-none"):
        open_episodes([path])


# The base


def test_the_base_is_joined_as_mobile_alohas_trainer_does(tmp_path: Path) -> None:
    """A mean over five steps, with zeros beyond the ends, behind the action; qpos stays."""
    (path,) = with_base(tmp_path, 1)
    base = vectors(2, 99)
    smooth = [np.convolve(base[:, dim], np.ones(5) / 5, mode="same") for dim in range(2)]
    qpos, action = read_vectors(path, SMOOTHED)
    arms = vectors(14, 0) + np.float32(0.05)
    np.testing.assert_allclose(action, np.column_stack([arms, *smooth]), atol=1e-6)
    np.testing.assert_array_equal(qpos, vectors(14, 0))
    assert action.dtype == np.float32
    raw = read_vectors(path, AS_RECORDED)[1]
    np.testing.assert_array_equal(raw, np.concatenate([arms, base], axis=1))
    assert read_vectors(path)[1].shape == (LENGTH, 14)


def test_a_base_of_fewer_steps_than_are_averaged(tmp_path: Path) -> None:
    (path,) = record(tmp_path, 1)
    for name in ("action", "observations/qpos", "base_action"):
        change(path, put(name, np.ones((3, 2), np.float32)))
    for camera in CAMERAS:
        change(path, put(f"observations/images/{camera}", frames(0)[:3]))
    found = open_episodes([path], (), Reading(base_action=SMOOTHED)).action[0]
    np.testing.assert_allclose(found[:, 2:], np.full((3, 2), 0.6), atol=1e-6)


def test_the_dims_of_a_joined_action_have_names(tmp_path: Path) -> None:
    paths = with_base(tmp_path)
    info = open_episodes(paths, (), Reading(base_action=SMOOTHED)).infos[0]
    assert (info.qpos_dim, info.action_dim, info.qpos_names) == (14, 16, None)
    assert info.action_names is not None
    assert info.action_names[13:] == ("action[13]", "base_action[0]", "base_action[1]")
    for path in paths:
        change(path, say("action_names", [f"joint{i}" for i in range(14)]))
    names = open_episodes(paths, (), Reading(base_action=SMOOTHED)).infos[0].action_names
    assert names is not None
    assert names[12:15] == ("joint12", "joint13", "base_action[0]")


@pytest.mark.parametrize(
    ("base", "code"),
    [
        (np.ones((LENGTH - 1, 2)), "episode-content"),
        (np.ones(LENGTH), "episode-content"),
        (np.ones((LENGTH, 3)), "episodes-differ"),
        (np.full((LENGTH, 2), np.nan), "not-finite"),
        (None, "episode-content"),
    ],
)
def test_a_base_that_cannot_be_joined_is_refused_where_it_is_asked_for(
    tmp_path: Path, base: Any, code: str
) -> None:
    paths = with_base(tmp_path)
    with h5py.File(paths[1], "r+") as file:
        del file["base_action"]
        if base is not None:
            file["base_action"] = base
    with raises_code(DatasetError, code, r"episode_1\.hdf5"):
        open_episodes(paths, (), Reading(base_action=SMOOTHED))
    assert open_episodes(paths).infos[0].action_dim == 14


# At reading


@pytest.mark.parametrize("storage", ["raw", "chunked", "jpeg"])
@pytest.mark.parametrize("size", [(16, 24), (20, 31)])
def test_frames_are_reduced_while_they_are_read(
    tmp_path: Path, storage: str, size: tuple[int, int]
) -> None:
    paths = write_episodes(tmp_path, storage)
    whole = open_episodes(paths)
    reduced = open_episodes(paths, (), Reading(image_size=size))
    assert reduced.image_size == size
    for frame, small in zip(read_frame(whole, 2, 5), read_frame(reduced, 2, 5), strict=True):
        np.testing.assert_array_equal(small, resize_area(frame, *size))


def test_cameras_and_folders_of_different_sizes_become_one(tmp_path: Path) -> None:
    paths = record(tmp_path / "a", 1, sizes=((24, 32), (48, 64)))
    paths += record(tmp_path / "b", 1, sizes=((30, 40), (12, 16)))
    with raises_code(DatasetError, "camera-sizes", "--image_size"):
        open_episodes(paths)
    episodes = open_episodes(paths, (), Reading(image_size=(12, 16)))
    for number, sizes in enumerate((((24, 32), (48, 64)), ((30, 40), (12, 16)))):
        for place, (found, size) in enumerate(
            zip(read_frame(episodes, number, 2), sizes, strict=True)
        ):
            expected = resize_area(frames(place, size)[2], 12, 16)
            np.testing.assert_array_equal(found, expected)


def test_sim_can_be_overruled(tmp_path: Path) -> None:
    paths = record(tmp_path / "a", 1, sim=False) + record(tmp_path / "b", 1, sim=True)
    order = Order(np.array([0, 1]), np.array([4, 4]))
    for sim, expected in ((None, [3, 4]), (True, [4, 4]), (False, [3, 3])):
        episodes = open_episodes(paths, (), Reading(sim=sim))
        assert first_action(episodes, order).tolist() == expected


def test_a_run_is_of_another_dataset_only_where_sim_is_overruled(tmp_path: Path) -> None:
    """The flags alone do not tell: auto is whatever the files say."""
    paths = record(tmp_path / "a")

    def fingerprint(sim: bool | None) -> str:
        return dataset_section(open_episodes(paths, (), Reading(sim=sim))).fingerprint

    assert fingerprint(None) == fingerprint(False)
    assert fingerprint(None) != fingerprint(True)


def test_several_folders_are_in_the_manifest(tmp_path: Path) -> None:
    paths = record(tmp_path / "a", 1) + record(tmp_path / "b", 1)
    section = dataset_section_of_files(make_config(tmp_path), paths)
    assert section.path == f"{tmp_path / 'a'}, {tmp_path / 'b'}"
    assert [one.dataset for one in section.episodes] == [str(tmp_path / f) for f in "ab"]


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ([say("fps", 30.0)], r"fps .*30\.0.*50\.0"),
        ([say("action_names", [f"b{i}" for i in range(14)])], "names of action"),
        ([put("action", vectors(7, 1)), put("observations/qpos", vectors(7, 2))], r"\(7, 7\)"),
    ],
)
def test_folders_of_different_robots_do_not_go_together(
    tmp_path: Path, changes: list[Any], values: str
) -> None:
    paths = record(tmp_path / "a", 1) + record(tmp_path / "b", 1)
    for path in paths:
        change(path, say("fps", 50.0), say("action_names", [f"a{i}" for i in range(14)]))
    assert len(open_episodes(paths).infos) == 2
    change(paths[1], *changes)
    with raises_code(DatasetError, "episodes-differ", rf"b/episode_0.*{values}.*a/episode_0"):
        open_episodes(paths)


def test_text_beside_upstreams_layout_changes_nothing(tmp_path: Path) -> None:
    """Attributes of other kinds, and a chunked layout."""
    paths = write_episodes(tmp_path, "raw")
    before = open_episodes(paths)
    for path in paths:
        rechunk(path)
        change(path, say("qpos_names", "['a', 'b', 'c']"), say("note", "x"))
    after = open_episodes(paths)
    assert after.infos[0].qpos_names == ("a", "b", "c")
    np.testing.assert_array_equal(read_frame(before, 1, 2), read_frame(after, 1, 2))


@pytest.mark.parametrize("late", [("top", 1), ("wrist", 0)])
def test_frames_are_written_from_start_to_end(tmp_path: Path, late: tuple[str, int]) -> None:
    """What came before has been written, as zeros where nothing was given: it is not hidden."""
    vectors = {name: np.zeros((3, 2), np.float32) for name in ("action", "qpos", "qvel")}
    shapes = dict.fromkeys(("top", "wrist"), (3, 8, 8))
    frame = np.full((8, 8, 3), 9, np.uint8)
    order = [("top", 0), ("top", 2), ("wrist", 1), late]
    with (
        pytest.raises(AssertionError, match=f"frame {late[1]} of {late[0]}"),
        write_episode(tmp_path / "episode", vectors, shapes, {"sim": True}) as writer,
    ):
        for camera, ts in order:
            writer.write_frame(camera, ts, frame)
