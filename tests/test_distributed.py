"""Several processes give the losses of one, and end together; the real command under torchrun."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.imitate_episodes import parse as parse_upstream
from act.imitate_episodes import train_here
from act.policies.contract_file import read_contract
from episodes.writer import write_episode
from job.errors import DatasetError
from job.manifest import Manifest
from job.whole_files import sha256
from tests.support.commands import (
    HANGS_S,
    Ended,
    arguments,
    command_environment,
    ended,
    start_job,
    start_module,
    upstream_words,
)
from tests.support.errors import raises_code
from tests.support.jobs import OWN_PROCESSES, Job
from tests.support.paths import ROOT, SAMPLES, SIGNALLED, SMALL
from tests.support.processes import wait_for

pytestmark = pytest.mark.slow

RunJob = Callable[..., Ended]
# Of several processes that do not differ by what is computed: images take three times as long.
NO_CAMERAS: dict[str, Any] = {"camera_names": "none", "backbone_weights": None}


def rows(ended: Ended) -> list[dict[str, Any]]:
    path = ended.output / "checkpoints/test/metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def ten_episodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of them, no two alike: 8 to train on, 2 to validate."""
    folder, random = tmp_path_factory.mktemp("ten"), np.random.default_rng(0)
    for number in range(10):
        vectors = {
            name: random.standard_normal((12, 3), np.float32) for name in ("action", "qpos", "qvel")
        }
        attributes = {"sim": True, "camera_names": ["top"]}
        path, images = folder / f"episode_{number}.hdf5", {"top": (12, 32, 48)}
        with write_episode(path, vectors, images, attributes) as writer:
            for ts in range(12):
                writer.write_frame("top", ts, random.integers(0, 256, (32, 48, 3), np.uint8))
    return folder


def test_one_two_and_four_processes_follow_the_same_losses(
    job: RunJob, tmp_path: Path, ten_episodes: Path
) -> None:
    """10 steps, of 5 samples and of 3 by turns: two processes have 3 and 2 of them, then 2 and 1.

    Four have 2, 1, 1, 1, then 1, 1, 1 and none. Two add the gradients of two parts of each share.
    """
    found = {}
    for count, accumulate in ((1, 1), (2, 2), (4, 1)):
        found[count] = job(
            output=tmp_path / str(count),
            input=ten_episodes,
            processes=count,
            num_epochs=5,
            batch_size=5,
            accumulate=accumulate,
            dropout=0,
            learning_rate=1e-5,
        )
        assert found[count].code == 0, found[count].err
        last = rows(found[count])[-1]
        assert (last["step"], last["samples"]) == (10, 40)
        manifest = found[count].manifest
        assert manifest["flags"]["processes"] == count
        assert manifest["training"]["effective_batch"] == 5
        assert ("1 process" if count == 1 else f"{count} processes") in found[count].out
    for count in (2, 4):
        assert_same_losses(found[1], found[count])


def assert_same_losses(alone: Ended, together: Ended) -> None:
    """Each part of the loss to 1e-5 of the loss, at upstream's learning rate.

    l1 is a small part of it at first and drifts by 2e-3 of itself: AdamW makes whole updates of
    gradients that are nothing but rounding, and sums round by their order.
    """
    for one, other in zip(rows(alone), rows(together), strict=True):
        for part in ("train", "val"):
            for name in ("loss", "kl"):
                assert other[part][name] == pytest.approx(one[part][name], rel=1e-5)
            assert other[part]["l1"] == pytest.approx(one[part]["l1"], abs=1e-5 * one[part]["loss"])
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-2)


def test_a_batch_for_each_process(job: RunJob, tmp_path: Path, ten_episodes: Path) -> None:
    """Two of one sample are one of two; of the 7 episodes the last one is a step of its own."""
    flags: dict[str, Any] = {
        "input": ten_episodes,
        "max_episodes": 9,
        "num_epochs": 3,
        "dropout": 0,
        **NO_CAMERAS,
        "learning_rate": 1e-5,
    }
    pair = job(
        output=tmp_path / "pair",
        processes=2,
        batch_mode="fixed_per_gpu",
        batch_size=1,
        accumulate=2,
        **flags,
    )
    assert pair.code == 0, pair.err
    assert pair.manifest["training"]["effective_batch"] == 2
    assert "batch      2 samples a step (fixed_per_gpu, 2 processes)" in pair.out
    assert rows(pair)[-1]["step"] == 12
    alone = job(output=tmp_path / "alone", batch_size=2, **flags)
    assert alone.code == 0, alone.err
    assert_same_losses(alone, pair)


