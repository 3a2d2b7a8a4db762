"""A whole job of a few seconds, and what must hold of its files at any moment and in the end."""

import json
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from act.policies.contract_file import WEIGHTS, read_contract
from job.whole_files import is_recorded, sha256
from tests.support.commands import HANGS_S, arguments, command_environment
from tests.support.jobs import Job, Process
from tests.support.paths import SMALL

_LOGS = {"files.jsonl", "metrics.jsonl"}  # they grow; each line stands for itself
_REPLACED = {"run.json", "policy.json", "manifest.json", "status.json"}  # often, by new content
_SAME = ("policy_*.ckpt", "dataset_stats.*")  # what two runs have byte for byte
_COLUMNS = ("epoch", "step", "samples", "train", "val", "lr", "grad_norm")


Results = Generator[str | None, None, None]  # what went wrong with each try, None for nothing


@dataclass(frozen=True)
class Undisturbed:
    """What the job leaves when nothing happens to it."""

    episodes: dict[str, str]
    files: dict[str, str]
    losses: list[list[Any]]
    seconds: float


class Lost(Exception):  # noqa: N818  what the kit looks for
    """Something that must not happen has happened."""


def start(
    output: Path, environment: Mapping[str, str] = MappingProxyType({}), /, **flags: Any
) -> Process:
    """Start the job with `environment` besides its own; what it prints goes to its `stderr`."""
    words = ["entrypoint.py", *small_job(output, **flags)]
    given = command_environment() | dict(environment)
    return Job(words, given, subprocess.DEVNULL, subprocess.PIPE)


def small_job(output: Path, **flags: Any) -> list[str]:
    """The job's flags, with `flags` over them."""
    chosen = {
        "input": SMALL / "v21_h264",
        "image_size": "32x32",  # smaller ones are faster, and nothing here depends on them
        "num_epochs": 2,
        "batch_size": 1,
        "state_interval_minutes": 0.001,
        "keep_converted_hdf5": True,
        **flags,
    }
    return arguments(output, **chosen)


def finish(process: Process, codes: tuple[int, ...], what: str) -> int:
    """Wait for its end, which must be one of `codes`, without a traceback."""
    end_of(process, codes, what)
    assert process.returncode is not None
    return process.returncode


def end_of(process: Process, codes: tuple[int, ...], what: str) -> str:
    """The same; gives what it printed to standard error."""
    try:
        error = process.communicate(timeout=HANGS_S)[1]
    except subprocess.TimeoutExpired as hung:
        process.kill()
        raise Lost(f"{what}: hangs") from hung
    if process.returncode not in codes or "Traceback" in error:
        raise Lost(f"{what}: exit code {process.returncode}\n{error[-3000:]}")
    return error


@cache
def undisturbed() -> Undisturbed:
    """Run the job once, alone."""
    with tempfile.TemporaryDirectory() as folder:
        output, started = Path(folder), time.monotonic()
        finish(start(output), (0,), "the undisturbed job")
        return Undisturbed(
            _digests(output / "converted_hdf5/test", "episode_*.hdf5"),
            _digests(output / "checkpoints/test", *_SAME),
            _losses(output),
            time.monotonic() - started,
        )


def check_files(output: Path) -> None:
    """Every file under a final name is whole and the one that was recorded; raises Lost."""
    for name, digest in _digests(output / "converted_hdf5/test", "episode_*.hdf5").items():
        if undisturbed().episodes.get(name) != digest:
            raise Lost(f"{name}: not the bytes of the undisturbed job")
    folder = output / "checkpoints/test"
    for path in sorted(folder.glob("[!.]*")):
        if path.name in _LOGS:
            lines = path.read_text().splitlines()
            whole = [line for line in lines if _is_json(line)]
            if len(lines) - len(whole) > (path.name == "files.jsonl") + lines.count(""):
                raise Lost(f"{path.name}: lines that cannot be read")
            continue
        _check_whole(path)
    manifest = output / "manifest.json"
    if manifest.exists():
        json.loads(manifest.read_text())


def _check_whole(path: Path) -> None:
    """A file of the run's folder is what was recorded, and weights are the contract's."""
    digest = sha256(path)
    if path.name not in _REPLACED and not is_recorded(path, digest):
        raise Lost(f"{path.name}: not what was recorded")
    if path.suffix == ".json":
        json.loads(path.read_text())
    if path.suffix == ".ckpt":
        torch.load(path, weights_only=True)
    if fnmatch(path.name, WEIGHTS):
        listed = read_contract(path.parent).checkpoints
        if digest not in listed.get(path.name, ()):
            raise Lost(f"{path.name}: not in the contract")


def check_result(output: Path) -> None:
    """The finished job has the bytes of the undisturbed one; raises Lost."""
    check_files(output)
    expected = undisturbed()
    if _digests(output / "checkpoints/test", *_SAME) != expected.files:
        raise Lost("checkpoints: not the bytes of the undisturbed job")
    if _digests(output / "converted_hdf5/test", "episode_*.hdf5") != expected.episodes:
        raise Lost("episodes: not the bytes of the undisturbed job")
    if _losses(output) != expected.losses:
        raise Lost("metrics.jsonl: not the losses of the undisturbed job")
    manifest = json.loads((output / "manifest.json").read_text())
    if (manifest["status"], manifest["exit_code"]) != ("completed", 0):
        raise Lost(f"manifest.json: says {manifest['status']}")


def _digests(folder: Path, *patterns: str) -> dict[str, str]:
    return {path.name: sha256(path) for pattern in patterns for path in folder.glob(pattern)}


def _losses(output: Path) -> list[list[Any]]:
    lines = (output / "checkpoints/test/metrics.jsonl").read_text().splitlines()
    return [[json.loads(line)[column] for column in _COLUMNS] for line in lines]


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
