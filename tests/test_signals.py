"""A signal in each phase of a job, on each of its processes: 75 in time, and nothing is lost."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, SMALL, Ended, arguments, command_environment
from tests.test_resume import assert_same

FLAGS: dict[str, Any] = {
    "input": SMALL / "v21_h264", "num_epochs": 2, "batch_size": 2, "state_interval_minutes": 1e-4,
}  # fmt: skip
TERM, INT, USR1, USR2 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run that nothing happened to."""
    output = tmp_path_factory.mktemp("undisturbed")
    assert run(output, FLAGS).code == 0
    return output / "checkpoints/test"


def run(output: Path, flags: dict[str, Any], **environment: str) -> Ended:
    done = subprocess.run(
        [sys.executable, "entrypoint.py", *arguments(output, **flags)],
        cwd=ROOT,
        env=command_environment() | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr, output)


def run_signalled(
    output: Path, flags: dict[str, Any], at: str, number: signal.Signals, rank: int = 0
) -> Ended:
    """Run the job with a signal where `at` is called; it must end within 20 s of that."""
    sent = output.with_name("signal_sent")
    sent.unlink(missing_ok=True)
    ended = run(
        output,
        flags,
        PYTHONPATH=str(ROOT / "tests/signalled"),
        SIGNAL_AT=at,
        SIGNAL_NUMBER=number.name,
        SIGNAL_RANK=str(rank),
        SIGNAL_SENT=str(sent),
    )
    assert sent.exists(), ended.err
    assert time.time() - sent.stat().st_mtime < 20
    assert "Traceback" not in ended.err
    return ended


# In the order of a run: each continues what the one before left.
PHASES = (
    ("act.command_line:parse", TERM),
    ("convert.check.gate:check_input", USR1),
    ("convert.convert:_convert_all", INT),
    ("act.setup:prepare", TERM),
    ("act.train:validate", USR2),
    ("act.checkpoint:Best.write_in_turn", INT),
    ("act.train:_add_gradient", TERM),
    ("act.state:Saver.save", USR1),
)


def test_a_signal_in_each_phase(tmp_path: Path, undisturbed: Path) -> None:
    output = tmp_path / "output"
    for at, number in PHASES:
        ended = run_signalled(output, FLAGS, at, number)
        assert ended.code == 75, (at, ended.err)
        assert ended.manifest["status"] == "interrupted"
        assert ended.manifest["reason"].startswith(f"{number.name} received"), at
    assert run(output, FLAGS).code == 0
    assert_same(output / "checkpoints/test", undisturbed)


def test_a_signal_while_the_last_files_are_written(tmp_path: Path, undisturbed: Path) -> None:
    """Nothing is left to interrupt: they are finished."""
    for at, number in (("act.train:_finish", TERM), ("act.manifest:Manifest.complete", USR2)):
        output = tmp_path / at.split(":")[1]
        ended = run_signalled(output, FLAGS, at, number)
        assert ended.code == 0, ended.err
        assert ended.manifest["status"] == "completed"
        assert_same(output / "checkpoints/test", undisturbed)
        assert not (output / "converted_hdf5").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_in_each_phase_on_each_process(tmp_path: Path, rank: int) -> None:
    flags = FLAGS | {"processes": 2}
    for at, number in (
        ("convert.input:convert_in_turn", TERM),
        ("act.train:validate", INT),
        ("act.train:_add_gradient", USR2),
    ):
        ended = run_signalled(tmp_path / "output", flags, at, number, rank)
        assert ended.code == 75, (at, ended.out + ended.err)
        assert ended.manifest["status"] == "interrupted"
