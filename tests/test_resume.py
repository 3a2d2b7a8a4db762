"""Going on after an interruption: the bytes of an uninterrupted run, and of this very run only."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from act.policies.dataset_section import dataset_section_of_files
from act.training.results import save_last_step
from act.training.run_folder import check_folder, claim_folder
from act.training.state import parse_state, read_state
from act.training.step import add_gradient
from job.errors import DivergedError, Interrupted, JobError, OutputError, UsageError
from job.lock import only_job
from job.whole_files import is_recorded, sha256
from tests.support.backbone import backbone_file
from tests.support.bomb import Bomb
from tests.support.commands import HANGS_S, Ended, run_job, start_job
from tests.support.errors import raises_code
from tests.support.files import snapshot
from tests.support.paths import ROOT, SAMPLES, SIGNALLED, SMALL
from tests.support.processes import children, is_alive, wait_for
from tests.support.training import NO_CAMERAS, Short, assert_same, losses

pytestmark = pytest.mark.slow

Job = Callable[..., Ended]
FLAGS: dict[str, Any] = {"input": SMALL / "v21_h264", "num_epochs": 5, "batch_size": 1}
FLAGS["image_size"] = "32x32"  # as nothing here depends on it


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run that nothing happened to."""
    output = tmp_path_factory.mktemp("undisturbed")
    assert run_job(output, **FLAGS).code == 0
    return output / "checkpoints/test"


def test_signals_at_any_moment_leave_the_bytes_of_an_undisturbed_run(
    tmp_path: Path, undisturbed: Path
) -> None:
    """Each step takes 0.15 s, as metrics.jsonl is written once a second only."""
    slow = {"PYTHONPATH": str(SIGNALLED), "SIGNAL_AT": "act.training.loop:begin_step"}
    slow |= {"SIGNAL_RANK": "0", "SIGNAL_CALL": "0", "SIGNAL_EACH_S": "0.15"}  # it sends none
    folder, seen = tmp_path / "checkpoints/test", set()

    def rows() -> int:
        return len(losses(folder)) if (folder / "metrics.jsonl").exists() else 0

    for attempt in range(30):
        process = start_job(tmp_path, environment=slow, streams=(subprocess.DEVNULL, None), **FLAGS)
        before = rows()
        wait_for(lambda: process.poll() is not None or rows() > before)  # noqa: B023  at once
        time.sleep(0.03 * attempt)  # another step of the epoch each time
        process.send_signal((signal.SIGTERM, signal.SIGUSR2)[attempt % 2])
        code = process.wait(timeout=HANGS_S)
        assert code in (0, 75)
        if code == 0:
            break
        state = parse_state(read_state(folder) or b"", folder)
        seen.add((state["progress"]["epoch"], state["progress"]["epoch_samples"]))
    assert len(seen) > 1
    assert_same(folder, undisturbed)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["training"]["continued_from_step"] > 0
    assert not (folder / "state.ckpt").exists()  # of use to nobody


def test_a_finished_run_is_not_run_again(job: Job, tmp_path: Path) -> None:
    weights = Path(shutil.copy(backbone_file(), tmp_path / "backbone.pth"))
    flags = FLAGS | {"backbone_weights": weights}
    first = job(**flags)
    assert first.code == 0, first.err
    weights.unlink()  # of no use to a finished run
    before = snapshot(first.output)
    again = job(**flags, num_workers=1, max_hours=1)
    assert again.code == 0, again.err
    assert str(first.output / "checkpoints/test") in again.out.splitlines()[-1]
    assert snapshot(first.output) == before
    more = Path(shutil.copytree(SMALL / "v21_h264", tmp_path / "more"))
    line = json.loads((more / "meta/episodes.jsonl").read_text().splitlines()[0])
    text = (more / "meta/episodes.jsonl").read_text().splitlines()
    text[0] = json.dumps(line | {"tasks": ["another"]})
    (more / "meta/episodes.jsonl").write_text("\n".join(text) + "\n")
    other = job(**flags | {"input": more})
    assert other.code == 2
    assert "4 episodes" in other.errors[0]
    assert snapshot(first.output) == before


