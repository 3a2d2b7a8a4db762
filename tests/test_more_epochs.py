"""A finished run is given more epochs: as if it had been longer, or a reason why not."""

from pathlib import Path
from typing import Any

import pytest

from act.training.run_folder import check_folder
from act.training.state import parse_state, read_state
from job.errors import OutputError, UsageError
from tests.support.commands import run_job
from tests.support.errors import raises_code
from tests.support.files import snapshot
from tests.support.paths import SMALL
from tests.support.training import NO_CAMERAS, Short, losses

pytestmark = pytest.mark.slow


@pytest.fixture
def short(tmp_path: Path) -> Short:
    """Without cameras: the job of the first test has some."""
    return Short(tmp_path, **NO_CAMERAS)


def assert_as_long(folder: Path, longer: Path) -> None:
    """The run has every file of one that was longer from the start, byte for byte."""
    own = {"policy.json", "manifest.json", "status.json"}
    own |= {"files.jsonl", "metrics.jsonl", "state.ckpt"}
    names = {path.name for path in longer.glob("[!.]*")} - own
    assert {"policy_best.ckpt", "policy_last.ckpt", "run.json", "train_val_loss_seed_0.png"} < names
    for name in names:
        assert (folder / name).read_bytes() == (longer / name).read_bytes(), name
    assert losses(folder) == losses(longer)


def test_a_finished_job_is_given_more_epochs(tmp_path: Path) -> None:
    """By the command line, twice; the state is kept as long as that is asked for."""
    flags: dict[str, Any] = {"input": SMALL / "v21_h264", "batch_size": 1, "lr_warmup": 2}
    flags["image_size"] = "32x32"
    folder = tmp_path / "more/checkpoints/test"
    first = run_job(tmp_path / "more", num_epochs=1, keep_state=True, **flags)
    assert first.code == 0, first.err
    assert parse_state(read_state(folder) or b"", folder)["progress"]["epoch"] == 1
    before = snapshot(tmp_path / "more")
    again = run_job(tmp_path / "more", num_epochs=1, **flags)  # finished, and so it stays
    assert (again.code, snapshot(tmp_path / "more")) == (0, before)
    more = run_job(tmp_path / "more", num_epochs=3, **flags)
    assert more.code == 0, more.err
    assert more.manifest["training"]["continued_from_step"] == 3
    assert more.manifest["training"]["epochs_done"] == 3
    assert not (folder / "state.ckpt").exists()
    longer = run_job(tmp_path / "longer", num_epochs=3, **flags)
    assert longer.code == 0, longer.err
    assert_as_long(folder, tmp_path / "longer/checkpoints/test")
    too_late = run_job(tmp_path / "more", num_epochs=4, **flags)
    assert too_late.code == 2
    assert "--keep_state" in too_late.errors[0]
    assert "--run_name" in too_late.errors[0]


def test_more_epochs_that_are_interrupted_are_resumed(
    short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill after the run has been made longer leaves a run of so many epochs."""
    short.finish(num_epochs=1, keep_state=True)
    assert not check_folder(short.config(num_epochs=3), short.folder)
    short.interrupted(monkeypatch, num_epochs=3)
    with raises_code(UsageError, "run-differs", "--num_epochs was 3, now 1"):
        check_folder(short.config(num_epochs=1), short.folder)
    short.finish(num_epochs=3)
    assert check_folder(short.config(num_epochs=3), short.folder)
    went_on = short.folder
    short.folder = short.tmp_path / "straight"
    short.finish(num_epochs=3)
    assert_as_long(went_on, short.folder)


def test_a_run_that_stopped_early_is_done_with_more_epochs_too(short: Short) -> None:
    flags = {"early_stopping": 1, "learning_rate": 1e-9}
    short.finish(num_epochs=5, keep_state=True, **flags)
    last = (short.folder / "policy_last.ckpt").read_bytes()
    assert len(losses(short.folder)) < 5
    short.finish(num_epochs=9, **flags)
    assert (short.folder / "policy_last.ckpt").read_bytes() == last


def test_what_would_not_be_as_if_it_had_been_longer_takes_a_new_run(short: Short) -> None:
    short.finish(num_epochs=2, keep_state=True)
    before = snapshot(short.folder)
    for then, reason in (
        ({"num_epochs": 1}, "--num_epochs was 2, now 1"),
        (
            {"num_epochs": 3, "learning_rate": 1e-3},
            "num_epochs was 2, now 3; --learning_rate was 5e-05, now 0.001",
        ),
    ):
        with raises_code(UsageError, "run-differs", reason):
            check_folder(short.config(**then), short.folder)
    assert snapshot(short.folder) == before
    assert not check_folder(short.config(num_epochs=3), short.folder)
    state = short.folder / "state.ckpt"
    state.write_bytes(state.read_bytes()[:-1])
    with raises_code(OutputError, "checkpoint-unreadable", r"state\.ckpt"):
        check_folder(short.config(num_epochs=3), short.folder)
    assert check_folder(short.config(num_epochs=2), short.folder)  # as finished as it is
    state.unlink()
    with raises_code(UsageError, "run-differs", r"not kept \(--keep_state\).* take a new run"):
        check_folder(short.config(num_epochs=3), short.folder)


def test_a_learning_rate_that_ends_with_the_run_takes_a_new_run(short: Short) -> None:
    flags = {"lr_schedule": "cosine", "keep_state": True}
    short.finish(num_epochs=1, **flags)
    with raises_code(UsageError, "run-differs", r"--lr_schedule cosine\).* take a new run"):
        check_folder(short.config(num_epochs=2, **flags), short.folder)


def test_an_unfinished_run_keeps_its_length(short: Short, monkeypatch: pytest.MonkeyPatch) -> None:
    short.interrupted(monkeypatch)
    with raises_code(UsageError, "run-differs", "--num_epochs was 3, now 4"):
        check_folder(short.config(num_epochs=4), short.folder)
