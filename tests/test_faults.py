"""What can happen to a job from outside, each with its outcome."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from episodes.writer import write_episode
from job.errors import OutputError
from job.whole_files import whole_path
from tests.chaos.jumping_clock import COMPILER, jumping_clock
from tests.chaos.small_job import check_result, finish, small_job, start
from tests.support.commands import HANGS_S, Ended, command_environment, imitate
from tests.support.episodes import write_episodes, write_official
from tests.support.errors import raises_code
from tests.support.jobs import OWN_PROCESSES, Job, Process
from tests.support.paths import DATA, ROOT, SMALL
from tests.support.processes import children, wait_for

pytestmark = pytest.mark.slow

RunJob = Callable[..., Ended]
# A job that nothing here needs images of, in a third of the time
NO_CAMERAS = {"camera_keys": "none", "backbone_weights": None}
JUMPS_DAYS = {0, 40, -3, 0.5, -400}  # of tests/chaos/jumping_clock.c
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")


@as_root
def test_a_read_only_output_is_4(tmp_path: Path, job: RunJob) -> None:
    output = tmp_path / "output"
    output.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(output)], check=True)
    try:
        ended = job(input=SMALL / "v30_h264", num_epochs=1)
    finally:
        subprocess.run(["umount", str(output)], check=True)
    assert ended.code == 4
    assert len(ended.errors) == 1
    assert str(output) in ended.errors[0]


@as_root
@pytest.mark.parametrize("quality", [None, 35, 60])
@pytest.mark.parametrize("size_kb", [4, 40, 90, 260])
def test_a_disk_that_fills_within_an_episode_is_4(
    tmp_path: Path, size_kb: int, quality: int | None
) -> None:
    """HDF5 would end the process there, or fail to close without a reason."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-o", f"size={size_kb}k", "tmpfs"]
    subprocess.run(["mount", "-t", "tmpfs", *options, str(disk)], check=True)
    vectors = {name: np.zeros((64, 14), np.float32) for name in ("action", "qpos", "qvel")}
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    path = disk / "episode_0.hdf5"
    try:
        with (
            raises_code(OutputError, "output-unwritable"),
            whole_path(path) as partial,
            write_episode(partial, vectors, {"top": (64, 96, 128)}, {"sim": True}, quality) as to,
        ):
            for ts in range(64):
                to.write_frame("top", ts, frame)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_input_that_changes_while_converting_is_3(tmp_path: Path) -> None:
    """What was converted is of the files before and after, and of neither."""
    root = Path(shutil.copytree(DATA / "aloha_sim_v21", tmp_path / "input"))
    output = tmp_path / "output"
    process = start(output, input=root, convert_workers=1, image_size=None)
    wait_for(lambda: bool(list(output.glob("converted_hdf5/*/*.hdf5"))))
    table = min((root / "data").rglob("*.parquet"))
    pq.write_table(pq.read_table(table), table, compression="gzip")  # as good as before
    ended_with(process, 3)
    assert manifest_of(output)["code"] == "changed"


# What a crash inside libhdf5 or FFmpeg is to the process that calls it.
_CRASH = """
import av, h5py, os, signal
def crashing(opened):
    def crash(*args, **kwargs):
        paths = [str(arg) for arg in args if isinstance(arg, str | os.PathLike)]
        if any(path.endswith(os.environ["CRASHES"]) for path in paths):
            os.kill(os.getpid(), signal.SIGSEGV)
        return opened(*args, **kwargs)
    return crash
av.open = crashing(av.open)
h5py.File.__init__ = crashing(h5py.File.__init__)
"""


@pytest.fixture
def crash_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From now on every process of a command crashes when it opens a file of that name."""

    def crash(name: str) -> None:
        (tmp_path / "sitecustomize.py").write_text(_CRASH)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("CRASHES", name)

    return crash


def named_in_one_line(ended: Ended, name: str) -> bool:
    assert ended.code == 3, ended.err
    return len(ended.errors) == 1 and name in ended.errors[0]


def test_an_episode_file_that_crashes_hdf5_is_named(
    tmp_path: Path, job: RunJob, crash_over: Callable[[str], None]
) -> None:
    """Also by a run that is finished, and by upstream's command."""
    write_official(tmp_path / "episodes", [5, 6])
    flags = {"input": tmp_path / "episodes", "num_epochs": 1}
    assert job(**flags).code == 0
    crash_over("episode_0.hdf5")
    assert named_in_one_line(job(**flags), "episode_0.hdf5")
    assert named_in_one_line(job(**flags, run_name="other"), "episode_0.hdf5")
    assert named_in_one_line(imitate(tmp_path), "episode_0.hdf5")


