"""What a policy is tried in: one interface, for gym-aloha's tasks and for any other environment.

A action dims   Q state dims
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from episodes.arrays import FloatArray, Frame
from job.errors import UsageError, first_line


@dataclass(frozen=True)
class StageRule:
    """A stage of a task: it is reached when the reward is that high."""

    name: str
    reward: float


@dataclass(frozen=True)
class Outcome:
    """What a time step gave."""

    reward: float
    is_success: bool | None  # as the environment itself says; None: it does not
    is_over: bool


class Environment(Protocol):
    """A simulated robot and its task; what it raises of its own is a UsageError."""

    def reset(self, seed: int) -> None:
        """Begin an episode from the initial state of a seed, the same in any process."""

    def observation(self) -> Mapping[str, Any]:
        """What the robot observes now, by key, maps within maps; this is what renders."""

    def motion(self) -> FloatArray | None:
        """The state (Q,) now, without rendering; None where only `observation` has it."""

    def step(self, action: FloatArray) -> Outcome:
        """Execute an action (A,)."""

    def picture(self) -> Frame | None:
        """A frame (H, W, 3) for a video; None where there is none."""


def failed(env: str, what: str, error: Exception) -> UsageError:
    """The error of an environment that raised one.

    what: which of its functions
    """
    return UsageError(
        f"{env}: {what} raised {type(error).__name__} ({first_line(error)}), expected gymnasium's "
        f"interface with the policy's observations and actions; mend the environment",
        code="env-failed",
    )
