"""A signal in each phase of a job, on each of its processes: 75 in time, and nothing is lost.

Without cameras, as no phase depends on them: tests/test_job.py and tests/test_resume.py interrupt
conversions and trainings with images.
"""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from act.training.state import parse_state, read_state
from tests.chaos.small_job import check_files, check_result, finish, start
from tests.support.commands import HANGS_S, Ended, run_job
from tests.support.jobs import WHOLE_END, Process
from tests.support.paths import SIGNALLED, SMALL
from tests.support.processes import wait_for
from tests.support.training import NO_CAMERAS, assert_same

pytestmark = pytest.mark.slow

FLAGS: dict[str, Any] = {
    "input": SMALL / "v21_h264",
    "camera_keys": "none",
    "backbone_weights": None,
    "num_epochs": 2,
    "batch_size": 2,
    "state_interval_minutes": 1e-4,
}
TERM, INT, USR1, USR2 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run that nothing happened to."""
    output = tmp_path_factory.mktemp("undisturbed")
    assert run_job(output, **FLAGS).code == 0
    return output / "checkpoints/test"


def run_signalled(
    output: Path, flags: dict[str, Any], at: str, number: signal.Signals, rank: int = 0
) -> Ended:
    """Run the job with a signal where `at` is called, to its end."""
    sent = output.with_name("signal_sent")
    sent.unlink(missing_ok=True)
    environment = {
        "PYTHONPATH": str(SIGNALLED),
        "SIGNAL_AT": at,
        "SIGNAL_NUMBER": number.name,
        "SIGNAL_RANK": str(rank),
        "SIGNAL_SENT": str(sent),
    }
    if "processes" not in flags:
        environment |= WHOLE_END
    ended = run_job(output, environment=environment, **flags)
    assert sent.exists(), ended.err
    assert "Traceback" not in ended.err
    return ended


# In the order of a run: each continues what the one before left.
PHASES = (
    ("job.flags:flag", INT),  # called while modules are imported
    ("lerobot_to_act:parse", TERM),
    ("convert.check.gate:check_input", USR1),
    ("convert.episodes:_convert_all", INT),
    ("act.training.setup:prepare", TERM),
    ("act.training.loop:validate", USR2),
    ("act.training.best:Best.write_in_turn", INT),
    ("act.training.step:add_gradient", TERM),
    ("act.training.saver:Saver.save", USR1),
)


def test_a_signal_in_each_phase(tmp_path: Path, undisturbed: Path) -> None:
    output = tmp_path / "output"
    for at, number in PHASES:
        ended = run_signalled(output, FLAGS, at, number)
        assert ended.code == 75, (at, ended.err)
        assert ended.manifest["status"] == "interrupted"
        assert ended.manifest["reason"].startswith(f"{number.name} received"), at
        assert ended.errors == [f"error: {ended.manifest['reason']}"], at
    assert run_job(output, **FLAGS).code == 0
    assert_same(output / "checkpoints/test", undisturbed)


def test_a_signal_while_the_last_files_are_written(tmp_path: Path, undisturbed: Path) -> None:
    """Nothing is left to interrupt: they are finished."""
    for at, number in (
        ("act.training.results:write_results", TERM),
        ("job.manifest:Manifest.complete", USR2),
    ):
        output = tmp_path / at.split(":")[1]
        ended = run_signalled(output, FLAGS, at, number)
        assert ended.code == 0, ended.err
        assert ended.manifest["status"] == "completed"
        assert_same(output / "checkpoints/test", undisturbed)
        assert not (output / "converted_hdf5").exists()


@pytest.mark.parametrize("at", ["mark_finished", "remove_state"])
def test_a_kill_before_each_of_the_last_steps(tmp_path: Path, undisturbed: Path, at: str) -> None:
    """The run is finished when run.json says so, whatever else there is."""
    output = tmp_path / "output"
    folder = output / "checkpoints/test"
    killed = run_signalled(output, FLAGS, f"act.training.run_folder:{at}", signal.SIGKILL)
    assert killed.code == -signal.SIGKILL
    killed_manifest = killed.manifest
    assert killed_manifest["status"] == "completed"
    assert (folder / "state.ckpt").exists()
    marked = at == "remove_state"
    assert json.loads((folder / "run.json").read_text())["finished"] is marked
    again = run_job(output, **FLAGS)
    assert again.code == 0, again.err
    assert (again.manifest == killed_manifest) is marked  # nothing is run, and nothing written
    assert not (folder / "state.ckpt").exists()
    assert_same(folder, undisturbed)


def test_a_finished_run_of_an_older_version_is_not_run_again(
    tmp_path: Path, undisturbed: Path
) -> None:
    """Its run.json has no field for it."""
    output = tmp_path / "output"
    shutil.copytree(undisturbed.parents[1], output)
    which = output / "checkpoints/test/run.json"
    content = json.loads(which.read_text())
    assert content.pop("finished") is True
    which.write_text(json.dumps(content))
    before = (output / "manifest.json").read_bytes()
    again = run_job(output, **FLAGS)
    assert again.code == 0, again.err
    assert (output / "manifest.json").read_bytes() == before  # nothing is run, nothing written


# Each phase may take three of its ten steps. Without images, which only make its states larger:
# with them two processes train in tests/test_distributed.py, and one is signalled above.
PAIR = FLAGS | NO_CAMERAS | {"processes": 2, "num_epochs": 5}


@pytest.fixture(scope="module")
def undisturbed_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of two processes, whose sums round otherwise, but the same each time."""
    output = tmp_path_factory.mktemp("undisturbed_pair")
    assert run_job(output, **PAIR).code == 0
    return output / "checkpoints/test"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_in_each_phase_on_each_process(
    tmp_path: Path, undisturbed_pair: Path, rank: int
) -> None:
    output = tmp_path / "output"
    for at, number in (
        ("convert.input:convert_in_turn", TERM),
        ("act.training.setup:prepare", USR1),
        ("act.training.loop:validate", INT),
        ("act.training.step:add_gradient", USR2),
        ("act.training.saver:Saver.save", TERM),
    ):
        ended = run_signalled(output, PAIR, at, number, rank)
        assert ended.code == 75, (at, ended.out + ended.err)
        assert ended.manifest["status"] == "interrupted"
    ended = run_job(output, **PAIR)
    assert ended.code == 0, ended.err
    assert ended.manifest["training"]["continued_from_step"] > 0
    assert_same(output / "checkpoints/test", undisturbed_pair)