def test_a_video_that_crashes_its_decoder_is_named_by_a_finished_run(
    job: RunJob, crash_over: Callable[[str], None]
) -> None:
    flags = {"input": SMALL / "v30_h264", "num_epochs": 1}
    assert job(**flags).code == 0
    crash_over("file-000.mp4")
    assert named_in_one_line(job(**flags), "file-000.mp4")


def test_a_run_removes_no_episodes_but_those_that_it_wrote(tmp_path: Path, job: RunJob) -> None:
    flags = {"input": SMALL / "v21_h264", "num_epochs": 1, **NO_CAMERAS}
    assert job(**flags, keep_converted_hdf5=True).code == 0
    episodes = tmp_path / "output/converted_hdf5/test"
    (episodes / "episode_3.hdf5").unlink()  # the other run writes this one
    ended = job(**flags, run_name="other")
    assert ended.code == 0, ended.err
    assert sorted(path.name for path in episodes.iterdir()) == [
        f"episode_{number}.hdf5" for number in range(3)
    ]


# What a kill is that comes when the run is finished and its episodes are about to go.
_KILL = """
import os, pathlib, signal
unlink = pathlib.Path.unlink
def kill(self, *args, **kwargs):
    if self.name == "episode_0.hdf5":
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(self, *args, **kwargs)
pathlib.Path.unlink = kill
"""


def test_a_finished_run_removes_what_a_kill_left(
    tmp_path: Path, job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_KILL)
    flags = {"input": SMALL / "v21_h264", "num_epochs": 1, **NO_CAMERAS}
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        assert job(**flags).code == -signal.SIGKILL
    episodes = tmp_path / "output/converted_hdf5/test"
    assert len(list(episodes.iterdir())) == 4
    assert job(**flags, keep_converted_hdf5=True).code == 0
    assert len(list(episodes.iterdir())) == 4
    again = job(**flags)
    assert again.code == 0, again.err
    assert not episodes.exists()


@as_root
def test_episodes_that_cannot_be_removed_are_a_warning(tmp_path: Path, job: RunJob) -> None:
    """The run is completed, as its manifest says by then."""
    episodes = tmp_path / "output/converted_hdf5/test"
    episodes.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(episodes)], check=True)
    try:
        ended = job(input=SMALL / "v21_h264", num_epochs=1, **NO_CAMERAS)
    finally:
        subprocess.run(["umount", str(episodes)], check=True)
    assert ended.code == 0, ended.err
    assert ended.manifest["status"] == "completed"
    assert [one for one in ended.manifest["warnings"] if str(episodes) in one]
    assert ended.errors == []


def ended_with(process: Process, code: int) -> None:
    error = process.communicate(timeout=HANGS_S)[1]
    assert process.returncode == code, error
    assert "Traceback" not in error


def manifest_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "manifest.json").read_text())


def test_another_dataset_is_refused_before_the_conversion_is_replaced(
    tmp_path: Path, job: RunJob
) -> None:
    flags: dict[str, Any] = {"num_epochs": 1, "keep_converted_hdf5": True, **NO_CAMERAS}
    ended = job(input=SMALL / "v21_h264", **flags)
    assert ended.code == 0, ended.err
    which = ended.output / "checkpoints/test/run.json"
    which.write_text(which.read_text().replace('"finished": true', '"finished": false'))
    episodes = ended.output / "converted_hdf5/test"
    before = {path: path.stat().st_mtime_ns for path in episodes.iterdir()}
    other = job(input=SMALL / "v30_hevc", **flags)
    assert other.code == 2
    assert str(ended.output / "checkpoints/test") in other.errors[0]
    assert {path: path.stat().st_mtime_ns for path in episodes.iterdir()} == before


def test_an_input_that_disappears_while_converting_is_3(tmp_path: Path) -> None:
    root = Path(shutil.copytree(DATA / "aloha_sim_v21", tmp_path / "input"))
    output = tmp_path / "output"
    process = start(output, input=root, convert_workers=1, image_size=None)
    wait_for(lambda: bool(list(output.glob("converted_hdf5/*/*.hdf5"))))
    shutil.rmtree(root)
    assert finish(process, (3,), "the input is gone") == 3


def test_an_episode_that_is_cut_off_while_training_is_3(tmp_path: Path) -> None:
    episodes, process = training_on(tmp_path, num_epochs=100000)
    for path in episodes.iterdir():
        os.truncate(path, 2000)
    assert finish(process, (3,), "the episodes are cut off") == 3


