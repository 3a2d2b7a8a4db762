"""An output folder belongs to many runs, one after another and at the same time."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from act.policies.contract_file import read_contract
from convert.episode_folder import converted_once
from convert.flags import RunConversionFlags
from convert.input import convert_input, plan_input, remove_converted
from job import lock
from job.command import run_recorded
from job.errors import DatasetError, Interrupted, OutputError, UsageError
from job.lock import in_turn, only_job
from job.manifest import Manifest
from job.whole_files import sha256
from job.workers import Workers
from tests.support.commands import (
    ended,
    make_config,
    run_job,
    run_module,
    start_job,
)
from tests.support.errors import raises_code
from tests.support.files import snapshot
from tests.support.jobs import Job
from tests.support.paths import ROOT, SMALL
from tests.support.processes import wait_for
from tests.support.schema import CONTRACT_VALIDATOR, VALIDATOR
from tests.support.states import LENGTHS, write_states

SMALL_JOB: dict[str, Any] = {"num_epochs": 1, "batch_size": 1}


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def assert_contract(folder: Path) -> None:
    """The run's manifest and contract are there, and of its checkpoints."""
    manifest = manifest_of(folder)
    VALIDATOR.validate(manifest)
    assert manifest["policy"] is not None
    CONTRACT_VALIDATOR.validate(json.loads((folder / "policy.json").read_text()))
    contract = read_contract(folder)
    assert contract.run_name == manifest["run_name"] == folder.name
    for path in folder.glob("policy_*.ckpt"):
        assert sha256(path) in contract.checkpoints[path.name]


@pytest.mark.slow
def test_runs_at_the_same_time_leave_each_other_alone(tmp_path: Path) -> None:
    """One that trains for long, and what others do in its output meanwhile."""
    runs = tmp_path / "checkpoints"
    quiet = (subprocess.DEVNULL, subprocess.PIPE)
    blind: dict[str, Any] = {"camera_keys": "none", "backbone_weights": None}
    long: dict[str, Any] = {
        "input": SMALL / "v21_h264",
        "num_epochs": 100000,
        "keep_converted_hdf5": True,
        **blind,
    }
    first = start_job(tmp_path, streams=quiet, run_name="first", **long)
    wait_for(lambda: first.poll() is not None or (runs / "first/policy_best.ckpt").exists())
    assert first.poll() is None, first.communicate()
    assert_contract(runs / "first")  # while it lasts
    episodes = snapshot(tmp_path / "converted_hdf5/first")

    twice = run_job(tmp_path, run_name="first", **long)
    assert (twice.code, len(twice.errors)) == (75, 1)
    assert str(runs / "first") in twice.errors[0]
    wrong = {"camera_keys": "observation.images.frnt", "backbone_weights": "none"}
    misspelt = run_job(tmp_path, run_name="misspelt", **long | wrong)
    assert misspelt.code == 3
    alone = run_module("convert", SMALL / "v21_h264", tmp_path, output=tmp_path)
    assert alone.code == 4  # a scheduler that tries again would find it there for hours
    assert "'first'" in alone.errors[0]
    assert manifest_of(tmp_path)["run_name"] == "first"

    other = run_job(tmp_path, run_name="other", input=SMALL / "v30_hevc", **blind, **SMALL_JOB)
    assert other.code == 0, other.err
    assert_contract(runs / "other")
    assert snapshot(tmp_path / "converted_hdf5/first") == episodes
    assert sorted(path.name for path in (tmp_path / "converted_hdf5").iterdir()) == ["first"]
    assert manifest_of(tmp_path) == other.manifest
    assert other.manifest["run_name"] == "other"
    for artifact in other.manifest["artifacts"]:
        assert sha256(tmp_path / artifact["path"]) == artifact["sha256"]
    for artifact in manifest_of(runs / "other")["artifacts"]:
        assert sha256(runs / "other" / artifact["path"]) == artifact["sha256"]

    first.send_signal(signal.SIGTERM)
    assert ended(first, tmp_path).code == 75
    assert manifest_of(runs / "first")["status"] == "interrupted"
    assert manifest_of(tmp_path) == other.manifest  # of the job that started last
    assert_contract(runs / "first")
    killed = start_job(tmp_path, streams=quiet, run_name="first", **long)
    wait_for(lambda: manifest_of(runs / "first")["status"] == "running")
    killed.kill()
    killed.communicate()
    assert_contract(runs / "first")  # before this job knew what is in it


