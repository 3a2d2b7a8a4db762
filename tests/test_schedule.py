"""Learning rates, and what grows over the first steps."""

from itertools import pairwise
from pathlib import Path

import pytest

from act.policies.warmup import warmup_factor
from act.training.schedule import lr_factor
from tests.support.commands import make_config


def test_constants_are_the_default(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    assert {lr_factor(config, step, 50) for step in range(50)} == {1.0}
    assert {warmup_factor(step, 0) for step in range(50)} == {1.0}


def test_warm_up_grows_evenly_and_stays(tmp_path: Path) -> None:
    config = make_config(tmp_path, lr_warmup=4)
    rates = [lr_factor(config, step, 50) for step in range(6)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert [warmup_factor(step, 2) for step in range(3)] == [0.5, 1.0, 1.0]


def test_cosine_falls_to_0_at_the_last_step(tmp_path: Path) -> None:
    config = make_config(tmp_path, lr_schedule="cosine", lr_warmup=10)
    rates = [lr_factor(config, step, 111) for step in range(111)]
    assert max(rates) == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0.0, abs=1e-12)
    assert all(now > after for now, after in pairwise(rates[10:]))
