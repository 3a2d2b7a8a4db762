"""Training in this process on three small episodes, and what two runs must have in common."""

import json
from pathlib import Path
from typing import Any

import pytest

from act.processes.group import Group
from act.training.data import open_data
from act.training.loop import train, validate
from act.training.setup import prepare
from act.training.training_run import TrainingRun
from job.errors import OutputError
from job.manifest import Manifest
from lerobot_to_act import JobFlags
from tests.support.commands import make_config
from tests.support.episodes import write_episodes
from tests.support.errors import raises_code

COMPARED = ("policy_last.ckpt", "policy_best.ckpt", "policy_epoch_0_seed_0.ckpt")


def prepared(tmp_path: Path, **flags: Any) -> TrainingRun:
    config = make_config(tmp_path, **({"batch_size": 1, "chunk_size": 5} | flags))
    paths = write_episodes(tmp_path / "episodes", "raw")
    manifest = Manifest(tmp_path / "m.json", config.resolved())
    return prepare(config, open_data(paths, ()), tmp_path / "run", manifest, Group())


def same(one: list[dict[str, Any]], other: list[dict[str, Any]], tolerance: float = 1e-5) -> bool:
    """Whether two runs had the same losses, to `tolerance` of the whole loss.

    A part of it that is small drifts further: where a gradient is nothing but rounding, AdamW makes
    whole steps of it, and sums round by their order.
    """
    pairs = zip(one, other, strict=True)
    return all(
        a[part][name] == pytest.approx(b[part][name], rel=0, abs=tolerance * b[part]["loss"])
        for a, b in pairs
        for part in ("train", "val")
        for name in a[part]
    )


def losses(folder: Path) -> list[tuple[Any, ...]]:
    """The columns of metrics.jsonl that no clock changes."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = ("epoch", "step", "samples", "train", "val", "lr", "grad_norm")
    return [tuple(str(row[name]) for name in names) for row in rows]


def assert_same(folder: Path, undisturbed: Path) -> None:
    for name in COMPARED:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert losses(folder) == losses(undisturbed)


# Flags of a policy that sees nothing, which trains ten times as fast.
NO_CAMERAS: dict[str, Any] = {"camera_names": "none", "backbone_weights": None}


class Short:
    """Three epochs on three small episodes, in this process."""

    def __init__(self, tmp_path: Path, **flags: Any) -> None:
        """flags: of all its runs"""
        self.tmp_path = tmp_path
        self.flags = flags
        self.folder = tmp_path / "run"
        self.paths = write_episodes(tmp_path / "episodes", "raw")

    def config(self, **flags: Any) -> JobFlags:
        return make_config(
            self.tmp_path,
            **({"num_epochs": 3, "batch_size": 1, "chunk_size": 5} | self.flags | flags),
        )

    def run(self, **flags: Any) -> Manifest:
        config = self.config(**flags)
        manifest = Manifest(self.tmp_path / "manifest.json", config.resolved())
        train(config, self.paths, self.folder, manifest)
        return manifest

    def finish(self, **flags: Any) -> None:
        """Run to the end of a job: the run is marked as finished."""
        self.run(**flags).complete()

    def interrupted(self, monkeypatch: pytest.MonkeyPatch, **flags: Any) -> None:
        """Run until a full disk ends it, as the second epoch begins: a state is there."""
        begun: list[object] = []

        def full(*arguments: Any) -> Any:
            begun.append(arguments)
            if len(begun) == 2:
                raise OutputError("the disk is full", code="output-unwritable")
            return validate(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr("act.training.loop.validate", full)
            with raises_code(OutputError, "output-unwritable"):
                self.run(**{"state_interval_minutes": 0} | flags)
        assert (self.folder / "state.ckpt").exists()