def test_max_hours_end_a_run_that_is_then_resumed(
    job: Job, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once where they are a millisecond, and in its third step."""
    early = job(**FLAGS, max_hours=1e-3 / 3600)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SIGNALLED))
        patch.setenv("SIGNAL_AT", "act.training.step:update")
        patch.setenv("SIGNAL_CALL", "3")
        patch.setenv("SIGNAL_RANK", "0")
        patch.setenv("SIGNAL_NUMBER", "MAX_HOURS")
        patch.setenv("SIGNAL_SENT", str(tmp_path / "over"))
        late = job(**FLAGS, max_hours=99)
    for ended in (early, late):
        assert ended.code == 75, ended.err
        assert ended.errors[0].startswith("error: --max_hours are over")
    assert late.manifest["status"] == "interrupted"
    on = job(**FLAGS, max_hours=99)
    assert on.code == 0, on.err
    assert on.manifest["training"]["continued_from_step"] == 3
    assert_same(on.output / "checkpoints/test", undisturbed)


@pytest.fixture
def short(tmp_path: Path) -> Short:
    """Without cameras: what a folder and its files are does not depend on them."""
    return Short(tmp_path, **NO_CAMERAS)


@pytest.fixture
def with_images(tmp_path: Path) -> Short:
    return Short(tmp_path)


def test_a_changed_flag_is_refused_with_both_values(
    short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    short.interrupted(monkeypatch)
    with raises_code(UsageError, "run-differs") as refused:
        check_folder(short.config(learning_rate=1e-3, hidden_dim=64), short.folder)
    for text in ("--learning_rate was 5e-05, now 0.001", "--hidden_dim was 32, now 64"):
        assert text in str(refused.value)
    with raises_code(UsageError, "run-differs", "--sim .*True.*False"):
        check_folder(short.config(task_name="real"), short.folder)


def test_other_workers_and_devices_are_no_change(
    with_images: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_images.interrupted(monkeypatch)
    with_images.run(
        num_workers=1, processes=1, max_hours=9, keep_checkpoints=3, task_name="sim_other"
    )
    assert (with_images.folder / "policy_last.ckpt").exists()


def test_a_changed_dataset_is_refused(short: Short, monkeypatch: pytest.MonkeyPatch) -> None:
    short.interrupted(monkeypatch)
    short.paths = short.paths[:2]
    with raises_code(UsageError, "run-differs", "3 episodes .* 2 "):
        short.run()


def test_resume_never_wants_an_empty_folder(short: Short, monkeypatch: pytest.MonkeyPatch) -> None:
    config = short.config(resume="never")
    short.folder.mkdir()
    assert not check_folder(config, short.folder)
    short.interrupted(monkeypatch)
    before = snapshot(short.folder)
    with raises_code(UsageError, "run-differs", str(short.folder)):
        check_folder(config, short.folder)
    assert snapshot(short.folder) == before


@pytest.mark.parametrize("name", ["policy_best.ckpt", "dataset_stats.pkl", "state.ckpt"])
def test_files_of_others_are_left_alone(short: Short, name: str) -> None:
    short.folder.mkdir()
    (short.folder / name).write_bytes(b"of somebody else")
    with raises_code(UsageError, "run-differs", name):
        check_folder(short.config(), short.folder)
    (short.folder / name).rename(short.folder / "notes.txt")
    assert not check_folder(short.config(), short.folder)
    short.run()
    assert (short.folder / "notes.txt").read_bytes() == b"of somebody else"


def test_a_damaged_state_is_refused(short: Short, monkeypatch: pytest.MonkeyPatch) -> None:
    short.interrupted(monkeypatch)
    path = short.folder / "state.ckpt"
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:100] + b"x" + whole[101:], b""):
        path.write_bytes(content)
        with raises_code(OutputError, "checkpoint-unreadable", r"state\.ckpt"):
            short.run()
    path.write_bytes(whole)
    short.run()


def test_the_state_of_another_format_is_refused(short: Short) -> None:
    bomb = Bomb(short.tmp_path / "went_off")
    for value in ({"a": 1}, [1], torch.zeros(2), {"policy": bomb}):
        torch.save(value, short.tmp_path / "other")
        with raises_code(OutputError, "checkpoint-unreadable", r"state\.ckpt"):
            parse_state((short.tmp_path / "other").read_bytes(), short.folder)
    assert not (short.tmp_path / "went_off").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 7}',
        '{"format": 1, "flags": {}}',
        "[" * 200_000,
        '{"format": 1, "flags": {}, "dataset": {"lengths": [], "fingerprint": null}}',
    ],
)
def test_a_damaged_record_of_the_run_is_refused(short: Short, text: str) -> None:
    short.folder.mkdir()
    (short.folder / "run.json").write_text(text)
    with raises_code(UsageError, "run-differs", r"run\.json"):
        check_folder(short.config(), short.folder)


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("run.json", UsageError, "run-differs"),
        ("state.ckpt", OutputError, "checkpoint-unreadable"),
        ("files.jsonl", OutputError, "checkpoint-unreadable"),
    ],
)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_in_a_files_place_is_refused(
    short: Short,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: type[JobError],
    code: str,
    make: Any,
) -> None:
    short.interrupted(monkeypatch)
    (short.folder / name).unlink()
    make(short.folder / name)
    with raises_code(kind, code, name):
        short.run()


@pytest.mark.parametrize("content", ["", "[" * 200_000, "pipe"])
def test_what_is_no_manifest_is_left_alone(job: Job, tmp_path: Path, content: str) -> None:
    path = tmp_path / "output/manifest.json"
    path.parent.mkdir()
    if content == "pipe":
        os.mkfifo(path)
    else:
        path.write_text(content)
    ended = job(**FLAGS)
    assert ended.code == 2
    assert str(path) in ended.errors[0]
    assert path.is_fifo() if content == "pipe" else path.read_text() == content


def test_no_link_leads_writing_out_of_the_output(
    short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    short.interrupted(monkeypatch)
    elsewhere = short.tmp_path / "elsewhere"
    elsewhere.write_text("of somebody else")
    (short.folder / ".state.ckpt.partial").symlink_to(elsewhere)
    (short.folder / ".policy_last.ckpt.partial").symlink_to(elsewhere)
    short.run()
    assert elsewhere.read_text() == "of somebody else"
    other = short.tmp_path / "record"
    short.folder.rename(short.tmp_path / "done")
    short.interrupted(monkeypatch)
    (short.folder / "files.jsonl").rename(other)
    (short.folder / "files.jsonl").symlink_to(other)
    before = other.read_bytes()
    with raises_code(OutputError, "output-unwritable"):
        short.run()
    assert other.read_bytes() == before


def test_a_record_that_others_have_written_to_is_read(
    short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    short.interrupted(monkeypatch)
    record = short.folder / "files.jsonl"
    record.write_text("[" * 200_000 + "\n7\n[]\n" + record.read_text())
    assert read_state(short.folder) is not None
    short.run()
    assert (short.folder / "policy_last.ckpt").exists()


def test_every_file_is_recorded_before_it_gets_its_name(
    short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    short.interrupted(monkeypatch)
    unrecorded = {"metrics.jsonl", "files.jsonl", "run.json", "policy.json"}
    names = {path.name for path in short.folder.iterdir()} - unrecorded
    assert {"policy_best.ckpt", "state.ckpt", "dataset_stats.pkl"} <= names
    for name in names:
        digest = sha256(short.folder / name)
        assert is_recorded(short.folder / name, digest)
        assert not is_recorded(short.folder / name, digest[::-1])
    with (short.folder / "files.jsonl").open("a") as file:
        file.write('\n{"name": "hal')  # as a kill may leave it
    short.run()


def test_kills_between_record_and_name_leave_a_good_state(
    short: Short, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States that were recorded and never got their name do not make the one before bad."""
    short.interrupted(monkeypatch)
    for n in range(5):
        with (short.folder / "files.jsonl").open("a") as file:
            file.write("\n" + json.dumps({"name": "state.ckpt", "sha256": f"{n}" * 64}))
    short.run()


def test_the_state_is_written_beside_training_or_not(
    short: Short, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where memory is short it is written at once; it is the same state."""
    beside: list[bool] = []
    start = threading.Thread.start

    def noticed(thread: threading.Thread) -> None:
        beside.append(thread.name == "state")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noticed)
    for memory in (1 << 40, 0):
        monkeypatch.setattr("act.training.saver.free_memory_bytes", lambda memory=memory: memory)
        beside.clear()
        short.folder = tmp_path / str(memory)
        short.interrupted(monkeypatch)
        assert any(beside) == (memory > 0)
        short.run()
    for name in ("policy_last.ckpt", "policy_best.ckpt"):
        one, other = ((tmp_path / folder / name).read_bytes() for folder in (str(1 << 40), "0"))
        assert one == other


def test_one_job_at_a_time(tmp_path: Path) -> None:
    busy = raises_code(Interrupted, "run-in-use")
    with only_job(tmp_path), busy, only_job(tmp_path):
        pass
    with only_job(tmp_path, "run"), only_job(tmp_path, "run"):
        pass
    claimed = list(tmp_path.iterdir())
    assert not claimed


def test_a_second_job_of_the_same_run_leaves_the_first_alone(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints/test"
    (tmp_path / "manifest.json").write_text("{}")
    with only_job(tmp_path, "run"), only_job(folder):
        second = run_job(tmp_path, **FLAGS)
    assert second.code == 75
    assert str(folder) in second.errors[0]
    assert not list(folder.iterdir())
    assert (tmp_path / "manifest.json").read_text() == "{}"


STUCK = """
import hashlib, sys
from pathlib import Path
from job import signals
signals.install()
with signals.last_action(lambda in_time: Path(sys.argv[1]).write_text(str(in_time))):
    print("ready", flush=True)
    # no Python handler runs meanwhile, as in a long backward pass
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_a_job_that_is_stuck_is_ended(tmp_path: Path, signals: int) -> None:
    """One signal: in time to save, after a grace that is short here; a second one: at once."""
    word = tmp_path / "word"
    grace = {"PYTHONPATH": str(SIGNALLED), "SIGNAL_GRACE_S": "0.5"} if signals == 1 else {}
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, str(word)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=os.environ | grace,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGUSR1)
        if signals == 2:
            time.sleep(1.5)  # within a second they are one
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=HANGS_S) == 75
    assert word.read_text() == str(signals == 1)


