"""What can happen to a job from outside, each with its outcome."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.small_job import check_result, finish, start
from tests.conftest import DATA, ROOT, SMALL, Ended

Job = Callable[..., Ended]
CLOCK = ROOT / "tests/chaos/jumping_clock.py"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")


@as_root
def test_a_read_only_output_is_4(tmp_path: Path, job: Job) -> None:
    output = tmp_path / "output"
    output.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(output)], check=True)
    try:
        ended = job(input=SMALL / "v30_h264", num_epochs=1)
    finally:
        subprocess.run(["umount", str(output)], check=True)
    assert ended.code == 4
    assert len(ended.errors) == 1
    assert "read-only" in ended.errors[0]


def test_an_input_that_disappears_while_converting_is_3(tmp_path: Path) -> None:
    root = Path(shutil.copytree(DATA / "aloha_sim_v21", tmp_path / "input"))
    output = tmp_path / "output"
    process = start(output, input=root, convert_workers=1)
    wait_for(lambda: bool(list(output.glob("converted_hdf5/*.hdf5"))))
    shutil.rmtree(root)
    assert finish(process, (3,), "the input is gone") == 3


def test_an_episode_that_is_cut_off_while_training_is_3(tmp_path: Path) -> None:
    episodes, process = training_on(tmp_path, num_epochs=100000)
    for path in episodes.iterdir():
        os.truncate(path, 2000)
    assert finish(process, (3,), "the episodes are cut off") == 3


def test_episodes_that_are_deleted_while_training_are_still_read(tmp_path: Path) -> None:
    """They are open: the run goes on to its end."""
    episodes, process = training_on(tmp_path, num_epochs=40)
    shutil.rmtree(episodes)
    assert finish(process, (0,), "the episodes are deleted") == 0


def training_on(tmp_path: Path, num_epochs: int) -> tuple[Path, "subprocess.Popen[str]"]:
    """A folder of episodes, and a job that has begun to train on them."""
    first, output = tmp_path / "first", tmp_path / "output"
    finish(start(first, num_epochs=1), (0,), "the conversion")
    episodes = first / "converted_hdf5"
    process = start(output, input=episodes, num_epochs=num_epochs, keep_converted_hdf5=None)
    wait_for((output / "checkpoints/test/policy_best.ckpt").exists)
    return episodes, process


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path) -> None:
    finish(start(tmp_path / "output", str(CLOCK)), (0,), "a clock that jumps")
    check_result(tmp_path / "output")


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
