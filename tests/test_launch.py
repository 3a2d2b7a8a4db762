"""Which process of a run this is, by what torchrun and schedulers say."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from act.processes.torchrun import _exit_code
from job.manifest import Manifest
from job.ranks import ATTEMPT, processes_to_start, take_over_from_scheduler
from job.whole_files import write_json
from lerobot_to_act import parse
from tests.support.paths import ROOT


def test_one_process_on_a_cpu_needs_no_group() -> None:
    assert processes_to_start(0, "cpu") == 0
    assert processes_to_start(3, "cpu") == 3


def test_a_process_of_a_group_starts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert processes_to_start(3, "cpu") == 0


def test_several_machines_are_a_group_of_one_process_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PET_NNODES", "2")
    assert processes_to_start(0, "cpu") == 1


def test_aws_batch_is_understood() -> None:
    main = {"AWS_BATCH_JOB_NUM_NODES": "2", "AWS_BATCH_JOB_NODE_INDEX": "0"}
    other = {
        "AWS_BATCH_JOB_NUM_NODES": "2",
        "AWS_BATCH_JOB_NODE_INDEX": "1",
        "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS": "10.0.0.7",
        "PET_MASTER_PORT": "1234",
    }
    for environ in (main, other):
        take_over_from_scheduler(environ)
        assert environ["PET_NNODES"] == "2"
    assert (main["PET_NODE_RANK"], main["PET_MASTER_ADDR"]) == ("0", "localhost")
    assert (other["PET_NODE_RANK"], other["PET_MASTER_ADDR"]) == ("1", "10.0.0.7")
    assert (main["PET_MASTER_PORT"], other["PET_MASTER_PORT"]) == ("29500", "1234")
    alone: dict[str, str] = {}
    take_over_from_scheduler(alone)
    assert alone == {}


@pytest.mark.parametrize(
    ("code", "ended", "expected"),
    [
        (0, {0: 0, 1: 0}, 0),
        (1, {0: 75, 1: 75}, 75),
        (1, {0: 75, 1: 3}, 3),  # what it was that interrupted the other
        (1, {0: 75}, 75),
        (1, {}, 75),
        (1, {0: 1, 1: 75}, 1),
        (75, {0: 0, 1: 0}, 0),  # a signal came as they ended
    ],
)
def test_a_reason_counts_more_than_the_interruption_it_caused(
    tmp_path: Path, code: int, ended: dict[int, int], expected: int
) -> None:
    assert _exit_code(tmp_path, code, ended, 2, "") == expected


def test_a_killed_first_process_leaves_a_manifest_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.json"
    monkeypatch.setenv(ATTEMPT, "an id")
    Manifest(path, {}).write()
    _exit_code(tmp_path, 1, {1: 75}, 2, "another id")
    assert json.loads(path.read_text())["status"] == "running"  # of another job
    _exit_code(tmp_path, 1, {1: 75}, 2, "an id")
    values = json.loads(path.read_text())
    assert values["code"] == "process-lost"
    assert (values["status"], values["exit_code"]) == ("interrupted", 75)
    assert "local rank 0 was lost" in values["reason"]


EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix != ".md")
GIVEN_UP = "[1, 2, 3, 4, 5]"  # what another try would not mend


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_command_of_an_example_is_understood(path: Path, tmp_path: Path) -> None:
    """From its --run_name on, as this project's own parser reads it."""
    text = " ".join(line for line in path.read_text().splitlines() if line.strip()[:1] != "#")
    words = re.findall(r"--[a-z]+_[a-z_]+[=\s\",]+[\w.]+", text)
    assert words
    given = [word for pair in words for word in re.split(r"[=\s\",]+", pair)]
    config = parse([*given, "--output", str(tmp_path)], {})
    assert (config.run_name, config.task_name) == ("pick_block_act_v1", "pick_block")
    assert config.num_epochs == 12000


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_tries_again_what_was_interrupted_and_nothing_else(path: Path) -> None:
    text = path.read_text()
    if path.suffix == ".json":
        rules = json.loads(text)["retryStrategy"]["evaluateOnExit"]
        assert {"onExitCode": "75", "action": "RETRY"} in rules
        assert rules[-1] == {"onReason": "*", "action": "EXIT"}  # else what matches none is retried
    elif path.suffix == ".yaml":
        policy = text.split("podFailurePolicy:")[1].split("template:")[0]
        assert re.search(rf"FailJob.*\n.*\n.*In\n *values: {re.escape(GIVEN_UP)}", policy)
        assert re.search(r"Count.*\n.*\n.*In\n *values: \[75\]", policy)
    else:  # tried below
        assert path.name == "slurm.sbatch"


@pytest.mark.parametrize(
    ("of_srun", "in_manifest", "restarts", "expected", "again"),
    [
        (0, 0, 0, 0, False),
        (75, 75, 0, 75, True),
        (75, 75, 50, 75, False),
        (75, 3, 0, 3, False),  # the first machine refused the dataset, the other was interrupted
        (137, 75, 0, 75, True),  # the first saved in time, the other was killed
        (2, 75, 0, 2, False),  # what the manifest says is of the run before
        (75, None, 0, 75, True),
    ],
)
def test_slurm_tries_again_what_is_worth_it(
    tmp_path: Path, of_srun: int, in_manifest: int | None, restarts: int, expected: int, again: bool
) -> None:
    """The script itself, with commands of Slurm's names that say what they were asked for."""
    for name, text in {
        "srun": f"exit {of_srun}",
        "scontrol": f'echo "$@" >> {tmp_path}/asked',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    if in_manifest is not None:
        write_json(tmp_path / "manifest.json", {"status": "x", "exit_code": in_manifest, "z": 1})
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "DATASET": "d",
        "OUTPUT": str(tmp_path),
        "SLURM_NNODES": "2",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "a,b",
        "SLURM_RESTART_COUNT": str(restarts),
        "SLURM_CPUS_PER_TASK": "8",
    }
    script = str(ROOT / "examples/slurm.sbatch")
    done = subprocess.run(["bash", script], env=environment, check=False)
    assert done.returncode == expected
    asked = (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""
    assert ("requeue 7" in asked) == again