def test_the_last_word_of_a_long_step_is_the_state_before_it(
    short: Short, monkeypatch: pytest.MonkeyPatch, undisturbed: Path
) -> None:
    """What the listener saves while the main thread computes is what a step boundary has."""
    seen: list[int] = []

    def in_the_middle(run: Any, batch: Any, part: int) -> Any:
        losses = add_gradient(run, batch, part)
        if run.progress.step == 3:
            save_last_step(run)
            seen.append(run.progress.step)
            raise KeyboardInterrupt  # the process is ended here
        return losses

    monkeypatch.setattr("act.training.loop.add_gradient", in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        short.run()
    monkeypatch.undo()
    assert seen == [3]
    assert parse_state(read_state(short.folder) or b"", short.folder)["progress"]["step"] == 3
    short.run()
    whole = short.folder
    short.folder = short.tmp_path / "straight"
    short.run()
    for name in ("policy_last.ckpt", "policy_best.ckpt"):
        assert (whole / name).read_bytes() == (short.folder / name).read_bytes()


@pytest.mark.parametrize(
    "flags",
    [
        {"early_stopping": 1, "learning_rate": 1e-9, "num_epochs": 9},
        {"accumulate": 2, "batch_size": 2, "lr_schedule": "cosine", "lr_warmup": 2, "kl_warmup": 4},
        {"jitter_hue": 0.1, "random_shift": 2, "camera_dropout": 0.3, "decoder_output": "last"},
        {"backbone_weights": "none"},
        {"camera_names": "none", "backbone_weights": None},
    ],
)
def test_every_kind_of_run_goes_on_to_the_same_bytes(
    with_images: Short, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any]
) -> None:
    with_images.interrupted(monkeypatch, **flags)
    with_images.run(**flags)
    went_on = with_images.folder
    with_images.folder = with_images.tmp_path / "straight"
    with_images.run(**flags)
    for name in ("policy_last.ckpt", "policy_best.ckpt"):
        assert (went_on / name).read_bytes() == (with_images.folder / name).read_bytes()
    assert losses(went_on) == losses(with_images.folder)


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    flags = FLAGS | {"input": SAMPLES[0], "convert_workers": 2}
    process = start_job(tmp_path, streams=(subprocess.DEVNULL, subprocess.DEVNULL), **flags)
    wait_for(lambda: any((tmp_path / "converted_hdf5").glob("*/.*.partial")))
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(is_alive, workers)))


def test_weights_that_diverged_are_not_gone_on_with(with_images: Short) -> None:
    """Its one step an epoch has finite losses: only the next validation shows what it did."""
    with raises_code(DivergedError, "diverged", "validation of epoch 1"):
        with_images.run(batch_size=3, learning_rate=1e30, lr_backbone=1e30)
    assert not (with_images.folder / "state.ckpt").exists()


def test_claim_is_of_the_first_dataset(short: Short) -> None:
    dataset = dataset_section_of_files(short.config(), short.paths)
    claim_folder(short.config(), short.folder, dataset)
    claim_folder(short.config(), short.folder, dataset)
    with raises_code(UsageError, "run-differs"):
        claim_folder(
            short.config(), short.folder, dataset.model_copy(update={"fingerprint": "b" * 64})
        )


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_running_out_of_memory_says_what_to_lower(
    with_images: Short, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr("act.training.loop.validate", fails)
    with raises_code(OutputError, "memory") as told:
        with_images.run()
    for text in ("batch 1, 2 cameras, ", "lower --batch_size, --image_size", "--data_cache none"):
        assert text in str(told.value)
    assert told.value.exit_code == 4
