"""status.json: what a job is doing, while it does it, and how it ended."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from job.errors import OutputError
from job.manifest import Manifest
from job.sections.status import JobStatus, TrainingStatus
from job.status import StatusFile, end_lost
from tests.support.commands import HANGS_S, run_job, start_job
from tests.support.paths import SMALL
from tests.support.processes import wait_for
from tests.support.schema import STATUS_VALIDATOR
from tests.test_distributed import wait_while_running

JOB = {"run_name": "run", "attempt": "a", "started_at": "2026-01-01T00:00:00+00:00"}
READING = TrainingStatus(
    epoch=0,
    epochs=2,
    step=3,
    steps=10,
    samples=6,
    stepped_at=None,
    train=None,
    val=None,
    best_epoch=None,
    best_val_loss=None,
    lr=None,
    samples_per_second=None,
    seconds_left=None,
    state_at=None,
)


def read(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "status.json").read_text())
    STATUS_VALIDATOR.validate(content)
    return content


@pytest.mark.slow
def test_a_job_says_what_it_does_and_how_it_was_interrupted_and_done(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints/test"
    flags: dict[str, Any] = {"input": SMALL / "v21_h264", "num_epochs": 100000, "batch_size": 1}

    def has_stepped() -> bool:
        found = (folder / "status.json").exists() and read(folder)["training"]
        return bool(found and found["seconds_left"] and found["train"])

    with start_job(tmp_path, **flags) as process:
        wait_while_running(process, has_stepped)
        running = read(folder)
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANGS_S) == 75
    assert (running["status"], running["phase"], running["exit_code"]) == ("running", "train", None)
    training = running["training"]
    assert 0 < training["epoch"] < training["epochs"] == 100000
    assert training["samples"] == training["step"] >= 3 * training["epoch"]
    assert set(training["train"]) == set(training["val"]) == {"loss", "l1", "kl"}
    assert training["state_at"] is None
    ended = read(folder)
    assert (ended["status"], ended["exit_code"]) == ("interrupted", 75)
    assert ended["code"] == "interrupted"
    assert ended["training"]["step"] >= training["step"]
    assert ended["training"]["state_at"] >= ended["started_at"]
    assert ended["attempt"] == json.loads((folder / "manifest.json").read_text())["attempt"]


@pytest.mark.slow
def test_the_end_is_that_of_the_manifest(tmp_path: Path) -> None:
    done = run_job(tmp_path, input=SMALL / "v21_h264", num_epochs=1)
    assert done.code == 0, done.err
    found = read(tmp_path / "checkpoints/test")
    names = ("status", "exit_code", "code", "reason", "run_name", "attempt", "started_at")
    assert {name: found[name] for name in names} == {name: done.manifest[name] for name in names}
    assert found["training"]["epoch"] == found["training"]["epochs"] == 1
    assert found["training"]["seconds_left"] == 0
    before = (tmp_path / "checkpoints/test/status.json").read_bytes()
    other = run_job(tmp_path, input=SMALL / "v21_hevc", num_epochs=1)  # is refused: another dataset
    assert other.code == 2, other.err
    assert (tmp_path / "checkpoints/test/status.json").read_bytes() == before


def test_it_is_replaced_while_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.status._INTERVAL_S", 0.01)
    monkeypatch.setattr("job.status._SHARE", 1.0)
    path, steps = tmp_path / "status.json", [0]

    def reading() -> TrainingStatus:
        steps[0] += 1
        return READING.model_copy(update={"step": steps[0]})

    status = StatusFile(path, JOB)
    status.begin()
    status.enter("train", reading)
    first = path.stat().st_mtime_ns
    wait_for(lambda: steps[0] > 5)
    assert path.stat().st_mtime_ns > first
    status.settle()
    asked = steps[0]
    status.end("completed", 0, None, "done")
    assert steps[0] == asked
    assert read(tmp_path)["training"]["step"] == asked


def test_where_writing_takes_long_it_is_done_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 100.02, 200.0, 203.0, 300.0, 300.0])
    monkeypatch.setattr("job.status.time.monotonic", lambda: next(clock))
    status = StatusFile(tmp_path / "status.json", JOB)
    status.enter("train")
    status.enter("train")
    assert read(tmp_path)["interval_s"] == 20.0
    status.enter("train")
    assert read(tmp_path)["interval_s"] == 60.0  # a health probe waits no longer


def test_a_folder_that_refuses_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "status.json").mkdir()
    status = StatusFile(tmp_path / "status.json", JOB)
    status.begin()
    status.enter("train")
    status.end("completed", 0, None, "done")
    (warning,) = caplog.messages
    assert warning.startswith(f"status-unwritten: {tmp_path}/status.json: ")


def test_a_failure_is_there_too(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "manifest.json", {}, status=tmp_path / "status.json")
    manifest.write()
    manifest.fail(OutputError("the disk is full", code="output-unwritable"))
    found = read(tmp_path)
    assert (found["status"], found["exit_code"], found["code"]) == (
        "failed",
        4,
        "output-unwritable",
    )
    assert found["reason"] == "the disk is full"


def test_a_lost_process_is_reported_by_its_launcher(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    StatusFile(path, JOB).enter("convert")
    end_lost(path, "other", "interrupted", 75, "process-lost", "killed")
    assert read(tmp_path)["status"] == "running"
    end_lost(path, "a", "interrupted", 75, "process-lost", "killed")
    found = JobStatus.model_validate(read(tmp_path))
    assert (found.status, found.exit_code, found.phase) == ("interrupted", 75, "convert")
