"""The benchmark of training: its yardstick reads the same samples, and the command measures."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch

from act.batches.loader import Pass
from benchmarks.plain import plain_loader
from benchmarks.workload import CHUNK, make_loader
from episodes.episode_set import open_episodes
from tests.support.commands import run_module, run_python
from tests.support.episodes import CAMERAS, write_episodes
from tests.support.paths import SMALL

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("storage", ["raw", "jpeg"])
def test_the_plain_loader_gives_the_samples_that_ours_gives(storage: str, tmp_path: Path) -> None:
    episodes = open_episodes(write_episodes(tmp_path, storage), CAMERAS)
    with make_loader(episodes, 3, 2, torch.device("cpu")) as loader:
        ours = [
            (one.image.permute(0, 1, 4, 2, 3) / 255, one.qpos, one.action, one.is_pad)
            for one in islice(loader.batches(Pass(0, train=True)), 2)
        ]
    plain = list(plain_loader(episodes, 3, 2, CHUNK))
    torch.testing.assert_close(plain, [list(one) for one in ours], rtol=0, atol=0)


def test_the_benchmark_measures_each_part_beside_the_plain_path(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    flags = {"cameras": "2", "size": "32x48", "episodes": "2", "length": "4", "batch": "2"}
    flags |= {"hidden_dim": "32", "dim_feedforward": "32", "precision": "fp32", "device": "cpu"}
    flags |= {"rounds": "1", "steps": "1", "json": str(report), "folder": str(tmp_path)}
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    done = run_python("-m", "benchmarks.train", *words)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(report.read_text())["rows"]
    assert (row["cameras"], row["batch"]) == (2, 2)
    for part in ("loader", "step", "both"):
        assert len(row["rates"][part]) == len(row["rates"][f"plain {part}"]) == 1
        assert min(row["rates"][part] + row["rates"][f"plain {part}"]) > 0
    assert 0 < row["extra"]["wait_share"] < 1
    assert 0 < row["extra"]["utilisation"] < 1
    assert "cameras: 2 of 32x48, batch 2, fp32" in done.stdout


def test_sources_of_frames_are_measured_beside_each_other(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = [str(SMALL / "v30_h264"), "--cameras", "3", "--rounds", "1", "--seconds", "0.05"]
    words += ["--folder", str(tmp_path), "--json", str(report), "--batch", "2"]
    done = run_module("benchmarks.frames", *words, output=tmp_path)
    assert done.code == 0, done.err
    (table,) = json.loads(report.read_text())
    assert table["cameras"] == 3
    assert set(table["rates"]) == {"raw", "jpeg", "video", "cached", "jpeg alone"}
    assert all(rate > 0 for (rate,) in table["rates"].values())
    sizes = table["bytes_per_frame"]
    assert sizes["video"] < sizes["jpeg"] < sizes["raw"]
    assert 96 * 128 * 3 <= sizes["cached"] < 1.2 * sizes["raw"]
    assert "cached : raw = " in done.out


def test_many_episodes_are_measured(tmp_path: Path) -> None:
    words = ["--episodes", "2", "--steps", "20", "--cameras", "1", "--size", "64x96"]
    done = run_module("benchmarks.large", *words, "--folder", tmp_path, output=tmp_path)
    assert done.code == 0, done.err
    cells = done.out.splitlines()[-1].split(" | ")
    assert cells[:2] == ["| 2", "40"]
    assert min(float(cell.strip("| ")) for cell in cells[4:]) > 0
