"""The check, on whole datasets and on the corpus of broken ones (tests/support/broken.py)."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from convert.check.__main__ import main
from convert.check.budget import check_room
from convert.check.dataset import check
from convert.check.gate import check_input
from convert.check.own_process import check_apart, check_together
from convert.episodes import convert
from convert.findings import Report
from convert.flags import DataFlags
from convert.lerobot.dataset import read_dataset
from convert.lerobot.episode_list import files_of
from convert.notes import input_digest, noted_left_out
from convert.plan import make_plan
from convert.sections import describe_dataset
from convert.sources import NOTHING
from episodes.video.reader import VideoReader
from job.errors import DatasetError
from job.flags import names_of
from tests.support.broken import (
    BROKEN,
    ODD,
    TABLE,
    VIDEO,
    WRIST,
    Broken,
    cut,
    damaged_in_the_middle,
    edit_info,
    encode,
)
from tests.support.commands import HANGS_S, Ended, command_environment, make_config
from tests.support.errors import raises_code
from tests.support.jobs import Job
from tests.support.many_episodes import write_many
from tests.support.paths import ROOT, SAMPLES, SMALL

RunJob = Callable[..., Ended]
FLAGS = DataFlags(chunk_size=5)
GOOD = [*sorted(path for path in SMALL.iterdir() if path.is_dir()), *SAMPLES]
# What is peculiar about them, and reported.
KNOWN = {
    "v21_av1": {"tasks"},
    "v30_av1": {"tasks"},
    "v30_merged": {"tasks"},
    "v30_bt709": {"colour-tags"},
    "v30_converted": {"table-pointer"},
    "v30_deleted": {"codec-changes"},
    "v30_startoffset": {"video-start"},
    "v30_startoffset_abs": {"video-start"},
}


def snapshot(root: Path) -> dict[str, Any]:
    """Everything in a folder, but for the time of last access."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return found


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def look(tmp_path: Path, broken: Broken) -> Report:
    """Break a copy and check it; what holds for every report is asserted here."""
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / broken.base, root)
    broken.breaking(root)
    before = snapshot(root)
    report = check(
        root,
        replace(FLAGS, **{k: v for k, v in broken.options.items() if k in names_of(DataFlags)}),
        deep=broken.options.get("deep", False),
        output=tmp_path,
    )
    assert snapshot(root) == before
    values = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert (values["errors"], values["warnings"]) == (len(report.errors), len(report.warnings))
    assert values["verdict"] == ("broken" if report.errors else "fine")
    assert sum(values["counts"].values()) == len(values["findings"])
    for finding in report.findings:
        assert "\n" not in finding.message
        assert finding.where in finding.message
        assert finding.code in report.text()
    return report


@pytest.mark.parametrize(
    ("root", "deep"),
    [*((root, False) for root in GOOD), *((root, True) for root in GOOD if root not in SAMPLES)],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_good_dataset_has_no_errors(root: Path, deep: bool) -> None:
    report = check(root, FLAGS, deep=deep)
    assert not report.errors, report.text()
    assert codes(report) == KNOWN.get(root.name, set())


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_dataset_has_its_error(tmp_path: Path, name: str) -> None:
    broken = BROKEN[name]
    report = look(tmp_path, broken)
    found = {finding.code for finding in report.errors}
    assert broken.code in found, report.text()
    assert found <= {broken.code} | broken.also, report.text()
    assert any(
        finding.code == broken.code and finding.where.endswith(broken.file)
        for finding in report.errors
    ), report.text()


@pytest.mark.parametrize("name", ODD)
def test_an_odd_dataset_has_its_warning(tmp_path: Path, name: str) -> None:
    odd = ODD[name]
    report = look(tmp_path, odd)
    assert not report.errors, report.text()
    assert codes(report) - {"picture-order"} == {odd.code}, report.text()  # of odd timestamps too
    assert any(finding.where.endswith(odd.file) for finding in report.warnings), report.text()


# no matter of the metadata alone
CHOSEN = ("camera-", "state-", "action-", "env-state-", "episodes-empty")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, broken in BROKEN.items()
        if broken.file.startswith("meta") and not broken.code.startswith(CHOSEN)
    ],
)
def test_reading_strictly_raises_what_the_check_finds(tmp_path: Path, name: str) -> None:
    broken = BROKEN[name]
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / broken.base, root)
    broken.breaking(root)
    with pytest.raises(DatasetError) as caught:
        read_dataset(root)
    messages = [f.message for f in check(root).errors if f.code == caught.value.code]
    # which does not advise to leave the episode out where none would be left
    assert any(str(caught.value).startswith(message) for message in messages)


