"""Limits between policy and robot: each off unless given, each logged as it acts."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act import Limits, LoadedPolicy, UsageError, load_policy
from act.load.limits import Limiter, StaleGuard
from episodes.arrays import FloatArray
from job.sections.contract import Contract
from tests.support.errors import raises_code
from tests.support.loading import DIMS, FPS, STATE, frames, write_policy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose dims went from -1 to 3 in the data."""
    return write_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def contract(folder: Path) -> Contract:
    return load_policy(folder, device="cpu").contract


def limiter(contract: Contract, **limits: Any) -> Limiter:
    return Limiter(Limits(**limits), contract)


def array(*values: float) -> FloatArray:
    return np.array(values, np.float32)


def test_nothing_is_limited_unless_it_is_asked_for(contract: Contract) -> None:
    free = limiter(contract)
    for action in (array(1e9, -1e9, 0), array(-1e9, 1e9, 0)):
        np.testing.assert_array_equal(free.step(action), action)


def test_the_range_of_the_data_has_a_margin_of_its_width(contract: Contract) -> None:
    limits = limiter(contract, action_range="data", margin=0.1)
    np.testing.assert_allclose(limits.step(array(9, -9, 0.5)), [3.4, -1.4, 0.5], rtol=1e-6)
    chunk = np.stack([array(9, 0, 0), array(0, -9, 0)])[None]
    np.testing.assert_allclose(limits.clipped(chunk)[0, :, :2], [[3.4, 0], [0, -1.4]], rtol=1e-6)
    default = limiter(contract, action_range="data").step(array(9, 9, 9))
    np.testing.assert_allclose(default, array(3.2, 3.2, 3.2), rtol=1e-6)


def test_a_range_by_name_or_number_leaves_the_other_dims_free(contract: Contract) -> None:
    for name in ("elbow", 1):
        limits = limiter(contract, action_range={name: (0.0, 0.5)})
        np.testing.assert_array_equal(limits.step(array(9, 9, -9)), array(9, 0.5, -9))


def test_a_dim_changes_by_no_more_than_its_limit_each_tick(contract: Contract) -> None:
    limits = limiter(contract, max_change={"shoulder": 0.25})
    found = [limits.step(array(value, value, 0))[0] for value in (1, 2, 2, -2)]
    assert found == [1, 1.25, 1.5, 1.25]
    each = limiter(contract, max_change=[0.25, 1, 5])
    each.step(array(0, 0, 0))
    np.testing.assert_array_equal(each.step(array(9, -9, 3)), array(0.25, -1, 3))


def test_the_first_action_is_compared_with_where_the_robot_stands(folder: Path) -> None:
    loaded = load_policy(folder, device="cpu", limits=Limits(max_change=0.1))
    stands = loaded.predict(STATE, frames())[0] + 1
    loaded.reset(last_action=stands)
    np.testing.assert_allclose(loaded.step(STATE, frames()), stands - 0.1, rtol=1e-5)
    loaded.reset()
    np.testing.assert_allclose(loaded.step(STATE, frames()), stands - 1, rtol=1e-5)
    wrong = [[0, 0], [0, 0, math.nan], [0, 0, 1e300], "abc", ["a", "b", "c"], [[1], [1, 2]]]
    for one in (*wrong, ["x" * 9999] * 3, np.ma.masked_equal([0, 1, 2], 1)):
        with raises_code(UsageError, "flag-value", "last_action") as refused:
            loaded.reset(last_action=one)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 300


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.int64])
def test_where_the_robot_stands_may_be_a_tensor(contract: Contract, kind: torch.dtype) -> None:
    limits = limiter(contract, max_change=0.5)
    stands = torch.tensor([4, 0, 0], dtype=kind, requires_grad=kind.is_floating_point)
    limits.reset(last_action=stands)
    np.testing.assert_array_equal(limits.step(array(0, 0, 0)), array(3.5, 0, 0))


def test_the_low_pass_is_of_first_order(contract: Contract) -> None:
    limits = limiter(contract, low_pass_hz=1.0)
    share = 1 - math.exp(-2 * math.pi * 1.0 / FPS)
    found = [limits.step(array(value, 0, 0))[0] for value in (0, 1, 1, 1)]
    expected = [0, share, 1 - (1 - share) ** 2, 1 - (1 - share) ** 3]
    assert found == pytest.approx(expected, rel=1e-6)


