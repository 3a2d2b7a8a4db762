"""What a client asks, from the keys of its message.

state, env_state           vectors, in the dataset's dims and units
images/<name>, or images   a camera's frame, or a map of them: (H, W, 3), or (3, H, W) as openpi's
                           ALOHA robots send them
step, reset                true: one action of an episode in place of a chunk; begin another episode
last_action                with reset: where the robot stands
prompt                     openpi's robots send it; a policy of one task has no use for it
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act.serve.wire import malformed
from job.command_line import nearest
from job.errors import UsageError
from job.flags import Pair

_STATE, _ENV_STATE, _IMAGES = "state", "env_state", "images/"
_STEP, _RESET, _LAST_ACTION = "step", "reset", "last_action"
_BESIDES = (_STEP, _RESET, _LAST_ACTION, "prompt")
_LEFT_OUT = "-"
_MOST_NAMED = 8  # keys in a message
_CHANNELS = 3


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


class Keys:
    """The keys of clients, and what each stands for."""

    def __init__(self, cameras: Sequence[str], has_env_state: bool, pairs: Sequence[Pair]) -> None:
        """pairs: --map, a client's key and what it is here; raises UsageError for what is not."""
        own = [*(_IMAGES + name for name in cameras), _STATE, *([_ENV_STATE] * has_env_state)]
        self._of = {key: _meaning(name, cameras, own) for key, name in pairs}
        if len(self._of) < len(pairs):
            raise UsageError("--map names a key twice, expected keys that differ", code="map-key")
        taken = list(self._of.values())
        for one in taken:
            if one.startswith(_IMAGES) and taken.count(one) > 1:
                raise UsageError(f"--map gives several keys to {one}, expected one", code="map-key")
        for key in own:
            if key not in taken:
                self._of.setdefault(key, key)
        for key in own:
            if key not in self._of.values():
                raise UsageError(
                    f"--map gives {self._of[key]!r} for {key}, and no key is {key}, which the "
                    f"policy observes, expected one; add --map KEY={key.removeprefix(_IMAGES)}",
                    code="map-key",
                )

    @property
    def expected(self) -> list[str]:
        """The keys of an observation."""
        return [key for key, meaning in self._of.items() if meaning != _LEFT_OUT]

    def request(self, message: Any) -> Request:
        """What a message asks for; raises UsageError."""
        given = dict[str, Any]()
        if not isinstance(message, dict):
            raise malformed(f"it is {type(message).__name__}")
        for key, value in _flat("", message):
            if key in given:
                raise malformed(f"it has {key!r} twice")
            given[key] = value
        is_step, is_reset = (_switch(given, name) for name in (_STEP, _RESET))
        images = self._images(given)
        self._check_known(given)
        state, env_state = (self._vector(name, given) for name in (_STATE, _ENV_STATE))
        if state is None and (images or is_step or not is_reset):
            wanted = [key for key, meaning in self._of.items() if meaning == _STATE]
            raise UsageError(
                f"observation: {', '.join(map(repr, wanted))} is missing, found "
                f"{_named(given) or 'nothing'}, expected {self.expected}",
                code="observation-key",
            )
        last_action = given.get(_LAST_ACTION)
        if last_action is not None:
            last_action = _numbers(_LAST_ACTION, last_action)
            if not is_reset:
                raise UsageError(
                    f"observation: {_LAST_ACTION!r} is given without {_RESET!r}, expected both or "
                    f"none, as an episode begins where the robot stands; add {_RESET!r}: true",
                    code="observation-key",
                )
        return Request(state, env_state, images, is_step, is_reset, last_action)

    def _images(self, given: dict[str, Any]) -> dict[str, Any]:
        """By camera, be it one that the policy has or not: its own check names those."""
        found = dict[str, Any]()
        for key, value in given.items():
            meaning = self._of.get(key, key)
            if not meaning.startswith(_IMAGES):
                continue
            name = meaning.removeprefix(_IMAGES)
            if name in found:
                raise UsageError(
                    f"observation: {_cut(key)!r} is the camera {name!r} once more, expected one "
                    f"image of each; leave it out",
                    code="observation-key",
                )
            found[name] = channels_last(value)
        return found

    def _check_known(self, given: dict[str, Any]) -> None:
        known = {*self._of, *_BESIDES}
        if _ENV_STATE not in self._of.values():
            known.add(_ENV_STATE)  # the policy's own check says that it has none
        for key in given:
            if key not in known and not key.startswith(_IMAGES):
                raise UsageError(
                    f"observation: the key {_cut(key)!r} is not known, expected {self.expected}"
                    f"{nearest(_cut(key), self.expected, 'one')}; leave it out, or start the "
                    f"server with --map {_cut(key)}=NAME",
                    code="observation-key",
                )

    def _vector(self, name: str, given: dict[str, Any]) -> Any:
        """The vector that one key gives, or several that --map joins in its order."""
        keys = [key for key, meaning in self._of.items() if meaning == name] or [name]
        found = [_numbers(key, given[key]) for key in keys if key in given]
        if not found:
            return None
        if len(found) < len(keys):
            missing = [key for key in keys if key not in given]
            raise UsageError(
                f"observation: {missing[0]!r} is missing, expected {keys}, which make the {name}",
                code="observation-key",
            )
        return found[0] if len(found) == 1 else np.concatenate([np.atleast_1d(n) for n in found])


def channels_last(image: Any) -> Any:
    """A frame (3, H, W) as (H, W, 3); everything else as it is."""
    if isinstance(image, np.ndarray) and image.ndim == 3:  # noqa: SIM102  two different things
        if image.shape[0] == _CHANNELS and image.shape[-1] != _CHANNELS:
            return image.transpose(1, 2, 0)
    return image


def _numbers(key: str, value: Any) -> NDArray[Any]:
    """A vector, or a number; batches are for `predict`, where one robot does not wait for many."""
    try:
        values = np.asarray(value)
    except ValueError:  # lists of different lengths
        values = np.empty(0, object)
    if values.dtype.kind not in "fiu":
        raise UsageError(
            f"{_cut(key)}: is {values.dtype}, expected numbers", code="observation-vector-type"
        )
    if values.ndim > 1:
        raise UsageError(
            f"{_cut(key)}: its shape is {values.shape}, expected one observation a request; ask "
            f"for each of a batch",
            code="observation-batch",
        )
    return values


def _meaning(name: str, cameras: Sequence[str], own: Sequence[str]) -> str:
    """What the right side of a --map stands for: a key of ours, or `-`."""
    if name in own or name == _LEFT_OUT:
        return name
    if name in cameras:
        return _IMAGES + name
    known = [*cameras, *(one for one in own if not one.startswith(_IMAGES)), _LEFT_OUT]
    raise UsageError(
        f"--map: {name!r} is nothing that the policy takes, expected one of {known}"
        f"{nearest(name, known, 'one')}",
        code="map-key",
    )


def _flat(prefix: str, message: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The entries of maps within maps, their keys joined by `/`."""
    for key, value in message.items():
        if not isinstance(key, str):
            raise malformed("a key is of bytes")
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}/", value)
        else:
            yield prefix + key, value


def _switch(given: dict[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool | np.bool_):
        raise UsageError(
            f"observation: {name!r} is a {type(value).__name__}, expected true or false",
            code="observation-key",
        )
    return bool(value)


def _named(given: dict[str, Any]) -> str:
    names = [repr(_cut(key)) for key in given]
    return ", ".join([*names[:_MOST_NAMED], *(["…"] if len(names) > _MOST_NAMED else [])])


def _cut(key: str) -> str:
    return key if len(key) <= 60 else f"{key[:57]}..."
