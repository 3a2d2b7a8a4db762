"""The simulated robot as a policy sees it: the environment's keys are the policy's.

Q state dims
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from act.load.keys import ENV_STATE, STATE, ObservationKeys, flat
from act.simulate import aloha
from act.simulate.environment import Environment
from act.simulate.foreign import Foreign
from episodes.arrays import FloatArray, Frame
from job.errors import UsageError
from job.flags import Pair
from job.sections.contract import Contract


class Robot:
    """An environment whose observations go to a policy."""

    def __init__(self, env: str, contract: Contract, pairs: Sequence[Pair]) -> None:
        """pairs: --map; raises UsageError where environment and policy do not fit."""
        self._env, self._keys = env, keys_of(env, contract, pairs)
        self.environment: Environment = (
            aloha.Aloha(env, self._keys.expected) if env in aloha.TASKS else Foreign(env)
        )

    def inputs(self) -> tuple[Any, dict[str, Any], Any]:
        """State, images and environment state of now, as `predict` takes them."""
        given = self._flat()
        self._keys.check_known(given)
        state = self._state(given)
        return state, self._keys.images(given), self._keys.vector(ENV_STATE, given)

    def motion(self) -> FloatArray:
        """The state (Q,) of now, rendering nothing that is not rendered yet."""
        state = self.environment.motion()
        return np.asarray(self._state(self._flat()), np.float32) if state is None else state

    def picture(self) -> Frame | None:
        """A frame for a video: the environment's, else what the first camera sees."""
        picture = self.environment.picture()
        if picture is None:
            picture = next(iter(self._keys.images(self._flat()).values()), None)
        return picture

    def _flat(self) -> dict[str, Any]:
        refuse = partial(_no_text, self._env)
        return dict(flat("", self.environment.observation(), refuse))

    def _state(self, given: Mapping[str, Any]) -> Any:
        state = self._keys.vector(STATE, given)
        if state is None:
            raise UsageError(
                f"{self._env}: its observation has no state, found {list(given)}, expected "
                f"{self._keys.expected}; add --map KEY=state",
                code="observation-key",
            )
        return state


def keys_of(env: str, contract: Contract, pairs: Sequence[Pair]) -> ObservationKeys:
    """The keys of an environment's observations; raises UsageError for what does not fit."""
    if env in aloha.TASKS:
        pairs = aloha.fitted_pairs(env, contract, pairs)
    cameras = [camera.name for camera in contract.cameras]
    keys = ObservationKeys(cameras, contract.env_state is not None, pairs)
    if env in aloha.TASKS:
        aloha.check_keys(env, keys.expected)
    return keys


def _no_text(env: str, found: str) -> UsageError:
    return UsageError(f"{env}: {found} in its observation, expected text", code="env-failed")
