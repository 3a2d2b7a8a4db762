"""Rates of success while a run trains: part of the state, and of when it ends."""

import json
from pathlib import Path

import pytest
import torch

from act.policies.policy import Policy
from act.training.loop import train
from act.training.rates import Measuring, Rates
from job.errors import Interrupted
from job.manifest import Manifest
from tests.support.training import NO_CAMERAS, Short, assert_same


class Rising:
    """Measures a rate that depends on the weights alone, and can be ended meanwhile."""

    def __init__(self, interrupted_at: int | None = None) -> None:
        self.asked: list[int] = []
        self._interrupted_at = interrupted_at

    def __call__(self, policy: Policy, epoch: int) -> float:
        assert not policy.training
        self.asked.append(epoch)
        torch.rand(7)  # what it draws changes no training
        if epoch == self._interrupted_at:
            raise Interrupted("SIGTERM received", code="interrupted")
        return float(sum(one.detach().double().abs().sum() for one in policy.parameters()) % 1)


def run(short: Short, folder: Path, measuring: Measuring | None) -> None:
    config = short.config(num_epochs=6)
    train(config, short.paths, folder, Manifest(short.tmp_path / "m.json", {}), measuring=measuring)


def rates(folder: Path) -> list[float | None]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line).get("rate") for line in lines]


@pytest.mark.slow
def test_a_run_ended_while_it_measures_has_the_rates_and_weights_of_another(
    tmp_path: Path,
) -> None:
    short = Short(tmp_path, **NO_CAMERAS)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(short, whole, Measuring(Rising(), every=2))
    with pytest.raises(Interrupted):
        run(short, cut, Measuring(Rising(interrupted_at=3), every=2))
    again = Rising()
    run(short, cut, Measuring(again, every=2))
    assert again.asked == [3, 5]  # that of epoch 1 is in the state
    assert rates(cut) == rates(whole)
    assert [rate is not None for rate in rates(whole)] == [False, True] * 3
    assert_same(cut, whole)
    without = tmp_path / "without"
    run(short, without, None)
    assert_same(without, whole)


@pytest.mark.slow
def test_a_rate_that_does_not_rise_ends_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    run(Short(tmp_path, **NO_CAMERAS), folder, Measuring(lambda *_: 0.5, every=1, patience=2))
    assert rates(folder) == [0.5] * 3
    assert (folder / "policy_last.ckpt").exists()


@pytest.mark.parametrize(
    ("found", "ends"), [([0.1, 0.2, 0.3], False), ([0.3, 0.2, 0.3], True), ([0.3, 0.2], False)]
)
def test_what_has_not_risen(found: list[float], ends: bool) -> None:
    kept = Rates(Measuring(lambda *_: 0.0, every=1, patience=2))
    for epoch, rate in enumerate(found):
        kept.add(epoch, rate)
    resumed = Rates(Measuring(lambda *_: 0.0, every=1, patience=2))
    resumed.load_state_dict(kept.state_dict())
    assert resumed.has_not_risen == ends
    with pytest.raises(ValueError, match="numbers"):
        resumed.load_state_dict({"of_epoch": {"1": 0.5}})
