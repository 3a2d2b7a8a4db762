"""From chunks to one action per tick: open loop, temporal ensembling, the shift of real robots."""

import itertools
import logging
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act import LoadedPolicy, UsageError, load_policy
from act.load.execution import OpenLoop, TemporalEnsembling
from act.load.pace import Pace
from episodes.arrays import FloatArray
from tests.support.errors import raises_code
from tests.support.loading import CHUNK, STATE, frames, part, write_policy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose chunk begins a time step before the observation."""
    edit = part("action", {"first_offset": -1})
    return write_policy(tmp_path_factory.mktemp("policy"), edit)


def load(folder: Path, **options: Any) -> LoadedPolicy:
    return load_policy(folder, device="cpu", **options)


def chunks(*values: list[float]) -> Iterator[FloatArray]:
    """Chunks (K, 1) of one dim."""
    return iter([np.array(one, np.float32)[:, None] for one in values])


def test_a_chunk_is_executed_to_the_horizon() -> None:
    given = chunks([1, 2, 3], [11, 12, 13], [21, 22, 23])
    execution = OpenLoop(2)
    found = [float(execution.step(lambda: next(given))[0]) for _ in range(3)]
    execution.reset()
    found.append(float(execution.step(lambda: next(given))[0]))
    assert found == [1, 2, 11, 21]


def test_temporal_ensembling_is_as_worked_out_by_hand() -> None:
    """Weights exp(-0.5 i), the oldest prediction with i = 0; a true action of 0 counts."""
    given = chunks([1, 2, 0], [0, 0, 4], [6, 8, 10], [5, 0, 0])
    w0, w1, w2 = (math.exp(-0.5 * i) for i in range(3))
    expected = [
        1,
        (w0 * 2 + w1 * 0) / (w0 + w1),
        (w0 * 0 + w1 * 0 + w2 * 6) / (w0 + w1 + w2),
        (w0 * 4 + w1 * 8 + w2 * 5) / (w0 + w1 + w2),  # what the first chunk said is over
    ]
    execution = TemporalEnsembling(0.5)
    found = [float(execution.step(lambda: next(given))[0]) for _ in expected]
    assert found == pytest.approx(expected, rel=1e-6)
    execution.reset()
    assert float(execution.step(lambda: next(chunks([3, 1, 1])))[0]) == 3


def test_an_action_of_zeros_stays_zero() -> None:
    execution = TemporalEnsembling(0.01)
    found = [execution.step(lambda: np.zeros((3, 2), np.float32)) for _ in range(4)]
    np.testing.assert_array_equal(found, np.zeros((4, 2)))


def test_equal_predictions_are_executed_as_they_are() -> None:
    execution = TemporalEnsembling(0.01)
    found = [execution.step(lambda: np.full((4, 1), 0.3, np.float32)) for _ in range(9)]
    np.testing.assert_allclose(found, np.full((9, 1), 0.3), rtol=1e-7)


@pytest.mark.parametrize("weight", [-8, -1e308, 1e308])
def test_no_weight_makes_an_action_that_is_no_number(weight: float) -> None:
    """With -8 the newest of 100 predictions weighs e^792 of the oldest, which is no float64."""
    execution = TemporalEnsembling(weight)
    for value in range(100):
        chunk = np.full((100, 1), value, np.float32)
        action = execution.step(partial(next, iter([chunk])))
        assert action[0] == pytest.approx(value if weight < 0 else 0, rel=1e-3)


def upstreams(policy: LoadedPolicy, ticks: int, weight: float) -> list[FloatArray]:
    """Upstream's table of all predictions, for actions that are never all zeros."""
    table = np.zeros((ticks, ticks + CHUNK, 3))
    found = []
    for t in range(ticks):
        table[t, t : t + CHUNK] = policy.predict(STATE, frames(t))
        now = table[:, t]
        now = now[(now != 0).all(axis=1)]
        weights = np.exp(-weight * np.arange(len(now)))
        found.append((now * (weights / weights.sum())[:, None]).sum(axis=0))
    return found


def test_ensembling_of_a_policy_is_upstreams(folder: Path) -> None:
    loaded = load(folder, mode="temporal_ensembling")
    found = [loaded.step(STATE, frames(t)) for t in range(CHUNK + 3)]
    np.testing.assert_allclose(found, upstreams(loaded, CHUNK + 3, 0.01), rtol=1e-6)
    heavy = load(folder, mode="temporal_ensembling", ensembling_weight=1.0)
    other = [heavy.step(STATE, frames(t)) for t in range(CHUNK + 3)]
    np.testing.assert_allclose(other, upstreams(heavy, CHUNK + 3, 1.0), rtol=1e-6)
    assert abs(np.array(found) - other).max() > 1e-4


def test_open_loop_is_the_default_and_reset_begins_anew(folder: Path) -> None:
    loaded = load(folder)
    chunk, next_chunk = (loaded.predict(STATE, frames(t)) for t in (0, CHUNK))
    found = [loaded.step(STATE, frames(t)) for t in range(CHUNK + 1)]
    np.testing.assert_array_equal(found, [*chunk, next_chunk[0]])
    loaded.reset()
    np.testing.assert_array_equal(loaded.step(STATE, frames(0)), chunk[0])


def test_an_action_of_the_caller_is_his_own(folder: Path) -> None:
    loaded = load(folder)
    expected = loaded.predict(STATE, frames())[1]
    loaded.step(STATE, frames())[:] = 99
    np.testing.assert_array_equal(loaded.step(STATE, frames()), expected)


