"""What a client asks, from the keys of its message.

state, env_state           vectors, in the dataset's dims and units
images/<name>, or images   a camera's frame, or a map of them: (H, W, 3), or (3, H, W) as openpi's
                           ALOHA robots send them
step, reset                true: one action of an episode in place of a chunk; begin another episode
last_action                with reset: where the robot stands
prompt                     openpi's robots send it; a policy of one task has no use for it
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from act.load.keys import ENV_STATE, STATE, ObservationKeys, cut, flat, numbers
from act.serve.wire import malformed
from job.errors import UsageError

_STEP, _RESET, _LAST_ACTION = "step", "reset", "last_action"
_BESIDES = (_STEP, _RESET, _LAST_ACTION, "prompt")
_MOST_NAMED = 8  # keys in a message


@dataclass(frozen=True)
class Request:
    """An observation and what is to be done with it; `is_reset` may stand alone."""

    state: Any = None
    env_state: Any = None
    images: dict[str, Any] = field(default_factory=dict)
    is_step: bool = False
    is_reset: bool = False
    last_action: Any = None

    @property
    def kind(self) -> str:
        """What it counts as: chunk, step or reset."""
        return "step" if self.is_step else "reset" if self.state is None else "chunk"


class Keys(ObservationKeys):
    """The keys of clients, and what each stands for."""

    def request(self, message: Any) -> Request:
        """What a message asks for; raises UsageError."""
        given = dict[str, Any]()
        if not isinstance(message, dict):
            raise malformed(f"it is {type(message).__name__}")
        for key, value in flat("", message, malformed):
            if key in given:
                raise malformed(f"it has {key!r} twice")
            given[key] = value
        is_step, is_reset = (_switch(given, name) for name in (_STEP, _RESET))
        images = self.images(given)
        self.check_known(given, _BESIDES)
        state, env_state = (self.vector(name, given) for name in (STATE, ENV_STATE))
        if state is None and (images or is_step or not is_reset):
            wanted = [key for key, meaning in self._of.items() if meaning == STATE]
            raise UsageError(
                f"observation: {', '.join(map(repr, wanted))} is missing, found "
                f"{_named(given) or 'nothing'}, expected {self.expected}",
                code="observation-key",
            )
        last_action = given.get(_LAST_ACTION)
        if last_action is not None:
            last_action = numbers(_LAST_ACTION, last_action)
            if not is_reset:
                raise UsageError(
                    f"observation: {_LAST_ACTION!r} is given without {_RESET!r}, expected both or "
                    f"none, as an episode begins where the robot stands; add {_RESET!r}: true",
                    code="observation-key",
                )
        return Request(state, env_state, images, is_step, is_reset, last_action)


def _switch(given: dict[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool | np.bool_):
        raise UsageError(
            f"observation: {name!r} is a {type(value).__name__}, expected true or false",
            code="observation-key",
        )
    return bool(value)


def _named(given: dict[str, Any]) -> str:
    names = [repr(cut(key)) for key in given]
    return ", ".join([*names[:_MOST_NAMED], *(["…"] if len(names) > _MOST_NAMED else [])])
