"""The check and the conversion decide alike, on every dataset of the corpus."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from convert.check.__main__ import main as check_command
from convert.check.dataset import check
from convert.check.gate import check_input
from convert.disk_and_memory import check_disk
from convert.episodes import convert_episodes
from convert.findings import refuse
from convert.flags import ConversionFlags, DataFlags
from convert.plan import make_plan
from episodes.reading import NO_CAMERAS
from job.errors import JobError
from tests.support import broken
from tests.support.broken import BROKEN, ODD, edit_info
from tests.support.paths import SMALL

CORPUS = {**BROKEN, **ODD}
WHOLE = sorted(path.name for path in SMALL.iterdir() if path.is_dir())
FLAGS = DataFlags(chunk_size=5, image_size="12x16")


# A reader meets the end of a file before it can know why it ends there; the check knows.
SEEN_BY_READING = {
    "video-decode": {"video-truncated"},
    "video-short": {"video-shared", "video-window-outside"},
}


def refusal(flags: DataFlags, folder: Path) -> JobError | None:
    """What a conversion raises; in this process, as its workers would do it."""
    try:
        plan = make_plan(flags, folder)
        folder.mkdir()
        check_disk(plan, range(len(plan.sources)), refuse)
        convert_episodes((plan, list(range(len(plan.sources)))), lambda _: None)
    except JobError as problem:
        return problem
    return None


def assert_they_agree(root: Path, folder: Path, flags: DataFlags) -> None:
    report = check(root, flags, deep=True, output=folder)
    problem = refusal(replace(flags, input=(root,)), folder)
    errors = {finding.code for finding in report.errors}
    if not errors:
        assert problem is None, f"{problem.code}: {problem}\n{report.text()}"
    if problem is not None:
        assert errors & {problem.code, *SEEN_BY_READING.get(problem.code, ())}, (
            f"{problem.code}: {problem}\n{report.text()}"
        )


@pytest.mark.parametrize("name", WHOLE)
def test_on_whole_datasets(tmp_path: Path, name: str) -> None:
    assert_they_agree(SMALL / name, tmp_path / "episodes", FLAGS)


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("image_size", ["own", "12x16"])
def test_on_broken_and_odd_datasets(tmp_path: Path, name: str, image_size: str) -> None:
    case = CORPUS[name]
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / case.base, root)
    case.breaking(root)
    asked = {key: value for key, value in case.options.items() if key in vars(FLAGS)}
    flags = replace(FLAGS, image_size=image_size, **asked)
    assert_they_agree(root, tmp_path / "episodes", flags)


OF_CAMERAS = [
    name for name, one in BROKEN.items() if one.code.startswith(("camera", "video", "image"))
]


@pytest.mark.parametrize("name", OF_CAMERAS)
def test_what_is_wrong_with_cameras_is_nothing_without_them(tmp_path: Path, name: str) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / BROKEN[name].base, root)
    BROKEN[name].breaking(root)
    flags = replace(FLAGS, image_size="own", camera_keys=NO_CAMERAS)
    report = check(root, flags, deep=True)
    assert not report.errors, report.text()
    assert not [finding for finding in report.findings if finding.camera]
    assert_they_agree(root, tmp_path / "episodes", flags)


def both_names(root: Path) -> None:
    """`state` and `actions` beside the standard names."""
    info = json.loads((root / "meta/info.json").read_text())
    features = info["features"]
    features |= {"state": features["action"], "actions": features["observation.state"]}
    edit_info(root, features=features)
    for path in (root / "data").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        table = table.append_column("state", table["action"])
        pq.write_table(table.append_column("actions", table["observation.state"]), path)


def test_the_standard_name_wins_with_a_warning(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", root)
    both_names(root)
    report = check(root, FLAGS)
    assert {finding.code for finding in report.findings} == {"keys-several"}
    plan = make_plan(replace(FLAGS, input=(root,)), tmp_path)
    assert (plan.qpos.key, plan.action.key) == ("observation.state", "action")
    assert_they_agree(root, tmp_path / "episodes", FLAGS)


@pytest.mark.parametrize(
    ("words", "shifts"), [({}, True), ({"sim": "true"}, False), ({"task_name": "sim_x"}, False)]
)
def test_the_shift_of_sim_auto_is_a_warning_of_both(
    words: dict[str, Any], shifts: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    root = SMALL / "v21_h264"
    given = [word for name, value in words.items() for word in (f"--{name}", value)]
    assert check_command([str(root), "--json", *given]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    said = [one["message"] for one in found if one["code"] == "sim-shift"]
    assert len(said) == shifts
    assert all("--sim true trains on action[t]" in one for one in said)
    check_input(ConversionFlags(input=(root,), **words))
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "--sim auto" in line] == [
        f"warning: sim-shift: {one}" for one in said
    ]


def test_a_quaternion_of_length_0_that_is_to_be_repaired(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", root)
    broken.orientation_not_unit(root)
    broken.set_vectors(root, "action", lambda values: values[:1, :4].fill(0))
    flags = replace(FLAGS, fix_quaternions=True)
    report = check(root, flags)
    assert "quaternion-zero" in {finding.code for finding in report.errors}
    assert_they_agree(root, tmp_path / "episodes", flags)


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ({"image_size": "97x128"}, "image-enlarged"),
        ({"camera_names": ("one",)}, "camera-names"),
        ({"episodes": "90"}, "episodes-missing"),
    ],
)
def test_what_flags_ask_is_refused_by_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: dict[str, Any], code: str
) -> None:
    root = SMALL / "v21_h264"
    problem = refusal(DataFlags(input=(root,), **flags), tmp_path / "episodes")
    assert problem is not None
    assert problem.code == code
    words = [word for key, value in flags.items() for word in (f"--{key}", _text(value))]
    assert check_command([str(root), "--json", *words]) == 3
    found = json.loads(capsys.readouterr().out)["counts"]
    assert code in found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(value)


@pytest.mark.slow
def test_datasets_that_differ_are_checked_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        shutil.copytree(SMALL / "v21_h264", tmp_path / name)
    assert check_command([str(tmp_path), "--json"]) == 0
    capsys.readouterr()
    edit_info(tmp_path / "b", fps=29.97)
    assert check_command([str(tmp_path), "--json"]) == 3
    first, second = json.loads(capsys.readouterr().out)
    assert first["errors"] == 0
    assert second["counts"]["datasets-differ"] == 1
    problem = refusal(DataFlags(input=(tmp_path,)), tmp_path / "episodes")
    assert problem is not None
    assert problem.code == "datasets-differ"
