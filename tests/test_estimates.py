"""What the data say about the training to come, on data of which it is known."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convert.check.dataset import check
from convert.episodes import convert
from convert.flags import DataFlags
from episodes.correlation import Autocorrelation, CrossCorrelation
from episodes.episode_set import open_episodes
from episodes.estimate_lines import lines
from episodes.estimates import estimate_episodes
from episodes.folder import find_episodes
from episodes.padding import padding_names, recorded_dims
from job.sections.estimates import Estimates
from tests.support.commands import make_config
from tests.support.episodes import write_official
from tests.support.motion import Pairs, estimates, motion, recorded, widened
from tests.support.paths import SAMPLES, SMALL
from tests.support.recording import FPS, Take, write_v21

LENGTHS = (150, 90, 201, 12, 3, 1)  # some of them too short to say anything


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("lag", [-4, -1, 0, 1, 2, 5])
def test_a_lag_is_found(lag: int, noise: float) -> None:
    found = estimates(recorded(lag, LENGTHS, noise=noise)).lag
    assert found.steps == pytest.approx(lag, abs=0.3)
    assert found.ms == pytest.approx(20 * lag, abs=6)  # at 50 fps
    assert (found.dims, found.matched_by, found.unknown) == (6, "position", None)
    assert (found.lowest_steps, found.highest_steps) == (lag, lag)
    assert found.fits_sim_true is (lag >= 0)
    assert found.fits_sim_false is (lag >= 2)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_a_lag_between_steps_is_found(share: float) -> None:
    """A state that is between where the action was at t - 1 and at t - 2."""
    pairs = [(s + share * (np.roll(s, 1, axis=0) - s), a) for s, a in recorded(1, [200] * 4)]
    assert estimates([(s[1:], a[1:]) for s, a in pairs]).lag.steps == pytest.approx(
        1 + share, abs=0.15
    )


@pytest.mark.parametrize("smooth", [1, 3, 10])
def test_motion_of_any_speed_has_its_lag(smooth: int) -> None:
    assert estimates(recorded(3, [200] * 5, smooth=smooth)).lag.steps == pytest.approx(3, abs=0.2)


def test_without_a_frame_rate_there_are_steps_alone() -> None:
    found = estimates(recorded(3, [200] * 4), fps=None)
    assert (found.lag.steps, found.lag.ms) == (3.0, None)
    assert found.chunk.changes_steps is not None
    assert found.chunk.changes_s is found.chunk.action_s is None


def test_dims_are_matched_by_name_in_any_order_and_width() -> None:
    """Of the other dims none moves with that in its place, and one name comes twice."""
    random = np.random.default_rng(1)
    pairs = []
    for state, action in recorded(2, [200] * 4, dims=3):
        other = motion(random, len(state), 4)
        pairs.append((np.c_[other[:, :2], state[:, [0, 2, 1]]], np.c_[action, other[:, 2:]]))
    names = ("x", "x", "a", "c", "b"), ("a", "b", "c", "x", "x")
    by_name = estimates(pairs, *names).lag
    assert (by_name.steps, by_name.dims, by_name.matched_by) == (2.0, 3, "name")
    by_place = estimates(pairs).lag
    assert (by_place.steps, by_place.matched_by) == (None, "position")
    narrower = [(state[:, :4], action) for state, action in pairs]
    in_common = estimates(narrower, names[0][:4], names[1]).lag
    assert (in_common.steps, in_common.dims) == (2.0, 2)


def test_dims_that_cannot_be_matched_are_not() -> None:
    pairs = [(widened(state, 0.0), action) for state, action in recorded(1, [200] * 3)]
    for names in ((None, None), ([f"s{i}" for i in range(7)], [f"a{i}" for i in range(6)])):
        found = estimates(pairs, *names).lag
        assert (found.steps, found.dims, found.matched_by) == (None, 0, None)
        assert found.unknown


def test_still_dims_noise_and_turned_signs_do_not_matter() -> None:
    random = np.random.default_rng(2)
    pairs = []
    for state, action in recorded(2, [150] * 5, dims=2):
        noise = 1e-3 * random.standard_normal((2, len(state), 3)).astype(np.float32)
        turned = state * np.array([1, -30], np.float32)
        pairs.append((widened(turned, 0.3, *noise[0].T), widened(action, 0.3, *noise[1].T)))
    found = estimates(pairs).lag
    assert (found.steps, found.dims) == (2.0, 2)


def test_a_glitch_does_not_outweigh_the_motion() -> None:
    pairs = recorded(3, [200] * 3)
    for number, (state, action) in enumerate(pairs):
        state[50, number] += 1000
        action[120, number + 3] -= 1000
    found = estimates(pairs).lag
    assert (found.steps, found.dims) == (3.0, 6)


def still(pairs: Pairs) -> Pairs:
    return [(np.zeros_like(state), action) for state, action in pairs]


def short(pairs: Pairs) -> Pairs:
    return [(state[:9], action[:9]) for state, action in pairs]


def slow(_: Pairs) -> Pairs:
    """Motion that does not turn within an episode."""
    path = np.linspace(0, 1, 31, dtype=np.float32)[:, None] ** np.arange(2, 5)
    return [(path[:-1], path[1:])] * 4


def unrelated(pairs: Pairs) -> Pairs:
    random = np.random.default_rng(3)
    return [(motion(random, len(state), state.shape[1]), action) for state, action in pairs]


def speeds(pairs: Pairs) -> Pairs:
    """Actions that are changes of the state, as of an end effector."""
    return [(state, np.diff(state, axis=0, append=state[-1:])) for state, _ in pairs]


def periodic(_: Pairs) -> Pairs:
    angle = np.arange(200)[:, None] / 2 + np.arange(3)
    return [(np.sin(angle - 1).astype(np.float32), np.sin(angle).astype(np.float32))]


def far(_: Pairs) -> Pairs:
    """A lag of more than a second."""
    return [(s[40:], a[:-40]) for s, a in recorded(-30, [300] * 3)]


@pytest.mark.parametrize(
    "change", [still, short, slow, unrelated, speeds, periodic, far], ids=lambda f: f.__name__
)
def test_a_lag_that_is_not_clear_is_unknown(change: Callable[[Pairs], Pairs]) -> None:
    found = estimates(change(recorded(1, [200] * 4))).lag
    assert (found.steps, found.ms, found.fits_sim_true, found.fits_sim_false) == (None,) * 4
    assert found.unknown


def test_the_correlation_is_what_its_definition_says() -> None:
    """Each lag by itself, with the energies of the values that it has."""
    random = np.random.default_rng(4)
    episodes = [random.standard_normal((2, rows, 3)) for rows in (40, 23, 5)]
    measured, most = CrossCorrelation(8, 3), 8
    for x, y in episodes:
        measured.add(x, y)
    for place, lag in enumerate(range(-most, most + 1)):
        sums = np.zeros((3, 3))
        for x, y in episodes:
            if abs(lag) <= len(x) // 2:
                a = x[max(0, -lag) : len(x) - max(0, lag)]
                b = y[max(0, lag) : len(y) - max(0, -lag)]
                sums += [(a * b).sum(0), (a * a).sum(0), (b * b).sum(0)]
        expected = sums[0] / np.sqrt(sums[1] * sums[2])
        np.testing.assert_allclose(measured.value()[place], expected, atol=1e-12)


@pytest.mark.parametrize("of_changes", [True, False])
def test_the_chunk_is_where_the_autocorrelation_falls_below_a_half(of_changes: bool) -> None:
    """As LeRobot's visualizer does it with actions, of episodes of one length."""
    pairs = recorded(1, [160] * 4, dims=5, smooth=12)
    lags = []
    for dim in range(5):
        mean = np.zeros(81)
        for _, action in pairs:
            values = action[:, dim].astype(float)
            values = np.diff(values) if of_changes else values
            values = values - values.mean()
            measured = Autocorrelation(80, 1)
            measured.add(values[:, None])
            products = [values[: len(values) - lag] @ values[lag:] for lag in range(80)]
            mean[:80] += np.array(products)
            assert measured.falls_below(0.5) == [
                int(np.argmax(np.array(products) < 0.5 * products[0]))
            ]
        lags.append(int(np.argmax(mean[:80] < 0.5 * mean[0])))
    found = estimates(pairs).chunk
    expected = sorted(lags)[2]
    assert (found.changes_steps if of_changes else found.action_steps) == expected
    assert (found.changes_s if of_changes else found.action_s) == pytest.approx(expected / 50)
    assert (found.dims, found.chunk_size) == (5, 100)


