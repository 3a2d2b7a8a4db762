"""`simulate`: rates with intervals, the same initial states, and environments of others."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from act import LoadedPolicy, load_policy
from act.load.source import find_source
from act.simulate.aloha import Aloha, fitted_pairs
from act.simulate.command import SIMULATE
from act.simulate.environment import StageRule
from act.simulate.intervals import mcnemar, rate_of
from act.simulate.rendering import VARIABLE, choose_renderer
from act.simulate.results import Rules, Tried, paired, rollouts_section, write_upstreams_result
from act.simulate.robot import keys_of
from act.simulate.rollout import Rollout, jerk, path_length
from act.simulate.trials import find_checkpoints, trials_of
from act.simulate.work import Task, Trial, Way, work
from benchmarks.rates import table
from job.errors import UsageError
from job.whole_files import sha256
from lerobot_to_act import demonstrations
from tests.support.commands import HANGS_S, command_environment
from tests.support.episodes import write_episodes
from tests.support.errors import raises_code
from tests.support.jobs import Job
from tests.support.loading import CHUNK, SMALL, part, write_policy, write_weights
from tests.support.point import BEGUN, MAP, NEAR, Point
from tests.support.schema import SIMULATION_VALIDATOR

STREAMS = (subprocess.PIPE, subprocess.PIPE)
POINT = "tests.support.point:make"
TRIAL = Trial("best", Path("policy_best.ckpt"), "0" * 64, Way("chunks", "open_loop", 5, None), ())


def start(*words: str | Path, environment: dict[str, str] | None = None) -> Job:
    given = command_environment() | (environment or {})
    return Job(["entrypoint.py", "simulate", *words], given, *STREAMS)


def simulate(run: Path, *words: str, env: str = POINT) -> tuple[int, str, dict[str, Any] | None]:
    """The exit code of the real command, its errors, and what it wrote."""
    maps = [word for one in MAP for word in ("--map", one)] if env.startswith("tests.") else []
    job = start(run, "--env", env, "--device", "cpu", *maps, *words)
    _, err = job.communicate(timeout=HANGS_S)
    written = list(run.glob("simulation_*.json"))
    return job.wait(), err, json.loads(written[0].read_text()) if written else None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints that differ, `best` under a second name as well."""
    folder = write_policy(tmp_path_factory.mktemp("runs") / "two")
    other = write_weights(folder / "other", SMALL, seed=1) / "policy_best.ckpt"
    other.rename(folder / "policy_last.ckpt")
    (folder / "policy_epoch_3_seed_0.ckpt").hardlink_to(folder / "policy_best.ckpt")
    contract = json.loads((folder / "policy.json").read_text())
    for path in folder.glob("*.ckpt"):
        contract["checkpoints"][path.name] = [sha256(path)]
    (folder / "policy.json").write_text(json.dumps(contract))
    return folder


@pytest.fixture(scope="module")
def simulated(run: Path) -> dict[str, Any]:
    """What the command writes of both, in two ways, by two processes."""
    words = "--checkpoints all --ways contract,temporal_agg --episodes 4 --seed 3 --processes 2"
    code, err, found = simulate(run, *words.split(), "--videos", "2")
    assert code == 0, err
    assert found is not None
    SIMULATION_VALIDATOR.validate(found)
    return found


def by_hand(policy: LoadedPolicy, seed: int) -> list[float]:
    """The rewards of an episode, observed at every tick, as a robot is driven."""
    policy.reset()
    point = Point()
    seen, _ = point.reset(seed=seed)
    rewards, is_over = list[float](), False
    while not is_over:
        images = {"top": seen["pixels"]["a"], "wrist": seen["pixels"]["b"]}
        seen, reward, _, is_over, _ = point.step(policy.step(seen["agent_pos"], images))
        rewards.append(reward)
    return rewards


@pytest.mark.slow
def test_rollouts_are_those_of_a_robot_that_is_driven_by_hand(
    run: Path, simulated: dict[str, Any]
) -> None:
    assert [(one["name"], one["way"]) for one in simulated["rollouts"]] == [
        ("best", "contract"),
        ("best", "temporal_agg"),
        ("last", "contract"),
        ("last", "temporal_agg"),
    ]
    assert simulated["seeds"] == list(range(3, 7))
    ways: dict[str, Any] = {"contract": {}, "temporal_agg": {"mode": "temporal_ensembling"}}
    for one in simulated["rollouts"]:
        policy = load_policy(run / one["file"], device="cpu", **ways[one["way"]])
        expected = [by_hand(policy, seed) for seed in simulated["seeds"]]
        assert one["highest_rewards"] == pytest.approx([max(rewards) for rewards in expected])
        assert one["mean_return"] == pytest.approx(np.mean([sum(one) for one in expected]))
        assert one["successes"] == [max(rewards) > NEAR for rewards in expected]
        assert one["success"] == rate_of(one["successes"]).model_dump()
    rewards = [one["highest_rewards"] for one in simulated["rollouts"]]
    assert rewards[0] != rewards[2]  # the checkpoints do differ


