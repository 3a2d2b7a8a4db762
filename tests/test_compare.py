"""`compare`: several runs on one page, and what can be called different."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from act.compare.run import read_runs
from docs.schema_page import SCHEMAS
from job.errors import UsageError
from job.sections.evaluation import Evaluation
from job.sections.simulation import Simulation
from tests.support.commands import run_module

NOW = "2026-01-01T00:00:00+00:00"
VERSIONS = {"project": "0.1.0", "python": "3.11", "torch": None}
HOSTILE = "<script>alert(1)</script>&$x_"


def write_run(folder: Path, fingerprint: str = "a", kl: float = 10.0, fall: float = 0.9) -> Path:
    folder.mkdir(parents=True)
    flags = {"kl_weight": kl, "batch_size": 8, "run_name": folder.name, "task_name": HOSTILE}
    which = {"flags": flags, "dataset": {"fingerprint": fingerprint, "lengths": [9]}}
    (folder / "run.json").write_text(json.dumps(which))
    rows = [
        {
            "epoch": epoch,
            "step": epoch + 1,
            "samples": 4 * (epoch + 1),
            "train": {"loss": fall**epoch},
            "val": {"loss": 1.1 * fall**epoch},
            "lr": 1e-5,
            "grad_norm": 1.0,
            "wait_s": 1.0,
            "compute_s": 9.0,
        }
        for epoch in range(30)
    ]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def write_evaluation(folder: Path, errors: list[float], stride: int = 1) -> None:
    interval = {"mean": sum(errors) / len(errors), "low": None, "high": None}
    dims = [{"name": "x", "mae": 0.1, "mse": 0.1, "mae_in_std": 0.1}]
    chunk = {"mae_in_std": interval, "mse_in_std": 0.1, "by_episode": errors, "dims": dims}
    checkpoint = {"name": "best", "file": "policy_best.ckpt", "sha256": "0" * 64, "epoch": 3}
    checkpoint |= {"errors": chunk | {"by_position": [0.1]}, "above_lowest": interval}
    advice = {"checkpoint": "best", "file": "policy_best.ckpt", "mode": "open_loop"}
    rule: dict[str, Any] = {
        "rule": "r",
        "answer": "yes",
        "text": "t",
        "numbers": {},
        "next_step": None,
    }
    content = {
        "schema_version": "1.0",
        "created_at": NOW,
        "seconds": 1.0,
        "training_seconds": None,
        "complete": True,
        "source": "here",
        "held_out": True,
        "episodes": [
            {"number": n, "source": n, "length": 9, "frames": 9} for n, _ in enumerate(errors)
        ],
        "stride": stride,
        "lag_steps": None,
        "checkpoints": [checkpoint | {"distinguishable": False}],
        "baselines": [],
        "replay": [],
        "look": None,
        "distance": None,
        "recommendation": advice | {"horizon": 5, "ensembling_weight": 0.01, "reason": "r"},
        "verdict": {"answer": "yes", "reasons": [rule], "not_seen": ["contact"]},
        "versions": VERSIONS,
        "commit": None,
    }
    Evaluation.model_validate(content)
    (folder / "evaluation.json").write_text(json.dumps(content))


def write_simulation(folder: Path, rewards: list[float]) -> None:
    count = sum(reward >= 4 for reward in rewards)
    success = {"count": count, "of": len(rewards), "rate": count / len(rewards), "low": 0.0}
    rollouts = {
        "name": "best",
        "file": "policy_best.ckpt",
        "sha256": "0" * 64,
        "way": "chunks",
        "mode": "open_loop",
        "horizon": 5,
        "ensembling_weight": None,
        "success": success | {"high": 1.0},
        "stages": [],
        "highest_rewards": rewards,
        "successes": [reward >= 4 for reward in rewards],
        "seconds_per_episode": 1.0,
        "mean_return": 1.0,
        "path_length": 1.0,
        "jerk": 1.0,
        "videos": [],
    }
    content = {
        "schema_version": "1.0",
        "created_at": NOW,
        "seconds": 1.0,
        "env": HOSTILE,
        "episode_steps": 400,
        "seeds": list(range(len(rewards))),
        "processes": 1,
        "success_reward": 4.0,
        "rollouts": [rollouts],
        "paired": [],
        "demonstrated_path_length": None,
        "demonstrated_jerk": None,
        "versions": VERSIONS,
        "simulator": {},
        "commit": None,
    }
    Simulation.model_validate(content)
    (folder / "simulation_cube.json").write_text(json.dumps(content))


def compare(output: Path, *words: str) -> dict[str, Any]:
    done = run_module("entrypoint", "compare", *words, "--output", output, output=output)
    assert done.code == 0, done.err
    content = json.loads((output / "compare/compare.json").read_text())
    jsonschema.validate(content, SCHEMAS["compare"]())
    return content


def test_runs_are_compared_in_pairs_where_they_can_be(tmp_path: Path) -> None:
    one = write_run(tmp_path / "checkpoints/one")
    two = write_run(tmp_path / "checkpoints" / HOSTILE.replace("/", ""), kl=1.0, fall=0.8)
    other = write_run(tmp_path / "checkpoints/other", fingerprint="b")
    write_evaluation(one, [0.5, 0.6, 0.5, 0.7, 0.6])
    write_evaluation(two, [0.3, 0.4, 0.35, 0.4, 0.45])
    write_evaluation(other, [0.3, 0.4, 0.35, 0.4, 0.45])
    write_simulation(one, [4.0] * 2 + [1.0] * 18)
    write_simulation(two, [4.0] * 12 + [1.0] * 8)
    found = compare(tmp_path, "one", str(two), "other")
    assert found["flags"] == {"kl_weight": [10.0, 1.0, 10.0]}
    assert [run["training_seconds"] for run in found["runs"]] == [300.0] * 3
    assert found["runs"][1]["best_epoch"] == 29
    errors, rates = found["differences"]  # the third is of another dataset
    assert errors["difference"]["mean"] == pytest.approx(0.2)
    assert errors["difference"]["low"] > 0
    assert errors["distinguishable"]
    assert (rates["only_first"], rates["only_second"]) == (0, 10)
    assert rates["p_value"] == pytest.approx(2 / 2**10)
    assert rates["distinguishable"]
    page = (tmp_path / "compare/compare.html").read_text()
    assert "<script>" not in page
    assert page.count("<svg") == 2
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert [link for link in links if not link.startswith("#")] == []
    assert "10 % (0 to 100 %" in re.sub(r"\s+", " ", page)
    before = (tmp_path / "compare/compare.html").read_bytes()
    compare(tmp_path, "one", str(two), "other")
    assert (tmp_path / "compare/compare.html").read_bytes() == before


def test_what_was_measured_in_another_way_is_not_compared(tmp_path: Path) -> None:
    for name, stride in (("one", 1), ("two", 2)):
        write_evaluation(write_run(tmp_path / "checkpoints" / name), [0.5] * 5, stride)
    assert compare(tmp_path, "one", "two")["differences"] == []


def test_half_a_character_is_shown_as_a_question_mark(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / "checkpoints" / name)
    flags = json.dumps({"flags": {"optimizer": "\ud800"}})
    (tmp_path / "checkpoints/one/manifest.json").write_text(flags)
    compare(tmp_path, "one", "two")
    assert "?" in (tmp_path / "compare/compare.html").read_text()


def test_a_line_that_is_no_epoch_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "checkpoints/one")
    for line in ('{"wait_s": "x"}', "[" * 100_000 + "}"):
        (run / "metrics.jsonl").write_text(line)
        with pytest.raises(UsageError, match="cannot be compared"):
            read_runs([run])


@pytest.mark.parametrize("words", [["one"], ["one", "one"], ["one", "none"], ["one", "broken"]])
def test_what_is_no_run_is_refused(tmp_path: Path, words: list[str]) -> None:
    write_run(tmp_path / "checkpoints/one")
    (tmp_path / "checkpoints/broken").mkdir()
    refused = run_module("entrypoint", "compare", *words, "--output", tmp_path, output=tmp_path)
    assert refused.code == 2
    assert len(refused.errors) == 1
    assert not (tmp_path / "compare").exists()
