"""gym-aloha's tasks, which are upstream ACT's in MuJoCo, without a display.

gym-aloha renders three cameras at every time step, which takes far longer than the physics. Here
only what is asked for is rendered; rendering does not change the physics.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from act.load.packages import needed
from act.simulate.environment import Outcome, StageRule
from act.simulate.rendering import choose_renderer, renderer_failed
from episodes.arrays import FloatArray, Frame
from job.errors import UsageError
from job.flags import Pair
from job.sections.contract import Contract

logger = logging.getLogger("act")

FPS = 50.0
PACKAGES = ("gym-aloha", "dm-control", "mujoco")
_STATE, _ENV_STATE, _PIXELS = "agent_pos", "env_state", "pixels/"
_CAMERAS = ("top", "angle", "front_close", "left_pillar", "right_pillar")  # of its scene
_DIMS = 14
_SIZE = (480, 640)  # height and width that upstream renders at
_VIDEO_SIZE = (240, 320)

Pose = Callable[[Any, int], Any]


@dataclass(frozen=True)
class Task:
    """One of gym-aloha's tasks."""

    name: str  # of its class
    scene: str
    pose: Pose  # of the objects, by seed; takes gym_aloha.utils
    stages: tuple[StageRule, ...]


TASKS = {
    "aloha_transfer_cube": Task(
        "TransferCubeTask",
        "bimanual_viperx_transfer_cube.xml",
        lambda utils, seed: utils.sample_box_pose(seed),
        (
            StageRule("touched", 1),
            StageRule("lifted", 2),
            StageRule("touched by the other hand", 3),
            StageRule("handed over", 4),
        ),
    ),
    "aloha_insertion": Task(
        "InsertionTask",
        "bimanual_viperx_insertion.xml",
        lambda utils, seed: np.concatenate(utils.sample_insertion_pose(seed)),
        (
            StageRule("both touched", 1),
            StageRule("both lifted", 2),
            StageRule("peg touches socket", 3),
            StageRule("inserted", 4),
        ),
    ),
}


def check_packages() -> None:
    """Raise UsageError where gym-aloha or MuJoCo is not installed."""
    needed("gym_aloha", "sim")
    for module in ("mujoco", "dm_control"):  # which look for a renderer as they are imported
        if find_spec(module) is None:
            needed(module, "sim")


def fitted_pairs(env: str, contract: Contract, pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The keys of the policy's observations: those given, and by the camera's name the others.

    Raises UsageError where the policy is of another robot, or of another rate.
    """
    if contract.fps not in (None, FPS):
        raise _mismatch(env, f"runs at {contract.fps:g} Hz", f"{FPS:g}")
    dims = sum(not dim.padding for dim in contract.action.dims)
    if dims != _DIMS:
        raise _mismatch(env, f"has actions of {dims} dims", str(_DIMS))
    keys, names = {key for key, _ in pairs}, {name for _, name in pairs}
    own = {_STATE: "state", **{_PIXELS + name: name for name in _CAMERAS}}
    cameras = [camera.name for camera in contract.cameras]
    by_name = [
        (key, name)
        for key, name in own.items()
        if name in ("state", *cameras) and key not in keys and name not in names
    ]
    return (*pairs, *by_name)


def check_keys(env: str, keys: Sequence[str]) -> None:
    """Raise UsageError for a key that is no part of gym-aloha's observations."""
    known = [_STATE, _ENV_STATE, *(_PIXELS + name for name in _CAMERAS)]
    for key in keys:
        if key not in known:
            name = key.removeprefix("images/")
            raise UsageError(
                f"{env} has no {key!r}, which the policy observes, expected one of {known}; add "
                f"--map KEY={name}, such as --map {_PIXELS}top={name}",
                code="env-mismatch",
            )


def _mismatch(env: str, found: str, expected: str) -> UsageError:
    return UsageError(
        f"{env}: the policy {found}, expected {expected}, as of that robot; give the environment "
        f"that it was trained for",
        code="env-mismatch",
    )


class Aloha:
    """One of gym-aloha's tasks as an `Environment`."""

    def __init__(self, env: str, keys: Sequence[str]) -> None:
        """keys: of the observations that are asked for; raises UsageError."""
        check_packages()
        choose_renderer(any(key.startswith(_PIXELS) for key in keys))
        task = TASKS[env]
        try:
            self._control, self._physics, self._sim = _built(task)
        except Exception as error:
            raise renderer_failed(error) from error
        self._task, self._utils, self._keys = task, needed("gym_aloha.utils", "sim"), keys

    def reset(self, seed: int) -> None:
        """As `Environment` has it."""
        self.place(self._task.pose(self._utils, seed))

    def place(self, pose: Any) -> None:
        """Begin an episode with the objects at a pose: position and quaternion of each."""
        self._sim.BOX_POSE[0] = pose  # the task reads it there
        self._control.reset()

    def motion(self) -> FloatArray:
        """As `Environment` has it: (14,)."""
        qpos: FloatArray = self._control.task.get_qpos(self._physics).astype(np.float32)
        return qpos

    def observation(self) -> Mapping[str, Any]:
        """As `Environment` has it."""
        return {key: self._observed(key) for key in self._keys}

    def _observed(self, key: str) -> Any:
        if key == _STATE:
            return self.motion()
        if key == _ENV_STATE:
            return self._control.task.get_env_state(self._physics)
        return self._rendered(key.removeprefix(_PIXELS), _SIZE)

    def _rendered(self, camera: str, size: tuple[int, int]) -> Frame:
        try:
            frame: Frame = self._physics.render(*size, camera_id=camera).copy()
        except Exception as error:
            raise renderer_failed(error) from error
        return frame

    def step(self, action: FloatArray) -> Outcome:
        """As `Environment` has it; physics that diverge end the episode, as they cannot go on."""
        diverged = needed("dm_control.rl.control", "sim").PhysicsError
        try:
            reward = float(self._control.step(action).reward)
        except diverged as error:
            logger.warning("the physics diverged (%s), and the episode ends", error)
            return Outcome(0.0, None, True)
        return Outcome(reward, None, False)

    def picture(self) -> Frame:
        """As `Environment` has it."""
        return self._rendered("top", _VIDEO_SIZE)


def _built(task: Task) -> tuple[Any, Any, Any]:
    """dm_control's environment, its physics, and gym-aloha's module of the task."""
    names = ("dm_control.rl.control", "dm_control.mujoco", "gym_aloha.constants")
    control, mujoco, constants = (import_module(name) for name in names)
    sim = import_module("gym_aloha.tasks.sim")
    own: Any = type(task.name, (_Unobserved, getattr(sim, task.name)), {})
    physics = mujoco.Physics.from_xml_path(str(constants.ASSETS_DIR / task.scene))
    made = control.Environment(physics, own(random=0), float("inf"), control_timestep=constants.DT)
    return made, physics, sim


class _Unobserved:
    """A task whose observation is made elsewhere, and only when it is asked for."""

    def get_observation(self, physics: Any) -> dict[str, Any]:
        """Nothing, in place of frames of three cameras."""
        return {}