def test_one_process_gives_what_two_gave(
    run: Path, simulated: dict[str, Any], tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("simulation_*"))
    words = "--checkpoints last,best --episodes 4 --seed 3 --processes 1 --videos 0".split()  # noqa: SIM905
    code, err, again = simulate(copy, *words)
    assert code == 0, err
    assert again is not None
    times = {"seconds_per_episode": 0, "videos": []}
    alone = [one | times for one in again["rollouts"]]
    assert alone == [simulated["rollouts"][number] | times for number in (2, 0)]
    [pair] = again["paired"]
    first, second = (one["successes"] for one in again["rollouts"])
    assert pair == paired(first, second, 1).model_dump()


def test_videos_show_some_rollouts(run: Path, simulated: dict[str, Any]) -> None:
    paths = [run / name for one in simulated["rollouts"] for name in one["videos"]]
    assert len(paths) == 8
    for one in simulated["rollouts"]:
        for name in one["videos"]:
            seed, what = name.removesuffix(".mp4").split("_")[-2:]
            success = one["successes"][simulated["seeds"].index(int(seed))]
            assert what == ("success" if success else "failure")
    with av.open(str(paths[0])) as container:
        sizes = [(frame.height, frame.width) for frame in container.decode(video=0)]
    assert sizes == [(32, 48)] * 2  # of twelve time steps


def test_the_table_of_rates_is_what_was_simulated(run: Path, simulated: dict[str, Any]) -> None:
    rows = list(table([run / "simulation_tests.support.point.make.json"]))
    assert len(rows) == 2 + 4
    one = simulated["rollouts"][1]
    cells = [cell.strip() for cell in rows[3].strip("|").split("|")]
    assert cells[:3] == ["two", "best", "ensembling, 0.01"]
    rate = one["success"]
    low, high = (round(100 * rate[name]) for name in ("low", "high"))
    assert cells[3] == f"{100 * rate['rate']:.0f} ({low} to {high})"
    assert cells[4] == "4"


def test_upstreams_result_is_of_the_first_way(run: Path, simulated: dict[str, Any]) -> None:
    lines = (run / "result_policy_last.txt").read_text().splitlines()
    one = simulated["rollouts"][2]
    assert lines[1] == f"Success rate: {one['success']['rate']}"
    assert json.loads(lines[-1]) == one["highest_rewards"]
    assert not (run / "result_policy_epoch_3_seed_0.txt").exists()  # it is the best one


def test_upstreams_result_line_by_line(tmp_path: Path) -> None:
    rollouts = (rollout(0, 4, 250), rollout(1, 2, 40), rollout(2, 0, 0), rollout(3, 4, 110))
    write_upstreams_result(tmp_path, Tried(TRIAL, rollouts), Rules(4.0))
    # as upstream's imitate_episodes.py formats the same numbers
    assert (tmp_path / "result_policy_best.txt").read_text() == (
        "\nSuccess rate: 0.5\nAverage return: 100.0\n\n"
        "Reward >= 0: 4/4 = 100.0%\nReward >= 1: 3/4 = 75.0%\nReward >= 2: 3/4 = 75.0%\n"
        "Reward >= 3: 2/4 = 50.0%\nReward >= 4: 2/4 = 50.0%\n"
        "[250, 40, 0, 110]\n\n[4, 2, 0, 4]"
    )


def rollout(seed: int, highest: float, total: float, success: bool | None = None) -> Rollout:
    return Rollout(seed, highest, total, success, 1.0 + seed, 0.5)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433), (10, 10, 0.7225, 1.0), (41, 50, 0.692, 0.902)],
)
def test_wilsons_interval(count: int, of: int, low: float, high: float) -> None:
    rate = rate_of([True] * count + [False] * (of - count))
    assert (rate.count, rate.of, rate.rate) == (count, of, count / of)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=5e-4)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (2, 2, 1.0),
        (5, 0, 2 / 2**5),
        (1, 3, 2 * (1 + 4) / 2**4),
        (10, 2, 2 * (1 + 12 + 66) / 2**12),
    ],
)
def test_mcnemars_exact_test(only_first: int, only_second: int, p_value: float) -> None:
    assert mcnemar(only_first, only_second) == pytest.approx(p_value)
    assert mcnemar(only_second, only_first) == mcnemar(only_first, only_second)


def test_pairs_are_counted_by_initial_state() -> None:
    pair = paired([True, True, False, True], [True, False, True, False], 3)
    assert (pair.first, pair.second) == (0, 3)
    assert (pair.only_first, pair.only_second) == (2, 1)


