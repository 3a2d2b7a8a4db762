"""What only a GPU can show: the same batches and losses as on the CPU, and no wait in a step."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from act.batches.loader import Pass
from act.training.loop import train
from act.training.step import add_gradient, begin_step, update
from episodes.episode_set import open_episodes
from job.manifest import Manifest
from tests.support.batches import batches
from tests.support.commands import make_config
from tests.support.episodes import CAMERAS, write_episodes
from tests.support.training import prepared, same

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]


def rows(tmp_path: Path, name: str, **flags: Any) -> list[dict[str, Any]]:
    """The losses of 20 steps on three small episodes."""
    given = {"num_epochs": 10, "batch_size": 1, "chunk_size": 5, "dropout": 0, "device": "cuda"}
    config = make_config(tmp_path, **given | flags)
    paths = write_episodes(tmp_path / name / "episodes", "raw")
    train(
        config,
        paths,
        tmp_path / name / "run",
        Manifest(tmp_path / f"{name}.json", config.resolved()),
    )
    lines = (tmp_path / name / "run/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("cached", [0, 1])
def test_batches_on_the_gpu_are_those_of_the_cpu(tmp_path: Path, cached: int) -> None:
    episodes = open_episodes(write_episodes(tmp_path, "jpeg"), CAMERAS)
    here = batches(episodes)
    there = batches(episodes, torch.device("cuda"), cached=cached)
    for one, other in zip(here, there, strict=True):
        for name in ("image", "qpos", "action", "is_pad", "eps", "share"):
            assert torch.equal(getattr(one, name), getattr(other, name).cpu()), name


@pytest.mark.parametrize("cached", [0, 1])
def test_jpegs_of_the_gpu_are_nearly_those_of_the_cpu(tmp_path: Path, cached: int) -> None:
    episodes = open_episodes(write_episodes(tmp_path, "jpeg"), CAMERAS)
    there = batches(episodes, torch.device("cuda"), cached=cached, decodes_jpegs=1)
    for one, other in zip(batches(episodes), there, strict=True):
        error = (one.image.float() - other.image.cpu().float()).abs()
        assert float(error.mean()) < 2, "of 255"


@pytest.mark.parametrize("flags", [{}, {"camera_names": "none", "backbone_weights": None}])
def test_fp32_follows_the_cpu(tmp_path: Path, flags: dict[str, Any]) -> None:
    cpu = rows(tmp_path, "cpu", device="cpu", **flags)
    assert same(cpu, rows(tmp_path, "cuda", precision="fp32", **flags), tolerance=1e-3)


@pytest.mark.parametrize("flags", [{"precision": "tf32"}, {"precision": "bf16"}])
def test_fewer_bits_follow_fp32(tmp_path: Path, flags: dict[str, str]) -> None:
    fp32 = rows(tmp_path, "fp32", precision="fp32")
    assert same(fp32, rows(tmp_path, "fewer", **flags), tolerance=0.03)


def test_the_cache_changes_nothing(tmp_path: Path) -> None:
    read = rows(tmp_path, "read", data_cache="none")
    assert same(read, rows(tmp_path, "cached", data_cache="gpu"))


@pytest.mark.slow
def test_graphs_follow_plain(tmp_path: Path) -> None:
    plain = rows(tmp_path, "plain", precision="fp32", compile="off")
    assert same(plain, rows(tmp_path, "graphs", precision="fp32", compile="on"), tolerance=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_reads_nothing_from_the_device(tmp_path: Path, precision: str) -> None:
    """Whatever makes the host wait for the device is an error."""
    run = prepared(tmp_path, device="cuda", precision=precision, jitter_hue=0.1, grad_clip=1)
    with run.loader:
        list(run.loader.batches(Pass(0, train=False)))
        made = list(run.loader.batches(Pass(0, train=True)))
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for batch in made:
                begin_step(run)
                found = add_gradient(run, batch, 0)
                update(run, batch.step_samples, torch.stack(tuple(found.values())))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert run.progress.step == len(made) > 0
