"""Run a policy on a LeRobot robot: `python run_on_robot.py RUN --robot MODULE:FUNCTION`.

It needs this project in the robot's environment (`pip install .`). Nothing moves until `--send` is
given: without it the actions are printed beside where the robot stands. FUNCTION gives the robot,
not yet connected; for an SO-101, in a file `my_robot.py`:

    from lerobot.cameras.opencv import OpenCVCameraConfig
    from lerobot.robots.so101_follower import SO101Follower, SO101FollowerConfig

    def make():
        front = OpenCVCameraConfig(index_or_path=0, fps=30, width=640, height=480)
        return SO101Follower(SO101FollowerConfig(port="/dev/ttyACM0", cameras={"front": front}))

Any object will do that has `connect()`, `get_observation()`, `send_action(action)` and
`disconnect()`, with the dims of state and action by the names that the dataset has, and frames by
the names of the cameras. `--server HOST:PORT` asks a policy server in place of a RUN on this
machine; the limits are the server's then, given to `serve`. The first action is compared with where
the robot stands, so that a limit on changes holds for it as well.
"""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from act import Limits, UsageError, load_policy

Step = Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]
Reset = Callable[[np.ndarray | None], object]


class Policy(NamedTuple):
    """What the loop needs of a policy, whether it is here or behind a server."""

    step: Step
    reset: Reset  # with where the robot stands, if that is known
    contract: Mapping[str, Any]  # policy.json


@contextmanager
def local(asked: argparse.Namespace) -> Iterator[Policy]:
    """The policy of a run on this machine."""
    limits = Limits(
        action_range="data",
        margin=asked.margin,
        max_change=asked.max_change,
        stale_ticks=asked.stale_ticks,
    )
    policy = load_policy(asked.run, limits=limits)
    policy.warm_up()
    yield Policy(policy.step, policy.reset, policy.contract.model_dump())


@contextmanager
def remote(asked: argparse.Namespace) -> Iterator[Policy]:
    """A policy behind `serve`; its key is taken from ACT_API_KEY."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    from act.serve.wire import pack, unpack

    key = os.environ.get("ACT_API_KEY")
    headers = {"Authorization": f"Api-Key {key}"} if key else None
    with connect(
        f"ws://{asked.server}", compression=None, max_size=None, additional_headers=headers
    ) as connection:

        def answer() -> Any:
            try:
                frame = connection.recv()
            except ConnectionClosed as closed:
                raise RuntimeError(f"the server has closed the connection ({closed})") from closed
            if isinstance(frame, str):  # the server's sentence; no action was given
                raise RuntimeError(frame)
            return unpack(frame)

        def step(state: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
            connection.send(pack({"state": state, "images": dict(images), "step": True}))
            return answer()["actions"][0]

        def reset(last_action: np.ndarray | None) -> None:
            stands = {} if last_action is None else {"last_action": last_action}
            connection.send(pack({"reset": True} | stands))
            answer()

        yield Policy(step, reset, answer()["contract"])


def names_of(contract: Mapping[str, Any], what: str) -> list[str]:
    """The dims of the state or the action, as the dataset calls them."""
    return [dim["name"] for dim in contract[what]["dims"] if not dim["padding"]]


def camera_keys(contract: Mapping[str, Any]) -> dict[str, str]:
    """The robot's name of each camera, by the policy's: `front` of observation.images.front."""
    return {
        camera["name"]: (camera["key"] or camera["name"]).rpartition("observation.images.")[2]
        for camera in contract["cameras"]
    }


def refuse_unknown(contract: Mapping[str, Any]) -> None:
    """Raise RuntimeError for a policy that this loop cannot feed, or whose actions it cannot name.

    What upstream or LeRobot trained has no names of dims, and may have no rate.
    """
    if contract["env_state"] is not None:
        raise RuntimeError("the policy observes an environment state, expected state and images")
    if contract["fps"] is None:
        raise RuntimeError("the policy.json has no fps, expected the rate of the ticks; write it")
    for what in ("state", "action"):
        if None in names_of(contract, what):
            raise RuntimeError(
                f"the policy.json does not name every dim of the {what}, expected the robot's "
                f"names; write them"
            )


def run(robot: Any, policy: Policy, seconds: float, send: bool) -> int:
    """The control loop; returns how many ticks came late."""
    contract = policy.contract
    state_names, action_names = names_of(contract, "state"), names_of(contract, "action")
    cameras = camera_keys(contract)
    period = 1 / contract["fps"]
    seen = robot.get_observation()
    if missing := [name for name in (*state_names, *cameras.values()) if name not in seen]:
        raise RuntimeError(f"the robot observes {sorted(seen)}, expected {missing} too")
    stands = np.array([seen.get(name, np.nan) for name in action_names], np.float32)
    policy.reset(stands if np.isfinite(stands).all() else None)
    late, due = 0, time.monotonic()
    for tick in range(round(seconds / period)):
        seen = robot.get_observation()
        state = np.array([seen[name] for name in state_names], np.float32)
        images = {name: seen[key] for name, key in cameras.items()}
        action = dict(zip(action_names, policy.step(state, images).tolist(), strict=True))
        if send:
            robot.send_action(action)
        elif tick % max(1, round(1 / period)) == 0:  # once a second
            away = {name: value - seen[name] for name, value in action.items() if name in seen}
            shown = away or action
            print(f"tick {tick}: would move by", {k: round(v, 4) for k, v in shown.items()})
        due += period
        late += time.monotonic() > due
        # a late tick moves the following ones, and is not caught up
        due = max(due, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
    return late


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("run", nargs="?", help="folder or name of a run")
    source.add_argument("--server", metavar="HOST:PORT", help="policy server, in place of a run")
    parser.add_argument("--robot", required=True, metavar="MODULE:FUNCTION")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--send", action="store_true", help="move the robot")
    parser.add_argument("--margin", type=float, default=0.0, help="see Limits")
    parser.add_argument("--max_change", type=float, help="per tick, in the dataset's unit")
    parser.add_argument("--stale_ticks", type=int, help="ticks without a change that are refused")
    asked = parser.parse_args(words)
    if asked.server and (asked.margin or asked.max_change or asked.stale_ticks):
        parser.error("with --server limits are the server's: give them to serve")
    if ":" not in asked.robot:
        parser.error(f"--robot is {asked.robot!r}, expected MODULE:FUNCTION")
    return asked


def main(words: Sequence[str]) -> int:
    """Run it; 1 where something was refused, after which the robot gets no more actions."""
    asked = arguments(words)
    module, _, function = asked.robot.partition(":")
    robot = getattr(importlib.import_module(module), function)()
    try:
        with remote(asked) if asked.server else local(asked) as policy:
            refuse_unknown(policy.contract)
            robot.connect()
            try:
                late = run(robot, policy, asked.seconds, asked.send)
            finally:
                robot.disconnect()
    except (UsageError, RuntimeError, ConnectionError) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    print(f"{late} ticks came late")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))  # for a robot in a file beside
    sys.exit(main(sys.argv[1:]))
