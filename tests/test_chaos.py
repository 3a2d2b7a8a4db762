"""A short share of `make chaos`: the kit itself must work, and nothing may be lost."""

import os
from pathlib import Path

import pytest

from tests.chaos.disks import calls, count_calls, failing_calls, full_disks
from tests.chaos.endings import endings
from tests.chaos.inputs import inputs, mutated, try_case
from tests.chaos.kills import kills
from tests.chaos.places import lacking, rclone, weak
from tests.chaos.small_job import Lost, check_files, check_result, finish, start
from tests.support.weak_folder import needs_compiler

# In one process, as they share the undisturbed job; tests/test_file_systems.py has some that share
# the fork server of jobs with the weak folder.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chaos")]


def test_kills() -> None:
    found = list(kills(4))
    assert len(found) >= 5
    assert not any(found)


@needs_compiler
def test_kills_on_a_file_system_that_lacks_most_calls() -> None:
    found = list(kills(2, place=weak))
    assert len(found) >= 3
    assert not any(found)


@pytest.mark.skipif(bool(lacking("rclone")), reason=lacking("rclone"))
def test_kills_on_a_mounted_bucket() -> None:
    found = list(kills(2, place=rclone))
    assert len(found) >= 3
    assert not any(found)


def test_steps_that_end_about_the_grace() -> None:
    assert list(endings([-0.2, 0.2], processes=1)) == [None] * 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
def test_full_disks() -> None:
    assert list(full_disks([220, 60_000])) == [None, None]


def test_failing_calls() -> None:
    """In a worker: the last frame of all, an episode's name. In the job: a policy, the very end."""
    frames = [number for number, call in enumerate(calls(), 1) if call.startswith("worker pwrite")]
    last = [call for call in calls() if call.startswith("main unlink")][-1]
    name, end = (calls().index(call) + 1 for call in ("worker replace 2", last))
    assert list(failing_calls([frames[-1], name, count_calls() // 2, end])) == [None] * 4


def test_calls_of_every_process_are_counted() -> None:
    of_workers = {f"worker {kind}" for kind in ("pwrite", "fsync", "replace")}
    of_the_job = {f"main {kind}" for kind in ("write", "fsync", "replace", "unlink")}
    assert {call.rpartition(" ")[0] for call in calls()} == of_workers | of_the_job
    assert len(set(calls())) == count_calls()


def test_mutated_inputs() -> None:
    found = list(inputs(range(200)))
    assert len(found) == 200
    assert not [what for what in found if what]


def test_the_kit_notices_what_is_lost(tmp_path: Path) -> None:
    finish(start(tmp_path), (0,), "the job")
    check_result(tmp_path)
    best = tmp_path / "checkpoints/test/policy_best.ckpt"
    content = best.read_bytes()
    best.write_bytes(content[:-1] + b"x")
    with pytest.raises(Lost, match=r"policy_best\.ckpt: not what was recorded"):
        check_files(tmp_path)
    best.write_bytes(content)
    metrics = tmp_path / "checkpoints/test/metrics.jsonl"
    lines = metrics.read_text()
    metrics.write_text(lines.replace('"step": 3', '"step": 4'))
    with pytest.raises(Lost, match="not the losses"):
        check_result(tmp_path)
    metrics.write_text(lines)
    episode = tmp_path / "converted_hdf5/test/episode_1.hdf5"
    episode.write_bytes(episode.read_bytes() + b"x")
    with pytest.raises(Lost, match=r"episode_1\.hdf5: not the bytes"):
        check_files(tmp_path)


def test_a_case_is_the_same_each_time(tmp_path: Path) -> None:
    import random

    file = Path(__file__)
    assert mutated(random.Random(5), file) == mutated(random.Random(5), file)
    assert mutated(random.Random(5), file) != file.read_bytes()
    (tmp_path / "a").mkdir()
    try_case(1, tmp_path / "a")