def test_no_limit_breaks_another(contract: Contract) -> None:
    """From outside of the range the way in is as slow as any other; then it is never left."""
    limits = limiter(contract, action_range={0: (0, 1)}, max_change=0.5, low_pass_hz=2.0)
    limits.reset(last_action=array(3, 0, 0))
    random = np.random.default_rng(0).normal(scale=4, size=(50, 3)).astype(np.float32)
    found = np.array([limits.step(action) for action in random])
    np.testing.assert_allclose(found[:4, 0], [2.5, 2, 1.5, 1])
    assert ((found[4:, 0] >= 0) & (found[4:, 0] <= 1)).all()
    changes = abs(np.diff(found, axis=0))
    assert (changes <= 0.5 + 1e-6).all()
    assert changes[:, 1].max() > 0.4


def test_predict_keeps_to_the_range(folder: Path) -> None:
    free = load_policy(folder, device="cpu").predict(STATE, frames())
    bound = float(np.median(free[:, 1]))
    limits = Limits(action_range={"elbow": (-100, bound)})
    found = load_policy(folder, device="cpu", limits=limits).predict(STATE, frames())
    np.testing.assert_array_equal(found, np.minimum(free, array(np.inf, bound, np.inf)))
    assert (found != free).any()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The lines that were logged so far."""
    monkeypatch.setattr(logging.getLogger("act"), "propagate", True)
    caplog.set_level(logging.INFO, logger="act")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_limit_is_logged_when_it_begins_to_act(contract: Contract, said: Any) -> None:
    limits = limiter(contract, action_range="data", margin=0, max_change={"gripper": 1.0})
    for action in (array(0, 0, 0), array(0, 5, 0), array(0, 6, 0), array(0, 0, 0)):
        limits.step(action)
    assert len(said()) == 1
    for words in ("elbow at 5", "range is limited to -1 to 3", "dataset's unit"):
        assert words in said()[0]
    limits.step(array(0, 4, 3))
    assert len(said()) == 3
    assert "elbow at 4" in said()[1]
    assert "gripper at 3, and its change per tick is limited to 1 per tick" in said()[2]
    for highest in (5, 2, 6):
        limits.clipped(array(highest, 0, 0)[None])
    assert [line for line in said() if "shoulder" in line] == said()[3:]
    assert len(said()) == 5


def test_what_the_policy_wants_is_logged_as_it_gave_it(contract: Contract, said: Any) -> None:
    limits = limiter(
        contract, action_range={"elbow": (-1, 1)}, max_change={"elbow": 0.5}, low_pass_hz=2.0
    )
    limits.reset(last_action=array(0, 0, 0))
    limits.step(array(0, 8, 0))
    assert len(said()) == 2
    assert all("wants elbow at 8," in line for line in said())


def test_a_low_pass_acts_always_and_is_logged_once(folder: Path, said: Any) -> None:
    load_policy(folder, device="cpu", limits=Limits(low_pass_hz=2.5))
    assert [line for line in said() if "2.5 Hz" in line] == said()


def test_none_limits_nothing_and_what_is_no_limits_is_refused(folder: Path) -> None:
    chunk = load_policy(folder, device="cpu", limits=None).predict(STATE, frames())
    np.testing.assert_array_equal(chunk, load_policy(folder, device="cpu").predict(STATE, frames()))
    wrong: Any = {"max_change": 0.1}
    with raises_code(UsageError, "flag-value", "act.Limits"):
        load_policy(folder, device="cpu", limits=wrong)
    with raises_code(UsageError, "flag-value", "2 or more"):
        StaleGuard(1)


WRONG: dict[str, tuple[Any, str, str]] = {
    "action_range": ("all", "flag-value", "'all'"),
    "margin": (-1, "flag-value", "margin"),
    "max_change": (0, "flag-value", "per tick"),
    "low_pass_hz": (FPS, "flag-value", "at most 5 Hz"),
    "stale_ticks": ("x", "flag-value", "2 or more"),
}


@pytest.mark.parametrize("action_range", [None, {"elbow": (0.0, 1.0)}])
def test_a_margin_of_nothing_is_refused(contract: Contract, action_range: Any) -> None:
    with raises_code(UsageError, "flag-unused", "margin is 0.5"):
        limiter(contract, action_range=action_range, margin=0.5)


@pytest.mark.parametrize("name", WRONG)
def test_a_limit_that_cannot_be_is_refused(folder: Path, name: str) -> None:
    value, code, match = WRONG[name]
    given: dict[str, Any] = {"action_range": "data"} | {name: value}
    with raises_code(UsageError, code, match):
        load_policy(folder, device="cpu", limits=Limits(**given))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"action_range": {"elbw": (0, 1)}}, "the nearest dim is elbow"),
        ({"action_range": {3: (0, 1)}}, "dim 3"),
        ({"action_range": {"elbow": (1, 0)}}, r"\(lowest, highest\)"),
        ({"action_range": {"elbow": 1}}, r"\(lowest, highest\)"),
        ({"max_change": [1, 2]}, "3, one for each dim"),
        ({"max_change": {"elbow": "fast"}}, "one by the name of a dim"),
        ({"max_change": {"elbow": 0}}, "above 0"),
        ({"max_change": math.nan}, "above 0"),
        ({"max_change": ["0.5"] * 3}, "3, one for each dim"),
        ({"max_change": {}}, "3, one for each dim"),
        ({"action_range": array(0, 1)}, "by dim"),
        ({"action_range": {"elbow": (0, 10**400)}}, r"\(lowest, highest\)"),
        ({"action_range": "data", "margin": "x"}, "0 or more"),
        ({"action_range": "data", "margin": 10**400}, "0 or more"),
        ({"low_pass_hz": "x"}, "half the fps"),
        ({"low_pass_hz": [1.0]}, "half the fps"),
    ],
)
def test_a_limit_of_a_dim_that_is_not_there_is_refused(
    contract: Contract, given: dict[str, Any], match: str
) -> None:
    with raises_code(UsageError, "flag-value", match):
        limiter(contract, **given)


def test_limits_need_what_the_contract_does_not_always_know(tmp_path: Path) -> None:
    def forget(content: dict[str, Any]) -> None:
        content["fps"] = None
        content["action"]["dims"][1]["minimum"] = None

    folder = write_policy(tmp_path, forget)
    for limits in (Limits(action_range="data"), Limits(low_pass_hz=1.0)):
        with raises_code(UsageError, "limits-unknown"):
            load_policy(folder, device="cpu", limits=limits)


@pytest.mark.parametrize(
    "bounds", [{"minimum": math.nan}, {"maximum": math.inf}, {"minimum": 4.0, "maximum": 3.0}]
)
def test_a_contract_whose_range_is_none_is_refused(tmp_path: Path, bounds: Any) -> None:
    folder = write_policy(tmp_path, lambda content: content["action"]["dims"][1].update(bounds))
    with raises_code(UsageError, "contract-unreadable", r"action\.dims\.1") as refused:
        load_policy(folder, device="cpu", limits=Limits(action_range="data"))
    assert "\n" not in str(refused.value)


def test_what_leaves_is_finite_whatever_the_limits_make_of_it(folder: Path) -> None:
    """A low-pass over what is further apart than float32 goes."""
    loaded = load_policy(folder, device="cpu", limits=Limits(low_pass_hz=1.0))
    loaded.reset(last_action=[3e38, 0, 0])
    loaded.backend.infer = lambda *_: np.full((1, 5, 3), -3e38, np.float32)  # type: ignore[method-assign]
    with np.errstate(over="ignore"), raises_code(UsageError, "action-not-finite", "shoulder"):
        loaded.step(STATE, frames())


def test_pixels_or_a_state_that_stand_still_are_refused(folder: Path) -> None:
    loaded = load_policy(folder, device="cpu", limits=Limits(stale_ticks=3))

    def step(state: float, top: int, wrist: int) -> FloatArray:
        images = {"top": frames(top)["top"], "wrist": frames(wrist)["wrist"]}
        return loaded.step(STATE + np.float32(state), images)

    step(0, 0, 0)
    step(1, 0, 1)
    with raises_code(UsageError, "observation-stale", "^the camera 'top': .* 3 ticks"):
        step(2, 0, 2)
    step(3, 1, 3)
    step(3, 2, 4)
    with raises_code(UsageError, "observation-stale", "^the state: "):
        step(3, 3, 5)
    loaded.reset()
    assert step(3, 3, 5).shape == (len(DIMS),)


def test_a_robot_may_use_the_same_memory_for_each_frame() -> None:
    """What is compared is what was there, not where it was."""
    guard, frame = StaleGuard(2), np.zeros((4, 4, 3), np.uint8)
    for _ in range(5):
        frame += 1
        guard.look({"the camera": frame})
    with raises_code(UsageError, "observation-stale"):
        guard.look({"the camera": frame})


def test_unknown_limits_of_a_policy_without_names_are_by_number(tmp_path: Path) -> None:
    def nameless(content: dict[str, Any]) -> None:
        for dim in content["action"]["dims"]:
            dim["name"] = None

    limits = Limits(action_range={2: (0, 0.5)})
    loaded: LoadedPolicy = load_policy(
        write_policy(tmp_path, nameless), device="cpu", limits=limits
    )
    assert loaded.action_names is None
    assert (loaded.predict(STATE, frames())[:, 2] <= 0.5).all()