@pytest.fixture
def states(tmp_path: Path) -> dict[str, Any]:
    """The flags of a job on a dataset without cameras, the cheapest there is."""
    source = write_states(tmp_path / "states", env_state=False)
    flags = {"camera_keys": "none", "backbone_weights": None, "keep_converted_hdf5": True}
    return {"input": source, **flags, **SMALL_JOB}


@contextlib.contextmanager
def converting(output: Path, **flags: Any) -> Iterator[None]:
    """Be another run of the output that converts what jobs with these flags convert."""
    config = make_config(output, **flags).part(RunConversionFlags)
    with Workers() as pool:
        plan = plan_input(config, pool).planned.plan
    with converted_once(output / "converted_hdf5", plan):
        yield


@pytest.mark.slow
def test_two_jobs_at_the_same_time(tmp_path: Path, states: dict[str, Any]) -> None:
    """They wait for one conversion, so both train and end at the same time.

    Whenever the manifest of the output is read it is that of one of them, and whole.
    """
    output, names = tmp_path / "output", ("one", "two")
    folders = [output / "checkpoints" / name for name in names]
    places = (output, *folders)
    with converting(output, **states):
        jobs = [start_job(output, run_name=name, **states) for name in names]
        wait_for(lambda: all(map(has_begun, places)) or any(job.poll() for job in jobs))

    def have_ended() -> bool:
        for folder in places:
            assert manifest_of(folder)["run_name"] in names
        return all(job.poll() is not None for job in jobs)

    wait_for(have_ended)
    for job in jobs:
        done = ended(job, output)
        assert done.code == 0, done.err
    for folder in folders:
        assert_contract(folder)
        assert manifest_of(folder)["status"] == "completed"
    of_output = manifest_of(output)
    VALIDATOR.validate(of_output)
    own = manifest_of(output / "checkpoints" / of_output["run_name"])
    for artifacts in (of_output.pop("artifacts"), own.pop("artifacts")):
        assert {"policy_best.ckpt", "policy_last.ckpt"} <= {
            Path(artifact["path"]).name for artifact in artifacts
        }
    for folder, manifest in ((output, of_output), (output / "checkpoints" / own["run_name"], own)):
        policy = manifest["policy"]
        assert sha256(folder / policy.pop("path")) == policy["sha256"]
    assert of_output == own
    for number in range(len(LENGTHS)):
        kept = [output / f"converted_hdf5/{name}/episode_{number}.hdf5" for name in names]
        assert kept[0].samefile(kept[1])  # converted once
    assert sha256(folders[0] / "policy_last.ckpt") == sha256(folders[1] / "policy_last.ckpt")


def has_begun(folder: Path) -> bool:
    return (folder / "manifest.json").exists()


@pytest.mark.slow
def test_two_jobs_of_one_name_at_the_same_time(tmp_path: Path, states: dict[str, Any]) -> None:
    """One trains; the other ends at once, before the first can have ended."""
    output = tmp_path / "output"
    with converting(output, **states):
        jobs = [start_job(output, run_name="same", **states) for _ in range(2)]
        wait_for(lambda: any(job.poll() is not None for job in jobs))
    first, second = sorted((ended(job, output) for job in jobs), key=lambda done: done.code)
    assert (first.code, second.code) == (0, 75), first.err + second.err
    assert first.errors == []
    (error,) = second.errors
    assert str(output / "checkpoints/same") in error
    assert_contract(output / "checkpoints/same")
    for folder in (output, output / "checkpoints/same"):
        assert manifest_of(folder)["status"] == "completed"
        VALIDATOR.validate(manifest_of(folder))


@pytest.fixture
def converted(tmp_path: Path) -> Iterator[Callable[..., RunConversionFlags]]:
    """Do the conversion of a run of the output `tmp_path`, without its training."""

    def convert(run_name: str, **flags: Any) -> RunConversionFlags:
        given = {"input": SMALL / "v21_h264", "run_name": run_name} | flags
        config = make_config(tmp_path, **given).part(RunConversionFlags)
        manifest = Manifest(config.run_folder / "manifest.json", config.resolved())
        convert_input(config, plan_input(config, pool), manifest, pool)
        return config

    with Workers() as pool:
        yield convert


