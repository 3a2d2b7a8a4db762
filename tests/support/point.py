"""A small environment with gymnasium's interface: three joints, two cameras, an aim by the seed.

`python -m act simulate RUN --env tests.support.point:make`; RUN is of tests/support/loading.py.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.arrays import Frame
from tests.support.loading import SIZE, frames

BEGUN = "TEST_POINT_BEGUN"  # the variable with the path of a file that each reset touches
NEAR = 0.2  # a reward above it is a success
MAP = ("pixels/a=top", "pixels/b=wrist", "agent_pos=state", "goal=-")


class Point:
    """Joints that go where they are told; the reward is higher where they are nearer to the aim."""

    says_success = True

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin at zero; the aim is the seed's."""
        if begun := os.environ.get(BEGUN):
            Path(begun).touch()
        self.joints = np.zeros(3)
        self.aim = np.random.default_rng(seed).normal(size=3)
        self.ts = 0
        return self._seen(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Go a part of the way."""
        self.ts += 1
        self.joints = self.joints + 0.3 * (action - self.joints)
        reward = 3 - float(abs(self.joints - self.aim).sum())
        info = {"is_success": reward > NEAR} if self.says_success else {}
        return self._seen(), reward, False, self.ts == 12, info

    def render(self) -> Frame:
        """What the first camera sees."""
        return self._seen()["pixels"]["a"]

    def _seen(self) -> dict[str, Any]:
        top, wrist = frames(self.ts % 8).values()
        shade = np.uint8(40 * abs(self.joints[0]) % 200)
        return {
            "pixels": {"a": top // 2 + shade // 2, "b": wrist},
            "agent_pos": self.joints.copy(),
            "goal": self.aim.copy(),
        }


class Mute(Point):
    """One that does not say what a success is."""

    says_success = False


class Broken(Point):
    """One whose second step fails."""

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Fail."""
        if self.ts:
            raise ZeroDivisionError("the arm fell off")
        return super().step(action)


class Unrewarded(Point):
    """One whose reward is no number."""

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """As `Point`, but for the reward."""
        seen, _, *rest = super().step(action)
        return seen, float("nan"), *rest


class Crashing(Point):
    """One that takes its process with it."""

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """End the process."""
        os._exit(3)


class Endless(Point):
    """One that does not end by itself."""

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """As `Point`, without an end."""
        return *super().step(action)[:3], False, {"is_success": False}


def make() -> Point:
    """What --env names."""
    return Point()


def fails() -> Point:
    """A factory that has no simulator."""
    raise OSError("no simulator here")


assert SIZE == (32, 48)