def test_upstream_executes_the_first_action_and_aligning_drops_it(folder: Path) -> None:
    plain, aligned = load(folder), load(folder, align_first_action=True)
    chunk = plain.predict(STATE, frames())
    np.testing.assert_array_equal(aligned.predict(STATE, frames()), chunk)
    np.testing.assert_array_equal(plain.step(STATE, frames()), chunk[0])
    found = [aligned.step(STATE, frames(t)) for t in range(CHUNK)]
    np.testing.assert_array_equal(found[:-1], chunk[1:])
    next_chunk = aligned.predict(STATE, frames(CHUNK - 1))
    np.testing.assert_array_equal(found[-1], next_chunk[1])


def test_ensembling_aligns_as_well(folder: Path) -> None:
    loaded = load(folder, mode="temporal_ensembling", align_first_action=True)
    first, second = (loaded.predict(STATE, frames(t)) for t in (0, 1))
    np.testing.assert_allclose(loaded.step(STATE, frames(0)), first[1], rtol=1e-6)
    w0, w1 = 1, math.exp(-0.01)
    expected = (w0 * first[2] + w1 * second[1]) / (w0 + w1)
    np.testing.assert_allclose(loaded.step(STATE, frames(1)), expected, rtol=1e-6)


def test_sessions_share_the_network_and_nothing_else(folder: Path) -> None:
    loaded = load(folder)
    one, other = loaded.session(), loaded.session()
    chunk = loaded.predict(STATE, frames())
    for t in range(3):
        np.testing.assert_array_equal(one.step(STATE, frames()), chunk[t])
    np.testing.assert_array_equal(other.step(STATE, frames()), chunk[0])
    one.reset()
    np.testing.assert_array_equal(other.step(STATE, frames()), chunk[1])
    np.testing.assert_array_equal(loaded.step(STATE, frames()), chunk[0])


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if line.startswith("a query takes")]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(logging.getLogger("act"), "propagate", True)  # a command turns it off
    return caplog


def test_queries_that_are_late_are_counted_and_said_once(log: pytest.LogCaptureFixture) -> None:
    pace = Pace(50.0, 1, 100)
    for seconds in (3.0, 0.02, 0.21, 0.02, 0.21):  # the first, and one alone: nobody is warned
        pace.took(seconds)
    assert (pace.late, warned(log)) == (2, [])
    for seconds in (0.25, 0.25):
        pace.took(seconds)
    assert pace.late == 4
    assert warned(log) == [
        "a query takes 250 ms, and has to do for 1 tick at 50 Hz, 20 ms: the robot waits, and "
        "moves more slowly than in the data; execute more of each chunk (mode open_loop, horizon "
        "13 or more), or use a faster machine or smaller images"
    ]


@pytest.mark.parametrize(("seconds", "late"), [(0.1, 0), (0.11, 1), (math.inf, 1)])
def test_a_chunk_has_the_ticks_of_its_horizon(
    log: pytest.LogCaptureFixture, seconds: float, late: int
) -> None:
    pace = Pace(50.0, 5, 5)
    for each in (seconds, seconds):
        pace.took(each)
    assert (pace.late, warned(log)) == (late, [])
    pace.took(0.2)
    assert ["5 ticks at 50 Hz, 100 ms" in line for line in warned(log)] == [True] * late
    assert not any("horizon" in line for line in warned(log))  # the chunk has no more


@pytest.mark.parametrize(
    ("fps", "mode", "late"),
    [
        (1e6, "temporal_ensembling", CHUNK),
        (1e6, "open_loop", 1),
        (1e-3, "temporal_ensembling", 0),
        (None, "temporal_ensembling", 0),
    ],
)
def test_steps_are_timed(
    tmp_path: Path, log: pytest.LogCaptureFixture, fps: float | None, mode: str, late: int
) -> None:
    """No network takes less than the microseconds of the first two, or more than 1,000 s."""
    loaded = load(write_policy(tmp_path, lambda content: content.update(fps=fps)), mode=mode)
    for t in range(CHUNK + 1):
        loaded.step(STATE, frames(t))
    assert loaded.pace.late == late
    assert len(warned(log)) == (late > 1)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"horizon": 0}, "flag-value"),
        ({"horizon": CHUNK + 1}, "flag-value"),
        ({"horizon": CHUNK, "align_first_action": True}, "flag-value"),
        ({"horizon": 2.0}, "flag-value"),
        ({"mode": "closed_loop"}, "flag-value"),
        ({"mode": []}, "flag-value"),
        ({"align_first_action": "x"}, "flag-value"),
        ({"mode": "temporal_ensembling", "ensembling_weight": "x"}, "flag-value"),
        ({"mode": "temporal_ensembling", "ensembling_weight": math.nan}, "flag-value"),
        ({"mode": "temporal_ensembling", "horizon": 2}, "flag-unused"),
        ({"ensembling_weight": 0.1}, "flag-unused"),
    ],
)
def test_a_way_of_execution_that_cannot_be_is_refused(
    folder: Path, options: dict[str, Any], code: str
) -> None:
    with raises_code(UsageError, code):
        load(folder, **options)


def test_there_is_nothing_to_align_where_training_had_sim_true(tmp_path: Path) -> None:
    with raises_code(UsageError, "flag-unused", "sim true"):
        load(write_policy(tmp_path), align_first_action=True)


def test_a_step_takes_one_observation(folder: Path) -> None:
    images = {name: frame[None] for name, frame in frames().items()}
    with raises_code(UsageError, "observation-batch", "use predict"):
        load(folder).step(STATE[None], images)


def test_every_observation_is_checked_whether_it_is_needed_or_not(folder: Path) -> None:
    loaded = load(folder)
    for t in itertools.count():
        with raises_code(UsageError, "observation-not-finite"):
            loaded.step(STATE * np.nan, frames(t))
        if t == CHUNK:
            break
        loaded.step(STATE, frames(t))