def test_stages_are_reached_by_the_highest_reward() -> None:
    rules = Rules(2.0, (StageRule("touched", 1), StageRule("lifted", 2)))
    rollouts = (rollout(0, 2, 9), rollout(1, 1, 3), rollout(2, 0, 0), rollout(3, 2, 2))
    made = rollouts_section(Tried(TRIAL, rollouts), rules)
    assert [(one.name, one.rate.count) for one in made.stages] == [("touched", 3), ("lifted", 2)]
    assert (made.success.count, made.mean_return, made.path_length) == (2, 3.5, 2.5)


def test_path_and_jerk_by_hand() -> None:
    states = np.array([[0, 0], [3, 4], [3, 4], [3, 5]], np.float32)
    assert path_length(states) == 6
    assert jerk(np.array([[0], [1], [8], [27], [64]], np.float32)) == 6  # of t**3
    assert jerk(states[:3]) is None


def test_ways_and_checkpoints(run: Path) -> None:
    def trials(*words: str) -> list[tuple[str, str]]:
        flags = SIMULATE.parse([str(run), "--env", POINT, *words])
        return [
            (t.checkpoint, t.way.name) for t in trials_of(find_checkpoints(flags.run, flags), flags)
        ]

    assert trials() == [("best", "contract")]
    assert trials("--temporal_agg") == [("best", "temporal_agg")]
    # the contract's way is upstream's default here, and `epoch_3` is the best one once more
    assert trials("--ways", "chunks,contract", "--checkpoints", "last,epoch_3,best") == [
        ("last", "chunks"),
        ("epoch_3", "chunks"),
    ]
    flags = SIMULATE.parse([str(run / "policy_last.ckpt"), "--env", POINT])
    [one] = trials_of(find_checkpoints(flags.run, flags), flags)
    assert (one.file, one.way.horizon) == (run / "policy_last.ckpt", CHUNK)
    with raises_code(UsageError, "flags-conflict"):
        flags = SIMULATE.parse([str(one.file), "--env", POINT, "--checkpoints", "last"])
        find_checkpoints(flags.run, flags)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "flag-missing"),
        (["a"], "flag-missing"),
        (["a", "b", "--env", POINT], "flag-missing"),
        (["a", "--env", POINT, "--ways", "contract,fast"], "flag-value"),
        (["a", "--env", POINT, "--ways", "auto"], "flag-value"),
        (["a", "--env", POINT, "--episodes", "0"], "flag-value"),
        (["a", "--env", POINT, "--seed", str(2**32 - 1)], "flag-value"),
        (["a", "--env", POINT, "--ways", "chunks", "--temporal_agg"], "flags-conflict"),
        (["a", "--env", POINT, "--map", "state"], "flag-value"),
    ],
)
def test_what_cannot_be_asked_for(words: list[str], code: str) -> None:
    with raises_code(UsageError, code):
        SIMULATE.parse(words)


def rolled_out(run: Path, env: str, maps: Sequence[str] = MAP) -> Rollout:
    """A rollout of the best checkpoint in this process."""
    pairs = tuple((key, name) for key, _, name in (one.partition("=") for one in maps))
    trial = Trial("best", run / "policy_best.ckpt", sha256(run / "policy_best.ckpt"), TRIAL.way, ())
    sent: list[Any] = []
    work(Task(trial, env, pairs, 3, 20), sent.append)
    return sent[-1][1]


@pytest.mark.parametrize(
    ("env", "code", "match"),
    [
        ("aloha_juggling", "env-unknown", "aloha_insertion"),
        ("tests.support.nowhere:make", "env-unknown", "nowhere"),
        ("tests.support.point:nothing", "env-unknown", "nothing"),
        ("tests.support.point:fails", "env-failed", "no simulator here"),
        ("tests.support.point:Broken", "env-failed", "the arm fell off"),
        ("tests.support.point:Unrewarded", "env-failed", "nan"),
    ],
)
def test_an_environment_that_fails_is_one_line(run: Path, env: str, code: str, match: str) -> None:
    with raises_code(UsageError, code, match) as caught:
        rolled_out(run, env)
    assert len(str(caught.value).splitlines()) == 1


def test_keys_that_are_not_mapped_are_named(run: Path) -> None:
    with raises_code(UsageError, "observation-key", "'goal'.* --map goal=NAME"):
        rolled_out(run, POINT, MAP[:3])
    with raises_code(UsageError, "observation-key", "agent_pos.*--map KEY=state"):
        rolled_out(run, POINT, (*MAP[:2], "agent_pos=-", "position=state"))
    with raises_code(UsageError, "observation-camera-missing", "wrist"):
        rolled_out(run, POINT, ("pixels/a=top", "pixels/b=-", "wrist=wrist", *MAP[2:]))


