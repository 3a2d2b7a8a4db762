"""The check of episode files: what it finds, and that training decides as it does."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from convert.__main__ import main as convert
from convert.check.__main__ import main
from convert.check.dataset import check
from convert.check.episode_files import check_episode_files
from convert.flags import DataFlags
from convert.input import episode_files, look_at_input
from episodes.episode_set import open_episodes
from episodes.jpeg import encode_jpeg
from job.errors import DatasetError, JobError, UsageError
from tests.support.commands import make_config
from tests.support.errors import raises_code
from tests.support.motion import recorded
from tests.support.paths import SMALL
from tests.support.recorders import (
    CAMERAS as NAMES,
)
from tests.support.recorders import (
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

QPOS = "observations/qpos"


def flags_of(**given: Any) -> DataFlags:
    return DataFlags(**({"chunk_size": 5} | given), given=frozenset(given))


def found(
    *folders: Path, severity: str = "", deep: bool = False, **given: Any
) -> list[tuple[str, str, int | None]]:
    """Code, file or folder, and number of each finding."""
    reports = check_episode_files(folders, flags_of(**given), deep=deep)
    return [
        (one.code, Path(one.where).name, one.episode)
        for report in reports
        for one in report.findings
        if one.severity.startswith(severity)
    ]


def test_plain_episodes_are_fine(tmp_path: Path) -> None:
    record(tmp_path)
    (report,) = check_episode_files([tmp_path], flags_of())
    assert report.findings == []
    estimated = {"lag", "chunk", "jumps", "idle", "padding"}
    assert estimated <= report.facts.keys()
    assert {name: report.facts[name] for name in report.facts.keys() - estimated} == {
        "format": "aloha_hdf5",
        "episodes": 3,
        "frames": 36,
        "fps": "unknown",
        "lengths": "12 to 12",
        "sim": "false",
        "cameras": {"cam_high": "24x32", "cam_left_wrist": "24x32"},
        "state": "qpos, 14 dims",
        "action": "action, 14 dims",
    }


def nan(file: h5py.File) -> None:
    file["action"][3, 1] = np.nan


def longer(file: h5py.File) -> None:
    put("action", vectors(14, 3, LENGTH + 1))(file)


def without_camera(file: h5py.File) -> None:
    del file[HIGH]


def without_qpos(file: h5py.File) -> None:
    del file[QPOS]


def jpeg_cut_off(file: h5py.File) -> None:
    """The frame at step 4 of the first camera, in a compressed file."""
    for place, name in enumerate(file["observations/images"]):
        rows = [encode_jpeg(frame, 90) for frame in frames(place)]
        longest = max(map(len, rows))
        rows[4] = rows[4][: 200 if place == 0 else None]
        padded = [np.frombuffer(row.ljust(longest, b"\0"), np.uint8) for row in rows]
        put(f"observations/images/{name}", np.stack(padded))(file)
    file.attrs["compress"] = True


FAULTS: dict[str, Callable[[h5py.File], None]] = {
    "not-finite": nan,
    "episode-content": longer,
    "camera-unknown": without_camera,
    "episode-unreadable": without_qpos,
    "episodes-differ": put("action", vectors(15, 1)),
    "camera-sizes": put(HIGH, frames(0, (48, 64))),
}


@pytest.mark.parametrize("code", FAULTS)
def test_an_error_is_what_training_refuses(tmp_path: Path, code: str) -> None:
    paths = record(tmp_path)
    change(paths[1], FAULTS[code])
    assert found(tmp_path, severity="error") == [(code, "episode_1.hdf5", 1)]
    with raises_code(DatasetError, code, r"episode_1\.hdf5"):
        open_episodes(paths)


def test_more_vectors_than_the_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path)
    monkeypatch.setattr("episodes.episode_set.memory_bytes", lambda: 1000)
    assert found(tmp_path) == [("vectors-too-large", tmp_path.name, None)]


def test_every_broken_file_is_found_at_once(tmp_path: Path) -> None:
    paths = record(tmp_path, len(FAULTS) + 1, first=4)
    for path, fault in zip(paths[1:], FAULTS.values(), strict=True):
        change(path, fault)
    expected = {(code, n) for n, code in enumerate(FAULTS, start=5)}
    assert {(code, n) for code, _, n in found(tmp_path, severity="error")} == expected
    kept = ",".join(str(n) for n in range(5, 5 + len(FAULTS)))
    assert found(tmp_path, severity="error", exclude_episodes=kept) == []


def still_dim(file: h5py.File) -> None:
    file[QPOS][:, 2] = 0.5


def stands_still(file: h5py.File) -> None:
    file[QPOS][:] = 0.5


def jumps(file: h5py.File) -> None:
    file["action"][6:, 1] += 100


def blank(file: h5py.File) -> None:
    file[HIGH][0] = 7


def tactile(file: h5py.File) -> None:
    file["observations/tactile"] = np.zeros(4)
    file["language"] = "pick it up"


def further_camera(file: h5py.File) -> None:
    file["observations/images/cam_low"] = frames(9)


ODD: dict[str, tuple[Callable[[h5py.File], None], bool]] = {
    # whether the change is to all three files or to the second alone
    "dim-still": (still_dim, True),
    "episode-still": (stands_still, False),
    "vector-still": (stands_still, True),
    "jump": (jumps, False),
    "video-blank": (blank, False),
    "parts-unused": (tactile, True),
    "depth-left-out": (DEPTH, True),
    "cameras-unused": (further_camera, False),
    "base-action-unused": (put("base_action", vectors(2, 5)), True),
    "sim-differs": (say("sim", True), False),
}


@pytest.mark.parametrize("code", ODD)
def test_a_warning_is_given_once_and_ends_nothing(tmp_path: Path, code: str) -> None:
    paths, (how, everywhere) = record(tmp_path), ODD[code]
    for path in paths if everywhere else paths[1:2]:
        change(path, how)
    codes = [one[0] for one in found(tmp_path)]
    assert codes.count(code) == 1
    assert found(tmp_path, severity="error") == []
    assert len(open_episodes(paths).infos) == 3


def test_a_camera_that_was_chosen_against_is_nothing_to_warn_of(tmp_path: Path) -> None:
    paths = record(tmp_path)
    change(paths[1], further_camera, DEPTH)
    codes = [code for code, *_ in found(tmp_path, camera_names=("cam_high",))]
    assert codes == ["depth-left-out"]
    assert found(tmp_path, camera_names=("cam_high", "cam_high_depth"), severity="error") == [
        ("camera-depth", "episode_1.hdf5", 1),
        ("camera-unknown", "episode_0.hdf5", 0),
        ("camera-unknown", "episode_2.hdf5", 2),
    ]


def test_gaps_and_other_files_are_named(tmp_path: Path) -> None:
    record(tmp_path, 2)
    record(tmp_path, 1, first=7)
    record(tmp_path / "older", 1)
    (tmp_path / "mirror_episode_0.hdf5").touch()
    (tmp_path / "._episode_0.hdf5").touch()
    (report,) = check_episode_files([tmp_path], flags_of())
    messages = {one.code: one.message for one in report.findings}
    assert messages.keys() == {"episode-gap", "file-unlisted"}
    assert "5 numbers" in messages["episode-gap"]
    assert "mirror_episode_0.hdf5, older" in messages["file-unlisted"]


def test_padding_of_the_chunks(tmp_path: Path) -> None:
    record(tmp_path)
    assert found(tmp_path, chunk_size=LENGTH + 1) == [("chunk-padding", tmp_path.name, None)]


def test_a_base_that_is_joined_is_checked_as_part_of_the_action(tmp_path: Path) -> None:
    paths = with_base(tmp_path)
    assert found(tmp_path, base_action="append") == []
    for path in paths:
        change(path, put("base_action", np.zeros((LENGTH, 2))))
    (report,) = check_episode_files([tmp_path], flags_of(base_action="append"))
    (finding,) = report.findings
    assert finding.code == "dim-still"
    assert "base_action[0], base_action[1]" in finding.message
    assert report.facts["action"] == "action, 16 dims"


@pytest.mark.parametrize(
    ("size", "code"),
    [("48x64", "image-enlarged"), ("12x32", "image-distorted"), ("12x16", None)],
)
def test_the_size_that_frames_are_reduced_to(tmp_path: Path, size: str, code: str | None) -> None:
    record(tmp_path)
    assert [one[0] for one in found(tmp_path, image_size=size)] == [code] * 2 * bool(code)


def test_a_deep_look_decodes_every_frame(tmp_path: Path) -> None:
    paths = record(tmp_path)
    change(paths[0], put(HIGH, np.repeat(frames(0)[:1], LENGTH, axis=0)))
    change(paths[1], jpeg_cut_off)
    assert found(tmp_path) == []
    assert found(tmp_path, deep=True) == [
        ("episode-content", "episode_1.hdf5", 1),
        ("video-frozen", "episode_0.hdf5", 0),
    ]
    (report,) = check_episode_files([tmp_path], flags_of(episodes="0,2"), deep=True)
    assert report.facts["decoded"] == f"{2 * 2 * LENGTH} frames"


def test_the_estimates_are_those_of_the_arms(tmp_path: Path) -> None:
    """The state follows the action by 2 steps; it has no dims of the base, and no names."""
    rows = (80, 90, 70)
    for path, (state, action) in zip(with_base(tmp_path), recorded(2, rows), strict=True):
        images = [put(f"observations/images/{name}", frames(0, SIZE, len(state))) for name in NAMES]
        change(path, put(QPOS, state), put("action", action), *images)
        change(path, put("base_action", vectors(2, 6, len(state))))
    (report,) = check_episode_files([tmp_path], flags_of(base_action="append", sim="true"))
    lag = report.facts["lag"]
    assert lag["steps"] == pytest.approx(2, abs=0.3)
    assert (lag["matched_by"], lag["sim"]) == ("position", True)


def test_folders_are_judged_together(tmp_path: Path) -> None:
    """By the first file of the first, as training does; each has a report of its own."""
    record(tmp_path / "a")
    for path in record(tmp_path / "b", 2):
        change(path, put("action", vectors(15, 1)))
    change(record(tmp_path / "c", 1)[0], say("sim", True), DEPTH)
    reports = check_episode_files([tmp_path / f for f in "abc"], flags_of())
    codes = [[one.code for one in report.findings] for report in reports]
    assert codes == [["sim-differs"], ["episodes-differ"] * 2, ["depth-left-out"]]


@pytest.mark.parametrize(
    ("given", "code", "kind"),
    [
        ({"state_dim": 16}, "flag-unused", UsageError),
        ({"image_size": "48x64"}, "image-enlarged", UsageError),
        ({"episodes": "9"}, "episodes-missing", DatasetError),
        ({"base_action": "append"}, "episode-content", DatasetError),
        ({"camera_names": "cam_low"}, "camera-unknown", DatasetError),
    ],
)
def test_a_job_refuses_with_the_code_of_the_check(
    tmp_path: Path, given: Mapping[str, Any], code: str, kind: type[JobError]
) -> None:
    folder = tmp_path / "in"
    record(folder)
    names = {"camera_names": ("cam_low",)} if "camera_names" in given else {}
    assert {one[0] for one in found(folder, severity="error", **(dict(given) | names))} == {code}
    config = make_config(tmp_path / "out", **({"input": folder} | dict(given)))
    with raises_code(kind, code):
        episode_files(config)


def test_a_job_says_which_numbers_would_leave_the_broken_ones_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("act"), "propagate", True)
    record(tmp_path / "a", 2, first=1)
    change(record(tmp_path / "b")[1], nan)
    folders = (tmp_path / "a", tmp_path / "b")
    config = replace(make_config(tmp_path / "out"), input=folders)
    with raises_code(DatasetError, "not-finite", "b/episode_1"):
        episode_files(config)
    assert "--exclude_episodes 4 would" in caplog.text
    assert len(episode_files(replace(config, exclude_episodes="4"))) == 4


@pytest.mark.parametrize("flag", ["camera_keys", "state_key", "image_storage"])
def test_flags_of_a_conversion_alone_are_refused_by_job_and_check(
    tmp_path: Path, flag: str
) -> None:
    folder = tmp_path / "in"
    record(folder, 1)
    value = "jpeg" if flag == "image_storage" else "a"
    with raises_code(UsageError, "flag-unused", f"--{flag} .*not converted"):
        look_at_input(make_config(tmp_path / "out", **{"input": folder, flag: value}))
    assert main([str(folder), f"--{flag}", value]) == UsageError.exit_code


def test_a_base_is_asked_of_episode_files_alone(tmp_path: Path) -> None:
    config = make_config(tmp_path, input=SMALL / "v30_h264", base_action="append")
    with raises_code(UsageError, "flag-unused", "--base_action append"):
        look_at_input(config)
    assert main([str(SMALL / "v30_h264"), "--base_action", "append"]) == UsageError.exit_code


Lines = pytest.CaptureFixture[str]


def test_the_report_has_the_form_of_a_datasets(tmp_path: Path, capfd: Lines) -> None:
    record(tmp_path / "a", 1)
    change(record(tmp_path / "b", 1)[0], nan)
    assert main([str(tmp_path / "a"), "--json"]) == 0
    values = json.loads(capfd.readouterr().out)
    dataset = check(SMALL / "v30_h264").as_json()
    assert values.keys() == dataset.keys()
    assert {"episodes", "frames", "fps", "lengths", "cameras", "state", "action"} <= (
        values["facts"].keys() & dataset["facts"].keys()
    )
    assert main([str(tmp_path / "b"), "--json"]) == DatasetError.exit_code
    (finding, *_) = json.loads(capfd.readouterr().out)["findings"]
    assert (finding["code"], finding["episode"]) == ("not-finite", 0)
    assert main([str(tmp_path)]) == DatasetError.exit_code  # both folders
    out = capfd.readouterr().out
    assert [out.count(word) for word in ("FINE", "BROKEN", "not-finite")] == [1, 1, 1]


def test_datasets_and_episodes_do_not_go_together(tmp_path: Path, capfd: Lines) -> None:
    record(tmp_path / "a", 1)
    assert main([str(SMALL / "v30_h264"), str(tmp_path / "a")]) == UsageError.exit_code
    assert "episode_*.hdf5" in capfd.readouterr().err


def test_episodes_beside_datasets_are_named(tmp_path: Path, capfd: Lines) -> None:
    (tmp_path / "lerobot").symlink_to(SMALL / "v30_h264")
    record(tmp_path / "episodes", 1)
    assert main([str(tmp_path), "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    (finding,) = (one for one in report["findings"] if one["code"] == "file-unlisted")
    assert "episodes" in finding["message"]


def test_there_is_nothing_to_convert(tmp_path: Path, capfd: Lines) -> None:
    record(tmp_path / "a", 1)
    output = tmp_path / "out"
    assert convert([str(tmp_path / "a"), str(output)]) == UsageError.exit_code
    (line,) = capfd.readouterr().err.splitlines()
    assert "nothing to convert" in line
    assert json.loads((output / "manifest.json").read_text())["code"] == "nothing-to-convert"
    assert [path.name for path in output.iterdir()] == ["manifest.json"]
