"""Any environment with gymnasium's interface, by `--env module:factory`.

gymnasium itself need not be installed: `reset(seed=…)` and `step(action)` are all that is needed.
"""

import math
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from act.simulate.environment import Outcome, failed
from episodes.arrays import FloatArray, Frame
from job.errors import UsageError, first_line

_ALONE = "observation"  # the key of an observation that is no map
_SUCCESS = ("is_success", "success")  # in `info`, as LeRobot's environments and others have it


def module_and_factory(env: str) -> tuple[str, str]:
    """The two names of an environment; raises UsageError for one that has not both."""
    module, _, factory = env.partition(":")
    if not (module and factory):
        raise _unknown(env, "it has no module and factory")
    return module, factory


def make(env: str) -> Any:
    """What `module:factory` makes, called without arguments; raises UsageError."""
    module, factory = module_and_factory(env)
    if "" not in sys.path:
        sys.path.insert(0, "")  # the folder in which the command was given, as `python -m` does
    try:
        called = import_module(module)
        for name in factory.split("."):
            called = getattr(called, name)
    except Exception as error:  # whatever a module raises when it is imported
        raise _unknown(env, f"{type(error).__name__}: {first_line(error)}") from error
    try:
        return called()  # type: ignore[operator]
    except Exception as error:
        raise failed(env, "the factory", error) from error


def _unknown(env: str, reason: str) -> UsageError:
    return UsageError(
        f"--env {env} cannot be found ({reason}), expected aloha_transfer_cube, aloha_insertion, "
        f"or module:factory, a function that makes a gymnasium environment; is its folder in "
        f"PYTHONPATH?",
        code="env-unknown",
    )


class Foreign:
    """A gymnasium environment as an `Environment`."""

    def __init__(self, env: str) -> None:
        """Raises UsageError."""
        self._name, self._env = env, make(env)
        self._seen: Any = None

    def reset(self, seed: int) -> None:
        """As `Environment` has it."""
        try:
            self._seen, _ = self._env.reset(seed=seed)
        except Exception as error:
            raise failed(self._name, "reset(seed=…)", error) from error

    def observation(self) -> Mapping[str, Any]:
        """As `Environment` has it; what is no map has the key `observation`."""
        return self._seen if isinstance(self._seen, Mapping) else {_ALONE: self._seen}

    def motion(self) -> None:
        """As `Environment` has it."""

    def step(self, action: FloatArray) -> Outcome:
        """As `Environment` has it."""
        try:
            self._seen, reward, terminated, truncated, info = self._env.step(action)
            given = [info[name] for name in _SUCCESS if name in info]
            is_success = bool(given[0]) if given else None
            outcome = Outcome(float(reward), is_success, bool(terminated) or bool(truncated))
            if not math.isfinite(outcome.reward):
                raise ValueError(f"the reward is {reward!r}")
        except Exception as error:
            raise failed(self._name, "step(action)", error) from error
        return outcome

    def picture(self) -> Frame | None:
        """As `Environment` has it: what `render()` gives, if that is a picture."""
        try:
            frame = np.asarray(self._env.render())
        except Exception:  # many have none
            return None
        return frame if frame.dtype == np.uint8 and frame.ndim == 3 else None