def test_the_last_run_that_uses_shared_episodes_removes_them(
    tmp_path: Path, converted: Callable[..., RunConversionFlags]
) -> None:
    folder = tmp_path / "converted_hdf5"
    runs = {name: converted(name) for name in ("a", "b")}
    smaller = converted("smaller", image_size="48x64")
    first = [folder / name / "episode_0.hdf5" for name in ("a", "b", "smaller")]
    assert first[0].samefile(first[1])
    assert not first[0].samefile(first[2])
    remove_converted(runs["a"])
    assert sorted(path.name for path in folder.iterdir()) == ["b", "smaller"]
    assert len(list((folder / "b").iterdir())) == 4
    assert first[1].stat().st_nlink == 1
    remove_converted(runs["b"])
    remove_converted(smaller)
    assert not folder.exists()


def test_kept_episodes_of_another_run_stay(
    tmp_path: Path, converted: Callable[..., RunConversionFlags]
) -> None:
    folder = tmp_path / "converted_hdf5"
    converted("kept", keep_converted_hdf5=True)
    before = snapshot(folder / "kept")
    same, other = converted("same"), converted("other", max_episodes=2)
    for run in (same, other):
        remove_converted(run)
    assert snapshot(folder / "kept") == before
    assert [path.name for path in folder.iterdir()] == ["kept"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
def test_a_run_whose_folder_cannot_have_links_converts_for_itself(
    tmp_path: Path, converted: Callable[..., RunConversionFlags]
) -> None:
    first, folder = converted("first"), tmp_path / "converted_hdf5/apart"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True)
    try:
        converted("apart", keep_converted_hdf5=True)
        names = {path.name for path in folder.iterdir()}
        assert names == {f"episode_{number}.hdf5" for number in range(4)}
        assert {path.stat().st_nlink for path in folder.iterdir()} == {1}
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    remove_converted(first)


def test_episodes_of_a_version_with_one_folder_for_all_are_used_and_removed(
    tmp_path: Path, converted: Callable[..., RunConversionFlags]
) -> None:
    run = converted("test")
    folder = tmp_path / "converted_hdf5"
    paths = [path.rename(folder / path.name) for path in sorted((folder / "test").iterdir())]
    inodes = [path.stat().st_ino for path in paths]
    noted = run.run_folder / ".temporary_hdf5.json"
    noted.rename(noted.with_name(".temporary_episodes.json"))
    converted("test")
    assert [path.stat().st_ino for path in sorted((folder / "test").iterdir())] == inodes
    remove_converted(run)
    assert not folder.exists()


