"""One episode of a policy in an environment, and what is measured of it.

T time steps   A action dims   Q state dims
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from act.load.loaded_policy import LoadedPolicy
from act.simulate.environment import Outcome
from act.simulate.robot import Robot
from episodes.arrays import FloatArray

_JERK_STEPS = 4  # that a third difference takes

Watch = Callable[[], object]  # called after each time step


@dataclass(frozen=True)
class Rollout:
    """What came out of an episode."""

    seed: int
    highest_reward: float
    total_reward: float
    is_success: bool | None  # as the environment itself says; None: it never did
    path_length: float
    jerk: float | None  # None: the episode is too short for one
    seconds: float = 0.0


def roll_out(policy: LoadedPolicy, robot: Robot, seed: int, steps: int, watch: Watch) -> Rollout:
    """Execute the policy from the initial state of a seed; it observes only when it is asked.

    steps: at most so many
    Raises UsageError.
    """
    execution = policy.execution()
    robot.environment.reset(seed)
    states, actions, outcomes = [robot.motion()], list[FloatArray](), list[Outcome]()
    while len(outcomes) < steps and not (outcomes and outcomes[-1].is_over):
        actions.append(execution.step(lambda: policy.predict(*robot.inputs())))
        outcomes.append(robot.environment.step(actions[-1]))
        states.append(robot.motion())
        watch()
    said = [one.is_success for one in outcomes if one.is_success is not None]
    return Rollout(
        seed=seed,
        highest_reward=max(one.reward for one in outcomes),
        total_reward=sum(one.reward for one in outcomes),
        is_success=any(said) if said else None,
        path_length=path_length(np.stack(states)),
        jerk=jerk(np.stack(actions)),
    )


def path_length(states: FloatArray) -> float:
    """How far states (T, Q) travel: the sum of the distances from each to the next."""
    return float(np.linalg.norm(np.diff(states.astype(np.float64), axis=0), axis=1).sum())


def jerk(actions: FloatArray) -> float | None:
    """The mean absolute third difference of actions (T, A); None for fewer than four."""
    if len(actions) < _JERK_STEPS:
        return None
    return float(np.abs(np.diff(actions.astype(np.float64), n=3, axis=0)).mean())