def test_the_chunk_is_that_of_the_dims_that_move() -> None:
    """An average over 9 steps is alike for 4 of them; more still or noisy dims change nothing."""
    random = np.random.default_rng(5)
    pairs = recorded(1, [400] * 4, dims=2, smooth=9)
    more = [
        (state, widened(action, 0.0, 1.0, 2.0, *random.standard_normal((3, len(action)))))
        for state, action in pairs
    ]
    assert estimates(more).chunk.changes_steps == estimates(pairs).chunk.changes_steps == 5
    assert estimates(more).chunk.dims == 2


def test_without_motion_nothing_is_suggested() -> None:
    pairs = [(np.zeros((50, 3), np.float32), np.ones((50, 3), np.float32))]
    found = estimates(pairs)
    assert (found.chunk.changes_steps, found.chunk.action_steps, found.chunk.dims) == (
        None,
        None,
        0,
    )
    assert (found.idle.start_share, found.idle.end_share, found.idle.longest) == (None, None, None)
    assert found.jumps.dims == []
    assert found.lag.unknown


@pytest.mark.parametrize(
    ("turn", "scale", "limit"), [(2 * np.pi, 1.0, 1.0), (360.0, 100.0, 100.0)], ids=["rad", "deg"]
)
def test_an_angle_that_wraps_jumps_and_a_gripper_that_closes_does_not(
    turn: float, scale: float, limit: float
) -> None:
    """In radians beside a gripper of 0 to 1, in degrees beside one of 0 to 100."""
    rows = np.arange(120)
    wrist = ((rows / 60 * turn) % turn - turn / 2).astype(np.float32)  # from half to minus half
    gripper = scale * ((rows // 10) % 2).astype(np.float32)
    state = np.column_stack([wrist, gripper]).astype(np.float32)
    calm = np.stack([wrist[:50], gripper[:50]], 1)
    names = ["wrist", "gripper"]
    found = estimates([(calm, calm), (state, state)], names, names).jumps
    assert (found.state_range, found.action_range) == (limit, limit)
    assert [(dim.vector, dim.name) for dim in found.dims] == [
        ("state", "wrist"),
        ("action", "wrist"),
    ]
    jump = found.dims[0]
    assert (jump.jumps, jump.episode, jump.step) == (1, 1, 60)
    assert jump.largest == pytest.approx(turn * 59 / 60, rel=1e-3)


def test_a_gripper_may_have_a_range_of_its_own() -> None:
    gripper = np.tile(np.array([-1, 1], np.float32), 20)
    pairs = [(np.column_stack([gripper, gripper * np.float32(0.7)]),) * 2]
    names = ["left_Gripper.pos", "arm"]
    found = estimates(pairs, names, names).jumps
    assert (found.state_range, found.dims) == (2.0, [])
    other = estimates(pairs, ["dof", "arm"], ["dof", "arm"]).jumps
    assert (other.state_range, len(other.dims)) == (1.0, 4)


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_idle_frames_at_the_ends_are_counted(noise: float) -> None:
    """Still for 20 and 9 steps around a motion, which the state follows by 3 of them."""
    random = np.random.default_rng(6)
    path = np.concatenate([np.zeros(20), np.linspace(0, 1, 51), np.ones(9)])
    action = np.stack([path, -path], 1)
    state = np.concatenate([np.zeros((3, 2)), action[:-3]])
    blur = noise * random.standard_normal((2, 80, 2))
    never_idle = action[20:71].astype(np.float32)
    pairs = [
        (never_idle, never_idle),
        ((state + blur[0]).astype(np.float32), (action + blur[1]).astype(np.float32)),
    ]
    found = estimates(pairs).idle
    assert found.longest == pytest.approx(20, abs=2)
    assert found.longest_episode == 1
    assert found.start_share == pytest.approx(20 / 131, abs=4 / 131)
    assert found.end_share == pytest.approx(6 / 131, abs=4 / 131)


def test_an_episode_that_is_idle_throughout_counts_once() -> None:
    path = np.linspace(0, 1, 30, dtype=np.float32)[:, None]
    pairs = [(path, path), (np.full_like(path, 0.5), np.full_like(path, 0.5))]
    found = estimates(pairs).idle
    assert (found.start_share, found.end_share) == (0.5, 0.0)
    assert (found.longest, found.longest_episode) == (30, 1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_vectors_have_estimates(data: st.DataObject) -> None:
    """Of any length, width and size that float32 has: figures that JSON has, or unknown."""
    widths = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    kind = st.one_of(
        st.sampled_from([0.0, 1.0, -1.0, 3e38, -3e38, 1e-40]),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
    pairs = []
    for rows in data.draw(st.lists(st.integers(1, 25), min_size=1, max_size=4)):
        pairs.append(tuple(data.draw(arrays(np.float32, (rows, w), elements=kind)) for w in widths))
    found = estimates([(state, action) for state, action in pairs])
    whole = Estimates.model_validate_json(found.model_dump_json())
    assert whole == found
    json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert all(sentence and "nan" not in sentence for sentence in lines(found).values())


def test_dims_that_were_added_are_known_by_their_names() -> None:
    assert recorded_dims(None, 5) == 5
    assert recorded_dims(["a", "b", *padding_names(3)], 5) == 2
    assert recorded_dims(["a", "padding[1]"], 2) == 2


@pytest.mark.parametrize("root", SAMPLES, ids=lambda path: path.name)
def test_the_sample_has_the_lag_of_its_simulator(root: Path) -> None:
    """30 ms, as the same task has at 50 fps (docs/check.md)."""
    facts = check(root, DataFlags(sim="true")).facts
    assert facts["lag"]["steps"] == 0.3
    assert facts["lag"]["ms"] == pytest.approx(28, abs=3)
    assert (facts["lag"]["fits_sim_true"], facts["lag"]["fits_sim_false"]) == (True, False)
    assert facts["lag"]["sim"] is True
    assert (facts["lag"]["dims"], facts["lag"]["matched_by"]) == (13, "name")
    assert (facts["chunk"]["changes_steps"], facts["chunk"]["action_steps"]) == (4, 8)
    assert facts["chunk"]["action_s"] == 0.8
    assert facts["jumps"]["dims"] == []


def test_a_report_has_a_line_for_each_and_the_names_of_the_manifest() -> None:
    report = check(SAMPLES[0], DataFlags())
    for name in ("lag", "chunk", "jumps", "idle"):
        assert (
            len([line for line in report.text().splitlines() if line.startswith(f"{name} ")]) == 1
        )
    facts = json.loads(json.dumps(report.as_json(), allow_nan=False))["facts"]
    assert facts["lag"]["sim"] is False  # --sim auto, and no task
    for name, section in Estimates.model_fields.items():
        assert section.annotation is not None
        section.annotation.model_validate_json(json.dumps(facts[name]))


def test_a_dataset_without_a_state_has_no_estimates(tmp_path: Path) -> None:
    report = check(SAMPLES[0], DataFlags(state_key=("state",)))
    assert [finding.code for finding in report.errors] == ["state-missing"]
    assert not {"lag", "chunk", "jumps", "idle"} & set(report.facts)


@pytest.mark.parametrize(("every", "lag"), [(1, 3), (3, 2)], ids=["whole", "thinned"])
def test_a_dataset_has_the_lag_that_it_was_made_with(tmp_path: Path, every: int, lag: int) -> None:
    """Also where only every third row is left: its steps are those of the rows, 100 ms each."""
    takes = []
    for state, action in recorded(lag, (90, 70), dims=2):
        moments = range(0, len(state) * every, every)
        columns = {"observation.state": state, "action": action}
        extra = {name: pa.array(list(rows)) for name, rows in columns.items()}
        takes.append(Take(moments[-1] + 1, moments, extra=extra))
    found = check(write_v21(tmp_path / "dataset", takes), DataFlags()).facts["lag"]
    assert (found["steps"], found["dims"], found["matched_by"]) == (lag, 2, "name")
    assert found["ms"] == pytest.approx(lag * every * 1000 / FPS, abs=2)


def test_episodes_of_alohas_recorder_have_estimates(tmp_path: Path) -> None:
    """They have no names, and no frame rate."""
    write_official(tmp_path, [100, 80], dims=3)
    paths = find_episodes(tmp_path)
    for path, (state, action) in zip(paths, recorded(2, (100, 80), dims=3), strict=True):
        with h5py.File(path, "r+") as file:
            file["observations/qpos"][...], file["action"][...] = state, action
            file.attrs["sim"] = False
    found = estimate_episodes(open_episodes(paths), 100)
    assert (found.lag.steps, found.lag.ms, found.lag.matched_by) == (2.0, None, "position")
    assert (found.lag.dims, found.lag.sim, found.lag.fits_sim_false) == (3, False, True)
    assert all("\n" not in sentence for sentence in lines(found).values())


def test_only_chosen_episodes_have_a_say() -> None:
    one = check(SAMPLES[0], DataFlags(), only=frozenset({1})).facts
    assert one["idle"]["longest_episode"] == 1
    assert one["chunk"] != check(SAMPLES[0], DataFlags()).facts["chunk"]


def test_the_check_and_the_plan_say_the_same(tmp_path: Path) -> None:
    """Of episode files that have fewer dims than the dataset; tests/test_job.py has more."""
    flags = replace(
        make_config(tmp_path), input=(SMALL / "v30_h264",), state_dim=5, sim="true", episodes="1:3"
    )
    plan = estimate_episodes(open_episodes(convert(flags, tmp_path / "episodes").paths), 20)
    chosen = DataFlags(state_dim=5, chunk_size=20, sim="true")
    facts = check(SMALL / "v30_h264", chosen, only=frozenset({1, 2})).facts
    for found in (facts["idle"], *facts["jumps"]["dims"]):  # the dataset's own number
        found.update({name: found[name] - 1 for name in found if "episode" in name})
    assert plan.model_dump(mode="json") == {name: facts[name] for name in lines(plan)}
    assert plan.chunk.dims == 5