_HOLDS = """
import sys, time
from pathlib import Path
from job.lock import in_turn
with in_turn(Path(sys.argv[1]), "waiting"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_who_waits_for_a_conversion_goes_on_when_its_job_is_killed(tmp_path: Path) -> None:
    (tmp_path / "holds.py").write_text(_HOLDS)
    held = tmp_path / "held"
    words, environment = [tmp_path / "holds.py", held], {"PYTHONPATH": str(ROOT)}
    with Job(words, environment, subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with Job(words, environment, subprocess.PIPE) as second:
            assert second.stdout is not None
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(1)
            first.kill()
            assert second.stdout.readline() == "held\n"
            second.kill()
    with in_turn(held, "waiting"):
        assert held.is_dir()
    assert not held.exists()


def test_jobs_of_another_kind_are_told_so_with_a_code_that_is_not_tried_again(
    tmp_path: Path,
) -> None:
    with only_job(tmp_path), raises_code(OutputError, "output-in-use"), only_job(tmp_path, "run"):
        pass
    with only_job(tmp_path, "run"), only_job(tmp_path / "checkpoints/a"):
        with raises_code(OutputError, "output-in-use", "'a'"), only_job(tmp_path):
            pass
        with raises_code(Interrupted, "run-in-use"), only_job(tmp_path / "checkpoints/a"):
            pass
    with only_job(tmp_path, "shard"), raises_code(Interrupted, "run-in-use"), only_job(tmp_path):
        pass  # a conversion like it, which ends
    with only_job(tmp_path), raises_code(Interrupted, "run-in-use"), only_job(tmp_path, "shard"):
        pass


def run_manifest(output: Path, name: str) -> Manifest:
    own, of_output = output / "checkpoints" / name / "manifest.json", output / "manifest.json"
    return Manifest(own, {"run_name": name}, of_output=of_output)


def test_the_manifest_of_the_output_is_that_of_the_job_that_started_last(tmp_path: Path) -> None:
    one, two = run_manifest(tmp_path, "one"), run_manifest(tmp_path, "two")
    one.write()
    assert manifest_of(tmp_path)["run_name"] == "one"
    two.write()
    one.fail(DatasetError("broken", code="changed"))
    assert manifest_of(tmp_path)["run_name"] == "two"
    assert manifest_of(tmp_path / "checkpoints/one")["status"] == "failed"
    (tmp_path / "manifest.json").unlink()
    two.fail(DatasetError("broken", code="changed"))
    assert manifest_of(tmp_path)["run_name"] == "two"


@pytest.mark.parametrize("begins", [False, True])
def test_a_refused_job_puts_back_no_manifest_but_its_own(tmp_path: Path, begins: bool) -> None:
    """Another job may have begun since."""
    earlier, later = run_manifest(tmp_path, "run"), run_manifest(tmp_path, "later")
    earlier.write()
    before = (tmp_path / "checkpoints/run/manifest.json").read_bytes()

    def refused(manifest: Manifest) -> None:
        if begins:
            manifest.write()
        later.write()
        raise UsageError("another dataset", code="run-differs")

    assert run_recorded(run_manifest(tmp_path, "run"), refused) == 2
    assert (tmp_path / "checkpoints/run/manifest.json").read_bytes() == before
    assert manifest_of(tmp_path)["run_name"] == "later"


@pytest.mark.parametrize("begins", [False, True])
def test_a_new_run_of_a_wrong_command_leaves_no_folder(tmp_path: Path, begins: bool) -> None:
    """The output's manifest says why."""
    own = tmp_path / "checkpoints/run"

    def refused(manifest: Manifest) -> None:
        if begins:
            manifest.write()
        raise UsageError("no such device", code="device-missing")

    status = own / "status.json"
    of_output = tmp_path / "manifest.json"
    new = Manifest(own / "manifest.json", {}, of_output=of_output, status=status)
    assert run_recorded(new, refused) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert manifest_of(tmp_path)["code"] == "device-missing"


@pytest.mark.parametrize("name", ["notes.md", "manifest.json"])
def test_a_folder_with_files_of_others_stays(tmp_path: Path, name: str) -> None:
    own = tmp_path / "checkpoints/run"
    own.mkdir(parents=True)
    (own / name).write_text("mine")

    def refused(_: Manifest) -> None:
        raise UsageError("no such device", code="device-missing")

    assert run_recorded(run_manifest(tmp_path, "run"), refused) == 2
    assert (own / name).read_text() == "mine"


def test_an_output_with_a_foreign_file_gets_no_folder_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("mine")
    assert run_recorded(run_manifest(tmp_path, "run"), lambda manifest: manifest.write()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_folder_that_was_removed_before_it_was_locked_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a refused job of the same name ends between the two."""
    folder = tmp_path / "run"
    removed: list[Path] = []

    def opened(path: Path) -> int:
        held = open_folder(path)
        if not removed:
            removed.append(path)
            path.rmdir()
        return held

    open_folder = lock._opened
    monkeypatch.setattr(lock, "_opened", opened)
    with lock.only_job(folder):
        assert folder.is_dir()
        with pytest.raises(Interrupted), lock.only_job(folder):
            pass
    assert removed == [folder]


def test_a_new_run_that_is_refused_says_so_in_its_own_folder(tmp_path: Path) -> None:
    run_manifest(tmp_path, "earlier").write()
    before = (tmp_path / "manifest.json").read_bytes()

    def refused(_: Manifest) -> None:
        raise DatasetError("no such camera", code="camera-unknown")

    assert run_recorded(run_manifest(tmp_path, "new"), refused) == 3
    assert manifest_of(tmp_path / "checkpoints/new")["code"] == "camera-unknown"
    assert (tmp_path / "manifest.json").read_bytes() == before
