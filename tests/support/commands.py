"""The real command line: its flags, its environment, and how it ended."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from lerobot_to_act import JobFlags, parse
from tests.support.paths import ROOT

# A network that trains in seconds on the 96x128 datasets.
TINY = {
    "--hidden_dim": 32,
    "--dim_feedforward": 32,
    "--chunk_size": 10,
    "--batch_size": 2,
    "--backbone_weights": "none",
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
    def errors(self) -> list[str]:
        """The lines that say why it failed."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def arguments(output: Path, **flags: Any) -> list[str]:
    """A whole command line: the tiny network, and `flags` over it."""
    named = {"--run_name": "test", "--task_name": "sim_test", "--output": output, **TINY}
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
    """The environment of a command: nothing of the image's, two threads."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKBONE")}
    return kept | {"OMP_NUM_THREADS": "2"}


def run_python(*words: str | Path, timeout: int = 300) -> "subprocess.CompletedProcess[str]":
    """Run Python in the checkout, as a user would, and wait for its end."""
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
    flags = (
        f"--dataset_dir {tmp_path}/episodes --ckpt_dir {tmp_path}/run --policy_class ACT "
        "--task_name t --batch_size 8 --seed 0 --num_epochs 2 --lr 1e-5 --kl_weight 10 "
        "--chunk_size 10 --hidden_dim 32 --dim_feedforward 32 --backbone_weights none"
    ).split()
    ended = subprocess.run(
        [sys.executable, "-m", "act.imitate_episodes", *flags, *extra],
        cwd=ROOT,
        env=command_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr, tmp_path / "run")