def test_a_success_must_be_known(run: Path) -> None:
    done = rolled_out(run, "tests.support.point:Mute")
    assert done.is_success is None
    with raises_code(UsageError, "flag-missing", "--success_reward"):
        Rules(None).is_success(done)
    assert Rules(done.highest_reward).is_success(done)
    assert not Rules(done.highest_reward + 1).is_success(done)


def test_a_checkpoint_that_was_replaced_is_refused(run: Path) -> None:
    trial = Trial("best", run / "policy_best.ckpt", sha256(run / "policy_last.ckpt"), TRIAL.way, ())
    with raises_code(UsageError, "checkpoint-changed"):
        work(Task(trial, POINT, (), 3, 20), lambda _: None)


def test_a_signal_ends_it_within_seconds(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("simulation_*"))
    maps = [word for one in MAP for word in ("--map", one)]
    begun = tmp_path / "begun"
    words: list[Any] = [
        copy,
        "--env",
        "tests.support.point:Endless",
        "--episode_steps",
        "1000000",
        *maps,
    ]
    with start(*words, "--device", "cpu", environment={BEGUN: str(begun)}) as job:
        while not begun.exists() and job.poll() is None:
            time.sleep(0.05)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=HANGS_S) == 75
    assert not list(copy.glob("simulation_*"))


def test_a_process_that_ends_by_itself_is_one_line(run: Path) -> None:
    code, err, _ = simulate(run, "--episodes", "1", env="tests.support.point:Crashing")
    assert code == 2
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "point:Crashing: a process of the simulation ended by itself" in line


def test_the_demonstrations_are_read_without_their_images(run: Path, tmp_path: Path) -> None:
    source = find_source(run)
    assert demonstrations((), source) is None
    write_episodes(tmp_path, "raw")
    found = demonstrations((tmp_path,), source)
    assert found is not None
    assert [len(one) for one in found.qpos] == [7, 4, 9]


def test_a_display_is_not_needed() -> None:
    environ: dict[str, str] = {}
    choose_renderer(True, environ, {"EGL": "libEGL.so.1"}.get)
    assert environ == {VARIABLE: "egl"}
    choose_renderer(True, environ, {"OSMesa": "libOSMesa.so.8"}.get)
    assert environ == {VARIABLE: "egl"}  # what is set stays
    environ = {}
    choose_renderer(True, environ, {"OSMesa": "libOSMesa.so.8"}.get)
    assert environ == {VARIABLE: "osmesa"}
    environ = {}
    with raises_code(UsageError, "renderer-missing", "libosmesa6"):
        choose_renderer(True, environ, lambda _: None)
    choose_renderer(False, environ, lambda _: None)
    assert environ == {VARIABLE: "off"}


def test_what_is_not_installed_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_aloha", None)
    with raises_code(UsageError, "package-missing", r"pip install 'lerobot-to-act\[sim\]'"):
        Aloha("aloha_insertion", ())


def fourteen(content: dict[str, Any]) -> None:
    content["fps"] = 50.0


@pytest.fixture(scope="module")
def bimanual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of the simulated ALOHA: 14 joints, the camera `top`."""
    folder = tmp_path_factory.mktemp("runs") / "bimanual"
    return write_policy(folder, fourteen, dims=14, cameras=1, size=(48, 64))


def test_alohas_keys_are_found_by_name(bimanual: Path) -> None:
    contract = find_source(bimanual).contract
    env = "aloha_insertion"
    assert keys_of(env, contract, ()).expected == ["agent_pos", "pixels/top"]
    assert keys_of(env, contract, [("pixels/angle", "top")]).expected == [
        "pixels/angle",
        "agent_pos",
    ]
    assert fitted_pairs(env, contract, [("qpos", "state")]) == (
        ("qpos", "state"),
        ("pixels/top", "top"),
    )
    with raises_code(UsageError, "env-mismatch", "'qpos'"):
        keys_of(env, contract, [("qpos", "state")])


@pytest.mark.parametrize(
    ("edit", "shape", "match"),
    [
        (part("action", {}), {"dims": 3, "cameras": 1}, "3 dims"),
        (lambda content: content.update(fps=30.0), {"dims": 14, "cameras": 1}, "30 Hz"),
        (fourteen, {"dims": 14, "cameras": 2}, "'images/wrist'.*--map pixels/top=wrist"),
    ],
)
def test_a_policy_of_another_robot_is_refused(
    tmp_path: Path, edit: Any, shape: dict[str, Any], match: str
) -> None:
    def whole(content: dict[str, Any]) -> None:
        fourteen(content)
        edit(content)

    contract = find_source(write_policy(tmp_path / "run", whole, **shape)).contract
    with raises_code(UsageError, "env-mismatch", match):
        keys_of("aloha_transfer_cube", contract, ())
