"""The example for LeRobot's robots, with one that replays a recorded episode."""

import itertools
import runpy
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act import Limits, load_policy
from act.load.loaded_policy import LoadedPolicy
from tests.support.loading import DIMS, FPS, Edit, camera, frames, write_policy
from tests.support.paths import ROOT
from tests.support.serving import served

Main = Callable[[list[str]], int]
TICKS = 4
MODULE = "replayed_robot"


class ReplayedRobot:
    """What LeRobot's robots do, on the observations of an episode."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, float]] = []
        self.calls: list[str] = []
        self.asked = 0

    def connect(self) -> None:
        self.calls.append("connect")

    def disconnect(self) -> None:
        self.calls.append("disconnect")

    def get_observation(self) -> dict[str, Any]:
        seen = observation(self.asked)
        self.asked += 1
        return seen

    def send_action(self, action: Mapping[str, float]) -> None:
        self.sent.append(action)


def observation(ts: int) -> dict[str, Any]:
    state = dict(zip(DIMS, (0.1 * ts, -1.0, 0.25), strict=True))
    images = frames(ts)
    return state | {"front": images["top"], "wrist": images["wrist"]}


@pytest.fixture
def main() -> Main:
    return runpy.run_path(str(ROOT / "examples/run_on_robot.py"))["main"]


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> ReplayedRobot:
    made = ReplayedRobot()
    module = type(sys)(MODULE)
    module.make = lambda: made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    return made


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Its first camera is `front` to the robot, as the dataset had it."""
    return write_policy(tmp_path / "run", camera(0, key="observation.images.front"))


def expected(policy: LoadedPolicy) -> Iterator[dict[str, float]]:
    """The actions that the same observations give without the example."""
    policy.reset(last_action=[observation(0)[name] for name in DIMS])
    for ts in range(1, 1 + TICKS):
        seen = observation(ts)
        state = np.array([seen[name] for name in DIMS], np.float32)
        images = {name: seen[key] for name, key in zip(policy.cameras, CAMERA_KEYS, strict=True)}
        yield dict(zip(DIMS, policy.step(state, images).tolist(), strict=True))


CAMERA_KEYS = ("front", "wrist")
WORDS = ["--robot", f"{MODULE}:make", "--seconds", str(TICKS / FPS)]


def test_nothing_moves_until_it_is_asked_for(
    main: Main, robot: ReplayedRobot, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(policy), *WORDS]) == 0
    assert robot.calls == ["connect", "disconnect"]
    assert robot.asked == 1 + TICKS
    assert robot.sent == []
    assert "would move by {'shoulder'" in capsys.readouterr().out


def test_the_robot_gets_the_policys_actions_within_limits(
    main: Main, robot: ReplayedRobot, policy: Path
) -> None:
    assert main([str(policy), *WORDS, "--send", "--max_change", "0.01"]) == 0
    limits = Limits(action_range="data", margin=0.0, max_change=0.01)
    assert robot.sent == list(expected(load_policy(policy, limits=limits)))
    stood = observation(0)
    for before, after in itertools.pairwise([stood, *robot.sent]):
        assert max(abs(after[name] - before[name]) for name in DIMS) <= 0.0101


def test_a_server_gives_the_same_actions(main: Main, robot: ReplayedRobot, policy: Path) -> None:
    with served(load_policy(policy)) as (port, _):
        assert main(["--server", f"127.0.0.1:{port}", *WORDS, "--send"]) == 0
    assert robot.sent == list(expected(load_policy(policy)))


def test_a_server_limits_the_first_action_too(
    main: Main, robot: ReplayedRobot, policy: Path
) -> None:
    limited = load_policy(policy, limits=Limits(max_change=0.01))
    with served(limited) as (port, _):
        assert main(["--server", f"127.0.0.1:{port}", *WORDS, "--send"]) == 0
    assert robot.sent == list(expected(load_policy(policy, limits=Limits(max_change=0.01))))


def test_a_robot_without_a_camera_of_the_policy_moves_nothing(
    main: Main,
    robot: ReplayedRobot,
    policy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = {key: value for key, value in observation(0).items() if key != "wrist"}
    monkeypatch.setattr(robot, "get_observation", lambda: seen)
    assert main([str(policy), *WORDS, "--send"]) == 1
    assert robot.sent == []
    assert robot.calls == ["connect", "disconnect"]
    assert "expected ['wrist'] too" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_one_line(
    main: Main, robot: ReplayedRobot, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert main(["--server", f"127.0.0.1:{port}", *WORDS]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert robot.calls == []


@pytest.mark.parametrize("words", [["--server", "a:1", "--max_change", "1"], ["a", "--robot", "b"]])
def test_what_the_example_cannot_obey_is_refused(main: Main, words: list[str]) -> None:
    with pytest.raises(SystemExit):
        main([*WORDS, *words])


def unnamed(vector: str) -> Edit:
    return lambda content: content[vector]["dims"][1].update(name=None)


@pytest.mark.parametrize(
    ("edit", "shapes", "reason"),
    [
        (unnamed("state"), {}, "every dim of the state"),
        (unnamed("action"), {}, "every dim of the action"),
        (lambda content: content.update(fps=None), {}, "no fps"),
        (lambda _: None, {"env_state_dim": 2}, "environment state"),
    ],
)
def test_a_policy_that_the_loop_cannot_run_moves_nothing(
    main: Main,
    robot: ReplayedRobot,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    edit: Edit,
    shapes: dict[str, Any],
    reason: str,
) -> None:
    policy = write_policy(tmp_path / "run", edit, **shapes)
    assert main([str(policy), *WORDS, "--send"]) == 1
    assert robot.calls == []
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("stopped: ")
    assert reason in line


def test_an_observation_that_is_refused_stops_the_robot(
    main: Main,
    robot: ReplayedRobot,
    policy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = observation(0) | {"front": np.zeros((32, 32, 3), np.uint8)}
    monkeypatch.setattr(robot, "get_observation", lambda: seen)
    assert main([str(policy), *WORDS, "--send"]) == 1
    assert robot.sent == []
    assert robot.calls == ["connect", "disconnect"]
    assert "stopped: " in capsys.readouterr().err
