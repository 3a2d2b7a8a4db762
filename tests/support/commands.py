"""The real command line: its flags, its environment, and how it ended."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from act.policies.contract_file import read_contract
from job.sections.contract import Contract
from lerobot_to_act import JobFlags, parse
from tests.support import stand_in
from tests.support.backbone import backbone_file
from tests.support.jobs import Job
from tests.support.paths import ROOT

HANGS_S = 300  # however slow the machine is

# A network that trains in seconds on the 96x128 datasets.
TINY = {
    "--hidden_dim": 32,
    "--dim_feedforward": 32,
    "--chunk_size": 10,
    "--batch_size": 2,
    "--device": "cpu",
    "--state_dim": 0,
}


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str
    output: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest that it left."""
        return json.loads((self.output / "manifest.json").read_text())

    @property
    def contract(self) -> Contract:
        """The contract with the robot, where the manifest says that it is."""
        return read_contract((self.output / self.manifest["policy"]["path"]).parent)

    @property
    def errors(self) -> list[str]:
        """The lines that say why it failed."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def arguments(output: Path, **flags: Any) -> list[str]:
    """A whole command line: the tiny network on the session's backbone, and `flags` over it.

    One worker converts, as starting another takes longer than so few frames.
    """
    named = {"--run_name": "test", "--task_name": "sim_test", "--output": output, **TINY}
    named["--backbone_weights"] = backbone_file()
    # what looks at a finished run has tests of its own
    named["--eval_after_train"] = named["--report"] = "off"
    if (Path(flags.get("input") or "") / "meta").is_dir():
        named["--convert_workers"] = 1
    named |= {f"--{name}": value for name, value in flags.items()}
    pairs = [
        [flag] if value is True else [flag, str(value)]
        for flag, value in named.items()
        if value is not None
    ]
    return [word for pair in pairs for word in pair]


def make_config(output: Path, **flags: Any) -> JobFlags:
    """The config of that command line."""
    return parse(arguments(output, **flags), {})


def command_environment() -> dict[str, str]:
    """The environment of a command: nothing of the image's, nor of this process's workers."""
    left_out = ("BACKBONE", stand_in.SERVER)
    return {key: value for key, value in os.environ.items() if not key.startswith(left_out)}


def start_job(
    output: Path,
    extra: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
    streams: tuple[int | None, int | None] = (subprocess.PIPE, subprocess.PIPE),
    **flags: Any,
) -> Job:
    """Start the container's command, with `environment` over that of a command."""
    words = ["entrypoint.py", *arguments(output, **flags), *extra]
    return Job(words, command_environment() | dict(environment), *streams)


def run_job(output: Path, extra: Sequence[str] = (), **options: Any) -> Ended:
    """Run the container's command, as `start_job` does, to its end."""
    output.mkdir(exist_ok=True)
    return ended(start_job(output, extra, **options), output)


def run_module(module: str, *words: str | Path, output: Path) -> Ended:
    """Run `python -m MODULE WORDS` to its end."""
    return ended(start_module(module, *words), output)


def start_module(
    module: str, *words: str | Path, environment: Mapping[str, str] = MappingProxyType({})
) -> Job:
    """Start `python -m MODULE WORDS`."""
    streams = (subprocess.PIPE, subprocess.PIPE)
    return Job(["-m", module, *words], command_environment() | dict(environment), *streams)


def ended(job: Job, output: Path) -> Ended:
    """Wait for the end of a job; one that hangs is killed."""
    try:
        out, err = job.communicate(timeout=HANGS_S)
    except subprocess.TimeoutExpired:
        job.kill()
        raise
    return Ended(job.wait(), out, err, output)


def run_python(*words: str | Path, timeout: int = HANGS_S) -> "subprocess.CompletedProcess[str]":
    """Run a Python of its own in the checkout, for what depends on its start; wait for its end."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=command_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def imitate(tmp_path: Path, *extra: str) -> Ended:
    """Run upstream's command on the folder `episodes`, to its end."""
    words = upstream_words(tmp_path / "episodes", tmp_path / "run")
    return run_module("act.imitate_episodes", *words, *extra, output=tmp_path / "run")


def upstream_words(episodes: Path, run: Path) -> list[str]:
    """A command line of upstream's."""
    return (
        f"--dataset_dir {episodes} --ckpt_dir {run} --policy_class ACT "
        "--task_name t --batch_size 8 --seed 0 --num_epochs 2 --lr 1e-5 --kl_weight 10 "
        f"--chunk_size 10 --hidden_dim 32 --dim_feedforward 32 --backbone_weights {backbone_file()}"
    ).split()
