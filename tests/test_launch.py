"""Which process of a run this is, by what torchrun and schedulers say."""

import inspect
import json
import os
import runpy
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import huggingface_hub
import pytest
import yaml
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from act.processes.torchrun import launch
from job.errors import (
    EXIT_BUG,
    DatasetError,
    DivergedError,
    Interrupted,
    OutputError,
    UsageError,
)
from job.manifest import Manifest
from job.ranks import ATTEMPT, EXIT_FOLDER, processes_to_start, take_over_from_scheduler
from job.remote.address import Address
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


Launch = Callable[..., int]


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Launch two processes that end as asked: torchrun, in whose place this is, has no say in it.

    `left` is the exit code that each rank left, `raised` what torchrun raises in the end.
    """
    for name in (ATTEMPT, EXIT_FOLDER, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # a launch leaves its own behind

    def launched(
        left: Mapping[int, int], raised: Exception | None = None, attempt: str | None = None
    ) -> int:
        def run(_: object) -> None:
            for rank, code in left.items():
                (Path(os.environ[EXIT_FOLDER]) / str(rank)).write_text(str(code))
            if attempt is not None:
                os.environ[ATTEMPT] = attempt
            Manifest(tmp_path / "manifest.json", {}).write()
            if raised is not None:
                raise raised

        monkeypatch.setattr("act.processes.torchrun.run", run)
        return launch([tmp_path / "manifest.json"], ROOT / "entrypoint.py", [], 2)

    return launched


FAILED = ChildFailedError(
    "job", {0: ProcessFailure(local_rank=0, pid=1, exitcode=1, error_file="")}
)
SIGNALLED = SignalException("a signal", signal.SIGTERM)


@pytest.mark.parametrize(
    ("left", "raised", "expected"),
    [
        ({0: 0, 1: 0}, None, 0),
        ({0: 75, 1: 75}, FAILED, 75),
        ({0: 75, 1: 3}, FAILED, 3),  # what it was that interrupted the other
        ({0: 75}, FAILED, 75),
        ({}, FAILED, 75),
        ({0: 1, 1: 75}, FAILED, 1),
        ({0: 0, 1: 0}, SIGNALLED, 0),  # it came as they ended
    ],
)
def test_a_reason_counts_more_than_the_interruption_it_caused(
    launched: Launch, left: dict[int, int], raised: Exception | None, expected: int
) -> None:
    assert launched(left, raised) == expected


def test_a_killed_first_process_leaves_a_manifest_that_says_so(
    launched: Launch, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.json"
    assert launched({1: 75}, FAILED, attempt="of another job") == 75
    assert json.loads(path.read_text())["status"] == "running"
    assert launched({1: 75}, FAILED) == 75
    values = json.loads(path.read_text())
    assert values["code"] == "process-lost"
    assert (values["status"], values["exit_code"]) == ("interrupted", 75)
    assert "local rank 0" in values["reason"]


_NO_JOBS = (".md", ".py", ".ipynb")
_JOBS = (path for path in (ROOT / "examples").iterdir() if path.suffix not in _NO_JOBS)
EXAMPLES = [*sorted(_JOBS), ROOT / "examples/hf_jobs.py"]
# what another try would not mend
GIVEN_UP = [
    EXIT_BUG,
    *(kind.exit_code for kind in (UsageError, DatasetError, OutputError, DivergedError)),
]


def kubernetes_job(path: Path) -> Any:
    """What a Job of Kubernetes specifies."""
    documents = yaml.safe_load_all(path.read_text())
    [found] = [one["spec"] for one in documents if one["kind"] == "Job"]
    return found


def aws_container(path: Path) -> Any:
    """The container of a job definition of AWS Batch, of the first node where there are several."""
    values = json.loads(path.read_text())
    if values["type"] == "multinode":
        return values["nodeProperties"]["nodeRangeProperties"][0]["container"]
    return values["containerProperties"]


def variables_of(path: Path) -> dict[str, str]:
    """The variables of the environment that an example gives to our container."""
    if path.suffix != ".yaml":
        return {}
    if path.stem == "skypilot":
        found: dict[str, str] = yaml.safe_load(path.read_text())["envs"]
        return found
    [container] = kubernetes_job(path)["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


def command_of(path: Path) -> list[str]:
    """The arguments that an example gives to our container."""
    match path.suffix:
        case ".yaml" if path.stem == "skypilot":
            return []
        case ".yaml":
            [container] = kubernetes_job(path)["template"]["spec"]["containers"]
            return container["args"]
        case ".py":
            command = runpy.run_path(str(path))["JOB"]["command"]
            return command[command.index("/opt/act/entrypoint.py") + 1 :]
        case ".json":
            return aws_container(path)["command"]
    script = path.read_text().replace("\\\n", " ")
    [inner] = [word for word in shlex.split(script, comments=True) if "--run_name" in word]
    words = shlex.split(inner)
    return words[words.index("--run_name") :]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_command_of_an_example_is_understood(path: Path, tmp_path: Path) -> None:
    variables = variables_of(path)
    config = parse(command_of(path), variables)
    assert (config.run_name, config.task_name) in (
        ("pick_block_act_v1", "pick_block"),
        ("cube", "transfer_cube"),
    )
    assert config.num_epochs == 12000
    assert config.is_sim  # as LeRobot records
    if config.mirror is not None:
        [place] = config.input
        assert isinstance(place, Address)
        mounted = {"/scratch/work", "/tmp/work", str(config.work_dir.home())}
        assert str(config.work_dir) in mounted or path.stem == "skypilot"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("aws_*.json")), ids=str)
def test_aws_knows_every_field_of_a_job_definition(path: Path) -> None:
    """By the model of its interface, which botocore brings."""
    model = botocore.session.get_session().get_service_model("batch")
    shape = model.operation_model("RegisterJobDefinition").input_shape
    report = botocore.validate.ParamValidator().validate(json.loads(path.read_text()), shape)
    assert not report.has_errors(), report.generate_report()


def test_the_hub_knows_every_argument_of_a_job() -> None:
    job = runpy.run_path(str(ROOT / "examples/hf_jobs.py"))["JOB"]
    inspect.signature(huggingface_hub.run_job).bind(**job, secrets={})
    assert job["flavor"] in {one.value for one in huggingface_hub.SpaceHardware}


AWS = ["aws_batch.json", "aws_batch_s3.json", "aws_batch_two_nodes.json"]
KUBERNETES = ["kubernetes.yaml", "kubernetes_bucket.yaml", "kubernetes_two_nodes.yaml"]


@pytest.mark.parametrize("name", AWS)
def test_aws_batch_tries_again_what_was_interrupted_and_nothing_else(name: str) -> None:
    text = (ROOT / "examples" / name).read_text()
    rules = json.loads(text)["retryStrategy"]["evaluateOnExit"]
    retried = [rule["onExitCode"] for rule in rules if "onExitCode" in rule]
    assert retried == [str(Interrupted.exit_code)]
    assert rules[-1] == {"onReason": "*", "action": "EXIT"}  # else what matches none is retried


@pytest.mark.parametrize("name", KUBERNETES)
def test_kubernetes_tries_again_what_was_interrupted_and_nothing_else(name: str) -> None:
    rules = kubernetes_job(ROOT / "examples" / name)["podFailurePolicy"]["rules"]
    by_code = {rule["action"]: rule["onExitCodes"] for rule in rules if "onExitCodes" in rule}
    assert by_code == {
        "FailJob": {"operator": "In", "values": GIVEN_UP},
        "Count": {"operator": "In", "values": [Interrupted.exit_code]},
    }


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
        manifest = tmp_path / "checkpoints/pick_block_act_v1/manifest.json"
        write_json(manifest, {"status": "x", "exit_code": in_manifest, "z": 1})
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