def test_everything_wrong_is_in_one_report(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", root)
    (root / VIDEO).unlink()
    cut(root / TABLE, 100)
    other = VIDEO.replace("000001", "000003")
    encode(root / other, range(10))
    report = check(root, DataFlags(camera_keys=("observation.images.wrist", "no.such")))
    found = {finding.code for finding in report.errors}
    assert found == {"video-missing", "table-truncated", "video-short", "camera-unknown"}


def test_repeated_findings_are_one_line(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v30_multifile", root)
    for path in (root / "videos").rglob("*.mp4"):
        path.unlink()
    report = check(root)
    lines = [line for line in report.text().splitlines() if "video-missing" in line]
    assert len(lines) == 1
    assert "video-missing (8 times)" in lines[0]
    assert lines[0].count(".mp4") == 5
    assert lines[0].endswith("and 3 more")
    assert "verdict: BROKEN: 8 errors of 1 kind" in report.text()


def test_a_snapshot_says_to_mount_the_cache(tmp_path: Path) -> None:
    report = look(tmp_path, BROKEN["v21_h264-snapshot_without_its_cache"])
    assert [finding.code for finding in report.errors] == ["link-dangling"]
    assert "cp -rL" in report.errors[0].message  # a command to do instead


def test_links_that_stay_readable_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "snapshots/main"
    for path in sorted(path for path in (SMALL / "v30_h264").rglob("*") if path.is_file()):
        link = root / path.relative_to(SMALL / "v30_h264")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert not check(root, FLAGS).findings


def test_only_wanted_episodes_are_looked_at(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", root)
    (root / VIDEO).unlink()
    assert check(root).errors
    assert not check(root, only=frozenset({0, 2, 3})).errors


def test_sizes_may_differ_when_they_are_changed(tmp_path: Path) -> None:
    for name in ("v21_h264-resolution_changed", "v30_h264-cameras_differ"):
        broken = BROKEN[name]._replace(options={"image_size": "24x32"})
        folder = tmp_path / name
        folder.mkdir()
        assert not look(folder, broken).errors


@pytest.mark.slow
def test_a_thousand_episodes_are_within_the_limits_of_a_process(tmp_path: Path) -> None:
    """v2.1: 1,000 tables and 2,000 videos; Docker's soft limit can be 1,024 open files."""
    write_many(tmp_path, 1000)
    report = check(tmp_path, FLAGS)
    assert not report.findings
    assert report.facts["episodes"] == 1000


def test_too_little_room_is_an_error_and_a_warning(tmp_path: Path) -> None:
    report = Report(tmp_path)
    plan = make_plan(DataFlags(input=(SMALL / "v30_h264",)), tmp_path / "new")
    long = [
        replace(source, episode=replace(source.episode, length=1 << 22)) for source in plan.sources
    ]
    check_room(replace(plan, sources=tuple(long)), "raw", tmp_path / "new", report)
    assert [finding.code for finding in report.errors] == ["disk-room"]
    assert [finding.code for finding in report.warnings] == ["memory-room"]
    report = Report(tmp_path)
    check_room(replace(plan, sources=tuple(long)), "auto", tmp_path / "new", report)
    assert "from the dataset's videos: raw frames need another " in report.facts["frames"]
    assert "disk-room" not in [finding.code for finding in report.findings]


def test_room_is_that_of_the_files_that_would_be_written(tmp_path: Path) -> None:
    raw = check(SMALL / "v30_h264", FLAGS, output=tmp_path).facts["images"]
    jpeg = replace(FLAGS, image_storage="jpeg", image_size="24x32")
    assert check(SMALL / "v30_h264", jpeg, output=tmp_path).facts["images"] != raw


@pytest.mark.parametrize("kind", ["missing", "a file", "empty"])
def test_no_dataset_at_all(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "dataset"
    if kind == "a file":
        root.write_text("")
    elif kind == "empty":
        root.mkdir()
    assert [finding.code for finding in check(root).errors] == ["info-missing"]


def test_the_job_is_told_the_first_error_and_every_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", root)
    check_input(make_config(tmp_path, input=root))
    assert "chunk-padding" in caplog.text
    (root / VIDEO).unlink()
    (root / TABLE).unlink()
    with raises_code(DatasetError, "table-missing", Path(TABLE).name):
        check_input(make_config(tmp_path, input=root))
    assert "also broken: video-missing" in caplog.text
    check_input(make_config(tmp_path, input=root, exclude_episodes="1"))


def run(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "convert.check", *map(str, words)],
        cwd=ROOT,
        env=command_environment(),
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
        **options,
    )


@pytest.mark.slow
def test_the_command_tells_broken_from_fine(tmp_path: Path) -> None:
    fine = run(SMALL / "v30_h264")
    assert (fine.returncode, fine.stderr) == (0, "")
    assert "verdict: FINE" in fine.stdout
    shutil.copytree(SMALL / "v30_startoffset", tmp_path / "dataset")
    cut(tmp_path / "dataset/data/chunk-000/file-000.parquet", 3000)
    broken = run(tmp_path / "dataset", "--json", "--deep")
    assert (broken.returncode, broken.stderr) == (3, "")
    values = json.loads(broken.stdout)
    assert [f["code"] for f in values["findings"] if f["severity"] == "error"] == [
        "table-truncated"
    ]
    assert values["format"] == 1


@pytest.mark.parametrize(
    "words",
    [["--chunk_sise", "5"], ["--chunk_size", "0"], ["--chunk_size"], ["--chunk_size", "many"]],
)
def test_a_wrong_command_is_one_line_and_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(SMALL / "v30_h264"), *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.startswith("error: ")) == ("", 1, True)


def test_several_datasets_in_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("v20", "v21_h264"):
        (tmp_path / name).symlink_to(SMALL / name)
    assert main([str(tmp_path), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [Path(value["dataset"]).name for value in values] == ["v20", "v21_h264"]


_SOMEBODY_ELSE = """
import os, sys
from pathlib import Path
from convert.check.dataset import check
check(Path(sys.argv[1]))  # imports what somebody else may not read
os.setgid(65534)
os.setuid(65534)
print(*(finding.code for finding in check(Path(sys.argv[1])).errors))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_of_somebody_else_is_said(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", root)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (root / VIDEO).chmod(0o600)
    folder = tmp_path
    while folder != folder.parent:  # another user must get there
        if folder.is_relative_to("/tmp") and folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
        folder = folder.parent
    streams = (subprocess.PIPE, subprocess.PIPE)
    out, err = Job(["-c", _SOMEBODY_ELSE, root], command_environment(), *streams).communicate()
    assert out.split() == ["file-permission"], err


# What a crash inside a native decoder is to the process that calls it.
_CRASH = """
import av, os, signal
opened = av.open
def crash(path, *args, **kwargs):
    if str(path).endswith(os.environ["CRASHES"]):
        os.kill(os.getpid(), signal.SIGSEGV)
    return opened(path, *args, **kwargs)
av.open = crash
"""


def test_a_crash_in_a_decoder_is_a_finding_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_CRASH)
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", root)
    (root / TABLE).write_bytes(b"not parquet")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CRASHES", "wrist/episode_000002.mp4")
    report = check_apart(root, replace(FLAGS, input=(root,)))
    found = {(f.code, Path(f.where).name) for f in report.errors}
    assert ("file-crash", "episode_000002.mp4") in found
    assert ("table-unreadable", Path(TABLE).name) in found  # the rest is looked at all the same
    assert "SIGSEGV" in report.text()


def test_a_crash_in_the_plan_of_several_datasets_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_CRASH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CRASHES", ".mp4")
    roots = (SMALL / "v21_h264", SMALL / "v30_h264")
    reports = [Report(root) for root in roots]
    with raises_code(DatasetError, "worker-crash", r"episode_000000\.mp4: "):
        check_together(replace(FLAGS, input=roots), reports)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", ["v21_h264", "v30_multifile", "v30_image"])
def test_every_file_is_reported_when_it_is_opened(name: str, deep: bool) -> None:
    """Else a crash is put down to the file before."""
    root, read = SMALL / name, list[Path]()
    check(root, FLAGS, deep=deep, threads=1, on_read=read.append)
    used = {path for path in root.rglob("*") if path.suffix in (".parquet", ".mp4")}
    assert used - {root / "meta/tasks.parquet"} <= set(read)  # which nothing reads


@pytest.mark.parametrize("name", ["v21_h264", "v30_image"])
def test_every_file_of_a_plan_is_reported_when_it_is_opened(name: str, tmp_path: Path) -> None:
    read: list[Path] = []
    flags = replace(FLAGS, input=(SMALL / name,))
    plan = make_plan(flags, tmp_path, on_read=read.append)
    assert set(files_of(plan.sources[0].episode)) <= set(read)


@pytest.mark.slow
def test_a_job_survives_a_crash_in_a_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_CRASH)
    environment = command_environment() | {"PYTHONPATH": str(tmp_path), "CRASHES": "file-000.mp4"}
    ended = subprocess.run(
        [sys.executable, "-m", "convert", str(SMALL / "v30_h264"), str(tmp_path / "out")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["status"], manifest["code"]) == ("failed", "file-crash")
    assert "file-000.mp4" in manifest["reason"]


def test_frames_that_the_memory_does_not_bear_are_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("episodes.video.file.memory_bytes", lambda: 8 * 32 * (96 * 128 - 1))
    root = SMALL / "v21_h264"
    report = check(root, FLAGS)
    assert {finding.code for finding in report.errors} == {"video-too-large"}
    assert "96x128, expected at most 12287 pixels" in report.text()
    video = next(root.rglob("*.mp4"))
    with raises_code(DatasetError, "video-too-large", "12287 pixels"):
        VideoReader(video, Fraction(30))


def unfinished(root: Path) -> None:
    """As a killed recording leaves it: the last table has no footer, info.json is ahead."""
    shutil.copytree(SMALL / "v30_multifile", root)
    table = root / "data/chunk-001/file-000.parquet"
    cut(table, table.stat().st_size // 2)
    edit_info(root, total_episodes=9)


@pytest.mark.slow
def test_only_whole_episodes_of_an_unfinished_recording(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "dataset"
    unfinished(root)
    with raises_code(DatasetError, "table-truncated", r"chunk-001/file-000\.parquet"):
        check_input(make_config(tmp_path, input=root))
    lost = {
        index
        for index, episode in enumerate(read_dataset(SMALL / "v30_multifile").episodes)
        if episode.table_path.parts[-2] == "chunk-001"
    }
    assert 0 < len(lost) < 8
    config = make_config(tmp_path, input=root, only_whole_episodes=True)
    left_out = check_input(config)
    assert left_out == {(root, index) for index in lost}
    assert str(root) in caplog.text  # with the episodes
    whole = convert(make_config(tmp_path, input=SMALL / "v30_multifile"), tmp_path / "whole")
    used = convert(config, tmp_path / "used", left_out=left_out)
    assert "counts 9 episodes and" in caplog.text
    (lacking,) = describe_dataset(used).not_listed
    assert (lacking.dataset, lacking.episodes, lacking.frames) == (str(root), 1, 0)
    assert check(root).facts["not_listed"] == {"episodes": 1, "frames": 0}
    kept = [index for index in range(8) if index not in lost]
    assert [source.episode.index for source in used.plan.sources] == kept
    for path, index in zip(used.paths, kept, strict=True):
        with h5py.File(path) as ours, h5py.File(whole.paths[index]) as other:
            assert np.array_equal(ours["action"], other["action"])
            for camera in ours["observations/images"]:
                name = f"observations/images/{camera}"
                assert np.array_equal(ours[name], other[name])


def test_only_whole_episodes_leaves_out_what_one_file_breaks(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", root)
    (root / VIDEO).write_bytes(b"")
    config = make_config(tmp_path, input=root, only_whole_episodes=True, max_episodes=2)
    left_out = check_input(config)
    assert left_out == {(root, 1)}
    plan = make_plan(config, tmp_path, left_out)
    assert [source.episode.index for source in plan.sources] == [0, 2]


@pytest.mark.slow
def test_what_was_left_out_before_is_not_decoded_again(tmp_path: Path, job: RunJob) -> None:
    """Neither by a check that knows, nor by a run that is finished."""
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_av1", root)
    damaged_in_the_middle(root)
    config = make_config(tmp_path / "output", input=root, only_whole_episodes=True)
    assert check_input(config, NOTHING) == NOTHING  # only decoding finds it
    flags = {"input": root, "only_whole_episodes": True, "num_epochs": 1}
    ended = job(**flags)
    assert ended.code == 0, ended.err
    digest = input_digest(config)
    assert noted_left_out(config, digest) == frozenset({(root, 1)})
    (tmp_path / "output/manifest.json").unlink()
    again = job(**flags)
    assert again.code == 0, again.err
    assert str(root) not in again.err  # it was not checked at all
    (root / "meta/info.json").write_text((root / "meta/info.json").read_text() + " ")
    assert noted_left_out(config, input_digest(config)) is None
    assert str(root) in job(**flags).err


def test_only_whole_episodes_does_not_excuse_the_metadata(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", root)
    edit_info(root, fps=0)
    with raises_code(DatasetError, "fps"):
        check_input(make_config(tmp_path, input=root, only_whole_episodes=True))


def test_a_line_may_hold_any_text(tmp_path: Path) -> None:
    """U+2028 ends a line for Python, not for JSON."""
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", root)
    path = root / "meta/episodes.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["tasks"] = ["pick\u2028place\x85"]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert not check(root, FLAGS).errors


def test_a_problem_of_a_shared_file_is_of_all_its_episodes(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v30_h264", root)
    path = next((root / "videos" / WRIST).rglob("*.mp4"))
    path.write_bytes(path.read_bytes()[:40] + bytes(5000))
    (found,) = check(root, FLAGS).errors
    assert (found.where, found.episode) == (str(path), None)
    with raises_code(DatasetError, found.code):  # none is left
        check_input(make_config(tmp_path, input=root, only_whole_episodes=True))


def test_a_cut_video_costs_only_the_episodes_that_are_cut(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v30_h264", root)
    path = next((root / "videos" / WRIST).rglob("*.mp4"))
    encode(path, range(62), movflags="faststart")  # the header in front, as a download is cut off
    assert not check(root, FLAGS).errors
    cut(path, int(path.stat().st_size * 0.7))
    report = check(root, FLAGS)
    lost = {finding.episode for finding in report.errors if finding.code == "video-truncated"}
    assert lost
    assert lost < {0, 1, 2, 3}
    config = make_config(tmp_path, input=root, only_whole_episodes=True)
    assert check_input(config) == {(root, index) for index in lost}


def test_numbers_of_episodes_do_not_move_when_some_are_lost(tmp_path: Path) -> None:
    """--episodes counts on from dataset to dataset, by what the first one says it has."""
    first = tmp_path / "a"
    shutil.copytree(SMALL / "v30_multifile", first)
    lists = sorted((first / "meta/episodes").rglob("*.parquet"))
    cut(lists[-1], lists[-1].stat().st_size // 2)
    shutil.copytree(SMALL / "v30_multifile", tmp_path / "b")
    config = make_config(
        tmp_path / "out", input=tmp_path, only_whole_episodes=True, episodes="8:10"
    )
    plan = make_plan(config, tmp_path / "out", check_input(config))
    assert [(s.dataset.root.name, s.episode.index) for s in plan.sources] == [("b", 0), ("b", 1)]


def test_episodes_that_are_not_used_are_still_known(tmp_path: Path) -> None:
    report = check(SMALL / "v30_h264", FLAGS, only=frozenset({0}))
    assert "table-extra" not in codes(report)


@pytest.mark.parametrize("where", ["| true", ">/dev/full", ">&-"])
def test_a_report_that_cannot_be_printed_is_4(where: str) -> None:
    line = f"{sys.executable} -m convert.check {SMALL / 'v30_h264'} --json {where}"
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        env=command_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert (done.stderr.count("\n"), done.stderr[:7]) == (1, "error: ")
    assert done.returncode == 4