def test_episodes_that_are_deleted_while_training_are_still_read(tmp_path: Path) -> None:
    """They are open: the run goes on to its end."""
    episodes, process = training_on(tmp_path, num_epochs=6)
    shutil.rmtree(episodes)
    assert finish(process, (0,), "the episodes are deleted") == 0


@pytest.mark.parametrize(
    ("number", "exit_code", "code"),
    [(signal.SIGKILL, 4, "memory"), (signal.SIGSEGV, 3, "worker-crash")],
)
def test_a_job_whose_worker_dies_names_its_episode_and_can_be_gone_on_with(
    number: signal.Signals, exit_code: int, code: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    flags = {"input": DATA / "aloha_sim_v21", "image_size": "24x32", "convert_workers": 2}
    flags["num_epochs"] = 1
    process = start(output, OWN_PROCESSES, **flags)
    victims: list[tuple[int, str]] = []

    def is_writing() -> bool:
        victims[:] = writing(process.pid)
        return bool(victims)

    wait_for(is_writing)
    pid, episode = victims[0]
    os.kill(pid, number)
    ended_with(process, exit_code)
    manifest = manifest_of(output)
    assert (manifest["status"], manifest["exit_code"]) == ("failed", exit_code)
    assert manifest["code"] == code
    assert f"episode {episode}" in manifest["reason"]
    assert finish(start(output, **flags), (0,), "after a worker had died") == 0


def writing(parent: int) -> list[tuple[int, str]]:
    """The workers that have an episode open, and its number."""
    found = []
    for pid in children(parent):
        with contextlib.suppress(OSError):  # it is there no more
            for link in Path(f"/proc/{pid}/fd").iterdir():
                name = re.search(r"episode_(\d+)\.hdf5", str(link.readlink()))
                if name:
                    found.append((pid, name[1]))
    return found


def training_on(tmp_path: Path, num_epochs: int) -> tuple[Path, Process]:
    """A folder of episodes, and a job that has begun to train on them."""
    episodes, output = tmp_path / "episodes", tmp_path / "output"
    write_episodes(episodes, "raw")
    flags: dict[str, Any] = {"input": episodes, "image_size": None, "keep_converted_hdf5": None}
    flags["state_interval_minutes"] = 30
    process = start(output, num_epochs=num_epochs, **flags)
    wait_for((output / "checkpoints/test/policy_best.ckpt").exists)
    return episodes, process


@pytest.mark.skipif(COMPILER is None, reason="no compiler for the clock")
def test_a_clock_that_jumps_changes_nothing_but_the_times_in_the_manifest(tmp_path: Path) -> None:
    """They are what the clock said; how long things took is by the clock that only goes on."""
    clock = jumping_clock(tmp_path)
    assert_jumps(clock)
    output = tmp_path / "output"
    started = time.monotonic()
    process = subprocess.Popen(  # alone: a server for jobs with the clock starts no sooner
        [sys.executable, "entrypoint.py", *small_job(output)],
        cwd=ROOT,
        env=command_environment() | clock,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    finish(process, (0,), "a clock that jumps")
    took_s = time.monotonic() - started
    check_result(output)
    manifest = manifest_of(output)
    times = [datetime.fromisoformat(manifest[name]) for name in ("started_at", "ended_at")]
    days = {round((at - datetime.now(UTC)) / timedelta(days=0.5)) / 2 for at in times}
    assert days <= JUMPS_DAYS
    for line in (output / "checkpoints/test/metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert row["wait_s"] >= 0
        assert 0 < row["compute_s"] < took_s


def assert_jumps(clock: dict[str, str]) -> None:
    """Both of Python's clocks do, by each of the five jumps."""
    for ask in ("time.time()", "datetime.datetime.now().timestamp()"):
        program = f"import datetime, time; print(*({ask} for _ in range(9)))"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | clock,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = {round((float(word) - time.time()) / 43200) / 2 for word in done.stdout.split()}
        assert found == JUMPS_DAYS


@pytest.mark.parametrize("gone", ["pipe", "disk"])
def test_a_log_that_nobody_reads_or_that_is_full_ends_no_training(
    gone: str, tmp_path: Path
) -> None:
    if gone == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open("/dev/full", os.O_WRONLY)
    flags: dict[str, Any] = {"image_size": None, **NO_CAMERAS}
    words = ["entrypoint.py", *small_job(tmp_path / "output", **flags)]
    process = Job(words, command_environment(), writer, writer)
    os.close(writer)
    assert process.wait(HANGS_S) == 0
    assert manifest_of(tmp_path / "output")["status"] == "completed"
