"""gym-aloha's tasks: recorded actions reach full reward with the versions that are installed.

Skipped without the extra [sim], as on Python 3.13, which has no wheel of dm-control's labmaze.
"""

import importlib
import json
import subprocess
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act.simulate.aloha import TASKS, Aloha
from act.simulate.rendering import choose_renderer
from tests.support.commands import HANGS_S, command_environment
from tests.support.jobs import Job
from tests.support.loading import write_policy
from tests.support.paths import DATA
from tests.support.schema import SIMULATION_VALIDATOR

pytestmark = [
    pytest.mark.skipif(
        not all(map(find_spec, ("gym_aloha", "mujoco"))), reason="the extra [sim] is not installed"
    ),
    pytest.mark.filterwarnings("default"),  # of MuJoCo's and gymnasium's own
]

needs_renderer = pytest.mark.skipif(
    not any(map(find_library, ("EGL", "OSMesa"))), reason="nothing here renders without a display"
)

ENVS = tuple(TASKS)
STREAMS = (subprocess.PIPE, subprocess.PIPE)


@pytest.mark.parametrize("env", ENVS)
def test_recorded_actions_reach_full_reward(env: str) -> None:
    recorded = np.load(DATA / f"replay/{env}.npz")
    assert recorded["max_reward"].tolist() == [4, 4]
    aloha = Aloha(env, ("agent_pos",))
    for pose, actions, qpos in zip(
        *(recorded[name] for name in ("object_pose", "action", "qpos")), strict=True
    ):
        aloha.place(pose)
        rewards, states = list[float](), list[Any]()
        for action in actions:
            states.append(aloha.motion())
            rewards.append(aloha.step(action).reward)
        assert max(rewards) == 4
        assert abs(np.stack(states) - qpos).max() < 0.02  # rad; another MuJoCo is not the same


@needs_renderer
@pytest.mark.parametrize("env", ENVS)
def test_an_episode_is_gym_alohas_own(env: str) -> None:
    choose_renderer(True)  # before anything imports dm_control
    theirs = importlib.import_module("gym_aloha.env").AlohaEnv(
        task=env.removeprefix("aloha_"), obs_type="pixels_agent_pos"
    )
    ours = Aloha(env, ("agent_pos", "pixels/top", "env_state"))
    start, _ = theirs.reset(seed=1003)
    ours.reset(1003)
    action = start["agent_pos"].astype(np.float32) + 0.1
    for ts in range(3):
        seen = ours.observation() if ts == 2 else None  # theirs renders at each time step
        if seen is not None:
            assert np.array_equal(seen["pixels/top"], start["pixels"]["top"])
            assert np.array_equal(seen["agent_pos"], start["agent_pos"].astype(np.float32))
            assert seen["env_state"].shape == (7 * (1 + (env == "aloha_insertion")),)
        start, reward, *_ = theirs.step(action)
        assert ours.step(action).reward == reward
        assert np.array_equal(ours.motion(), start["agent_pos"].astype(np.float32))


def test_initial_states_are_those_of_the_seed() -> None:
    aloha = Aloha("aloha_transfer_cube", ("env_state",))

    def start(seed: int) -> Any:
        aloha.reset(seed)
        return aloha.observation()["env_state"]

    first = start(1000)
    assert not np.array_equal(first, start(1001))
    assert np.array_equal(first, start(1000))


def at_50_hz(content: dict[str, Any]) -> None:
    content["fps"] = 50.0


@pytest.mark.slow
@needs_renderer
def test_the_command_simulates(tmp_path: Path) -> None:
    run = write_policy(tmp_path / "run", at_50_hz, dims=14, cameras=1, size=(48, 64))
    words = "--env aloha_insertion --episodes 1 --episode_steps 6 --videos 1 --device cpu"
    job = Job(["entrypoint.py", "simulate", run, *words.split()], command_environment(), *STREAMS)
    _, err = job.communicate(timeout=HANGS_S)
    assert job.wait() == 0, err
    found = json.loads((run / "simulation_aloha_insertion.json").read_text())
    SIMULATION_VALIDATOR.validate(found)
    [one] = found["rollouts"]
    assert [stage["name"] for stage in one["stages"]][-1] == "inserted"
    assert found["success_reward"] == 4
    assert len(one["videos"]) == 1
    assert (run / one["videos"][0]).stat().st_size > 0
    assert {"gym-aloha", "mujoco", "dm-control"} <= found["simulator"].keys()


def test_a_renderer_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    run = write_policy(tmp_path / "run", at_50_hz, dims=14, cameras=1, size=(48, 64))
    words: list[str | Path] = [
        "entrypoint.py",
        "simulate",
        run,
        "--env",
        "aloha_insertion",
        "--episodes",
        "1",
    ]
    job = Job(words, command_environment() | {"MUJOCO_GL": "pencil"}, *STREAMS)
    _, err = job.communicate(timeout=HANGS_S)
    assert job.wait() == 2
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "MUJOCO_GL=pencil" in line
    assert "libosmesa6" in line