def stuck(output: Path) -> Process:
    """A job that is stuck in its fifth step, and has saved no state before."""
    at = output.with_name("stuck")
    environment = {
        "PYTHONPATH": str(SIGNALLED),
        "SIGNAL_AT": "act.training.step:add_gradient",
        "SIGNAL_CALL": "5",
        "SIGNAL_RANK": "0",
        "SIGNAL_SENT": str(at),
        "SIGNAL_STUCK_S": str(2 * HANGS_S),
    }
    process = start(output, environment, state_interval_minutes=30)
    wait_for(at.exists)
    assert read_state(output / "checkpoints/test") is None
    return process


def test_a_second_signal_ends_a_job_that_is_stuck_at_once(tmp_path: Path) -> None:
    output = tmp_path / "output"
    process = stuck(output)
    process.send_signal(TERM)
    time.sleep(1.5)  # within a second they are one
    process.send_signal(INT)
    finish(process, (75,), "a second signal")
    assert_ended_at_once(output)
    assert read_state(output / "checkpoints/test") is None  # there was no time for it
    finish(start(output), (0,), "after a second signal")
    check_result(output)


def test_a_job_that_is_stuck_in_a_step_saves_the_one_before(tmp_path: Path) -> None:
    """No state was due before: there is the listener's, or none."""
    output = tmp_path / "output"
    process = stuck(output)
    folder = output / "checkpoints/test"
    process.send_signal(TERM)
    finish(process, (75,), "a step that never ends")
    assert_ended_at_once(output)
    assert parse_state(read_state(folder) or b"", folder)["progress"]["step"] == 4
    finish(start(output), (0,), "after a step that never ended")
    check_result(output)


def assert_ended_at_once(output: Path) -> None:
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["status"], manifest["exit_code"]) == ("interrupted", 75)
    assert manifest["reason"].startswith("SIGTERM received, and ended at once")
    check_files(output)