def test_cnnmlp_has_a_parameter_that_no_process_waits_for(job: RunJob) -> None:
    ended = job(
        input=SAMPLES[1],
        processes=2,
        policy_class="CNNMLP",
        num_epochs=2,
        batch_size=2,
        camera_keys="observation.images.top",
        image_size="390x520",
        chunk_size=None,
        hidden_dim=None,
        dim_feedforward=None,
    )
    assert ended.code == 0, ended.err
    assert rows(ended)[-1]["step"] == 2


ALONE = ["unshare", "--net", "--uts", "bash", "-c"]
NO_NETWORK = """
hostname a-name-that-nobody-knows && python3 - << END || exit 99
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x41))  # lo, up and running
END
exec "$@"
"""


def may_be_alone() -> bool:
    found = all(map(shutil.which, ("unshare", "hostname")))
    tried = [*ALONE, "hostname x"]
    return found and not subprocess.run(tried, capture_output=True, check=False).returncode


@pytest.mark.skipif(not may_be_alone(), reason="may not make a network of its own")
def test_processes_find_each_other_without_a_network(tmp_path: Path) -> None:
    """As in a container with --network none, which cannot look up its own name."""
    flags: dict[str, Any] = {"camera_keys": "none", "backbone_weights": None}
    words = arguments(tmp_path, input=SMALL / "v21_h264", processes=2, num_epochs=1, **flags)
    done = subprocess.run(
        [*ALONE, NO_NETWORK, "bash", sys.executable, "entrypoint.py", *words],
        cwd=ROOT,
        env=command_environment() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def launch(output: Path, **flags: Any) -> Job:
    streams = (subprocess.PIPE, subprocess.STDOUT)
    return start_job(output, streams=streams, **flags | {"processes": 2})


def start(output: Path, **flags: Any) -> Job:
    """A long run of two processes, that has begun to train."""
    process = launch(output, **{"num_epochs": 100000, "max_episodes": 4} | NO_CAMERAS | flags)
    metrics = output / "checkpoints/test/metrics.jsonl"
    wait_while_running(process, lambda: metrics.exists() and metrics.stat().st_size > 0)
    return process


def slow_steps(rank: int) -> dict[str, str]:
    """An environment in which each step of a process takes a second more."""
    return {
        "PYTHONPATH": str(SIGNALLED),
        "SIGNAL_AT": "act.training.step:add_gradient",
        "SIGNAL_CALL": "0",
        "SIGNAL_RANK": str(rank),
        "SIGNAL_EACH_S": "1",
    }


def wait_while_running(process: Job, condition: Callable[[], bool]) -> None:
    def is_met() -> bool:
        assert process.poll() is None, process.communicate()[0]
        return condition()

    wait_for(is_met)


def rank(number: int, output: Path) -> int:
    """The process of a rank, found by what torchrun put into its environment."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
            command = (path.parent / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        mine = str(output) in command and "torch.distributed.run" not in command
        if mine and f"LOCAL_RANK={number}".encode() in variables:
            return int(path.parent.name)
    raise AssertionError(f"no rank {number}")


@pytest.mark.parametrize(("number", "processes"), [(0, 1), (1, 3)])
def test_a_rank_that_is_killed_ends_the_run_and_another_number_goes_on(
    job: RunJob, tmp_path: Path, ten_episodes: Path, number: int, processes: int
) -> None:
    flags: dict[str, Any] = {"input": ten_episodes, "max_episodes": 4, "num_epochs": 4}
    flags |= NO_CAMERAS
    slow = slow_steps(rank=number)  # so that it does not end meanwhile
    slow |= OWN_PROCESSES if number == 0 else {}
    process = launch(tmp_path, environment=slow, state_interval_minutes=1e-4, **flags)
    state, written = tmp_path / "checkpoints/test/state.ckpt", set[int]()

    def is_in_training() -> bool:
        """The second state is of a step at least."""
        if state.exists():
            written.add(state.stat().st_mtime_ns)
        return len(written) > 1

    wait_while_running(process, is_in_training)
    os.kill(rank(number, tmp_path), signal.SIGKILL)
    end = ended(process, tmp_path)
    assert end.code == 75, end.out
    assert end.manifest["status"] == "interrupted"
    assert end.manifest["exit_code"] == 75
    assert end.manifest["code"] in (
        "process-lost",
        "interrupted",
    )  # by torchrun, which passes it on
    on = job(output=tmp_path, processes=processes, **flags)
    assert on.code == 0, on.err
    assert on.manifest["training"]["continued_from_step"] > 0
    assert [row["epoch"] for row in rows(on)] == list(range(4))
    assert rows(on)[-1]["step"] == 8
    folder = tmp_path / "checkpoints/test"
    listed = read_contract(folder).checkpoints
    assert all(sha256(path) in listed[path.name] for path in folder.glob("policy_*.ckpt"))


def test_a_rank_that_is_killed_while_another_converts_ends_the_run(
    job: RunJob, tmp_path: Path
) -> None:
    flags: dict[str, Any] = {
        "input": SAMPLES[0],
        "image_size": "24x32",
        "num_epochs": 1,
        "convert_workers": 1,
    }
    process = launch(tmp_path, dist_timeout_s=2 * HANGS_S, **flags)  # it is not what ends them
    converted = tmp_path / "converted_hdf5"
    wait_while_running(process, lambda: bool(list(converted.glob("*/.*.partial"))))
    os.kill(rank(1, tmp_path), signal.SIGKILL)
    end = ended(process, tmp_path)
    assert end.code == 75, end.out
    assert (end.manifest["status"], end.manifest["exit_code"]) == ("interrupted", 75)
    assert "Traceback" not in end.out
    assert not list(converted.glob("*/.*.partial"))
    on = job(output=tmp_path, processes=2, **flags)
    assert on.code == 0, on.err


def test_processes_of_a_training_operator_are_one_run(tmp_path: Path, ten_episodes: Path) -> None:
    """Each is started by itself, with an output of its own, and joins the others."""
    operator = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    flags: dict[str, Any] = {"input": ten_episodes, "num_epochs": 2, "dist_timeout_s": 100}
    flags |= NO_CAMERAS
    outputs = [tmp_path / rank for rank in ("0", "1")]
    jobs = [
        start_job(output, environment=operator | {"RANK": output.name}, **flags)
        for output in outputs
    ]
    first, second = (ended(job, output) for job, output in zip(jobs, outputs, strict=True))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.manifest["flags"]["processes"] == 2
    assert not [one for one in first.manifest["warnings"] if "process-variables" in one]
    assert len(rows(first)) == 2
    assert not (second.output / "manifest.json").exists()


def test_upstreams_command_joins_a_training_operators_processes_too(
    tmp_path: Path, ten_episodes: Path
) -> None:
    """The first one writes, and has half of each batch."""
    operator = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    runs = [tmp_path / rank for rank in ("0", "1")]
    jobs = [
        start_module(
            "act.imitate_episodes",
            *upstream_words(ten_episodes, run),
            environment=operator | {"RANK": run.name},
        )
        for run in runs
    ]
    first, second = (ended(job, run) for job, run in zip(jobs, runs, strict=True))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.manifest["flags"]["processes"] == 2
    assert first.manifest["training"]["effective_batch"] == 8
    assert not list(second.output.glob("*"))


def test_upstreams_command_warns_of_variables_that_are_incomplete(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it looks at its episodes."""
    for name, text in {"WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, text)
    flags = parse_upstream(upstream_words(tmp_path, tmp_path / "run"))
    manifest = Manifest(flags.output / "manifest.json", flags.resolved())
    with raises_code(DatasetError, "episodes-none"):
        train_here(flags, manifest)
    assert [record for record in caplog.records if "process-variables" in record.getMessage()]


def test_variables_that_are_incomplete_are_warned_of(tmp_path: Path, ten_episodes: Path) -> None:
    environment = {"WORLD_SIZE": "2", "RANK": "1"}
    flags: dict[str, Any] = {"input": ten_episodes, "num_epochs": 1, **NO_CAMERAS}
    alone = ended(start_job(tmp_path, environment=environment, **flags), tmp_path)
    assert alone.code == 0, alone.err
    assert alone.manifest["flags"]["processes"] == 1
    (warning,) = [one for one in alone.manifest["warnings"] if "process-variables" in one]
    assert alone.err.count(warning) == 1


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


EACH = """
import sys, time
import torch
from job import signals
from job.errors import Interrupted
from act.processes.group import joined_group

def work():
    for _ in range(6000 * group.rank):
        signals.check()
        time.sleep(0.1)

signals.install()
try:
    with joined_group(torch.device("cpu"), 5) as group:
        group.each(lambda: None)
        print("ready", flush=True)
        group.each(work)
except Interrupted as error:
    print(error)
    sys.exit(75)
"""


def start_each() -> tuple[Job, Job]:
    """One that waits and one that works, on two machines, for the work to come."""
    group = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    waiting, working = (
        Job(
            ["-c", EACH],
            command_environment() | group | {"RANK": rank},
            subprocess.PIPE,
            subprocess.STDOUT,
        )
        for rank in ("0", "1")
    )
    for process in (waiting, working):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    return waiting, working


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_of_another_machine_that_is_lost_at_its_work_is_noticed(
    number: signal.Signals,
) -> None:
    """No torchrun sees it: the one that has nothing to do hears no more of the one that works."""
    waiting, working = start_each()
    try:
        working.send_signal(number)
        out, _ = waiting.communicate(timeout=HANGS_S)
    finally:
        for process in (waiting, working):
            process.kill()
            process.communicate()
    assert waiting.returncode == 75, out
    assert " 5 s" in out.splitlines()[-1]  # the time out, which it names


def test_a_process_that_leaves_while_another_works_ends_both() -> None:
    """In order: neither in the middle of what torch does for them, which would be an abort."""
    waiting, working = start_each()
    waiting.terminate()
    for process, reason in ((waiting, "SIGTERM received"), (working, "another process")):
        out, _ = process.communicate(timeout=HANGS_S)
        assert process.returncode == 75, out
        assert out.startswith(reason)


def test_a_rank_that_stalls_ends_the_run_by_the_time_out(
    tmp_path: Path, ten_episodes: Path
) -> None:
    """A default of half an hour would be longer than `ended` waits."""
    process = start(tmp_path, environment=OWN_PROCESSES, input=ten_episodes, dist_timeout_s=5)
    stalled = rank(1, tmp_path)
    os.kill(stalled, signal.SIGSTOP)
    end = ended(process, tmp_path)
    assert end.code == 75, end.out
    assert end.manifest["status"] == "interrupted"
    assert not Path(f"/proc/{stalled}/environ").exists()


def test_an_error_of_the_user_has_its_own_code(job: RunJob, tmp_path: Path) -> None:
    found = job(input=tmp_path / "nothing", processes=2)
    assert found.code == 3, found.err
    assert found.manifest["exit_code"] == 3


def test_a_run_goes_on_with_another_number_of_processes(
    job: RunJob, tmp_path: Path, ten_episodes: Path
) -> None:
    """What two processes began, one ends, to the losses of one alone but for rounding."""
    flags: dict[str, Any] = {
        "input": ten_episodes,
        "max_episodes": 4,
        "num_epochs": 8,
        "dropout": 0,
        "batch_size": 2,
        **NO_CAMERAS,
    }
    process = start(tmp_path / "two", environment=slow_steps(rank=0), **flags)
    metrics = tmp_path / "two/checkpoints/test/metrics.jsonl"
    process.send_signal(signal.SIGTERM)
    end = ended(process, tmp_path / "two")
    assert end.code == 75, end.out
    done = json.loads(metrics.read_text().splitlines()[-1])["epoch"]
    on = job(output=tmp_path / "two", **flags)
    assert on.code == 0, on.err
    assert on.manifest["training"]["continued_from_step"] > 0
    assert job(output=tmp_path / "one", **flags).code == 0
    pairs = [
        [json.loads(line)["train"]["loss"] for line in path.read_text().splitlines()]
        for path in (metrics, tmp_path / "one/checkpoints/test/metrics.jsonl")
    ]
    assert 0 <= done < 7
    assert len(pairs[0]) == len(pairs[1]) == 8
    assert pairs[0][: done + 5] == pytest.approx(pairs[1][: done + 5], rel=1e-4)


def test_processes_end_with_a_launcher_that_is_killed(tmp_path: Path, ten_episodes: Path) -> None:
    """They save, as by a signal."""
    process = start(tmp_path, input=ten_episodes)
    ranks = [rank(0, tmp_path), rank(1, tmp_path)]
    process.kill()
    process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks))
    assert (tmp_path / "checkpoints/test/state.ckpt").exists()
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "interrupted"
