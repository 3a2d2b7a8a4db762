"""The keys of observations that come as maps, and which part of the policy's each stands for.

state, env_state   vectors, in the dataset's dims and units
images/<name>      a camera's frame: (H, W, 3), or (3, H, W) as openpi's ALOHA robots send them
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.errors import UsageError
from job.flags import Pair
from job.words import nearest

STATE, ENV_STATE, IMAGES = "state", "env_state", "images/"
_LEFT_OUT = "-"
_CHANNELS = 3
_LONGEST_KEY = 60  # characters in a message


class ObservationKeys:
    """The keys of a robot or a simulator, and what each stands for."""

    def __init__(self, cameras: Sequence[str], has_env_state: bool, pairs: Sequence[Pair]) -> None:
        """pairs: --map, a foreign key and what it is here; raises UsageError for what is not."""
        own = [*(IMAGES + name for name in cameras), STATE, *([ENV_STATE] * has_env_state)]
        self._of = {key: _meaning(name, cameras, own) for key, name in pairs}
        if len(self._of) < len(pairs):
            raise UsageError("--map names a key twice, expected keys that differ", code="map-key")
        taken = list(self._of.values())
        for one in taken:
            if one.startswith(IMAGES) and taken.count(one) > 1:
                raise UsageError(f"--map gives several keys to {one}, expected one", code="map-key")
        for key in own:
            if key not in taken:
                self._of.setdefault(key, key)
        for key in own:
            if key not in self._of.values():
                raise UsageError(
                    f"--map gives {self._of[key]!r} for {key}, and no key is {key}, which the "
                    f"policy observes, expected one; add --map KEY={key.removeprefix(IMAGES)}",
                    code="map-key",
                )

    @property
    def expected(self) -> list[str]:
        """The keys of an observation."""
        return [key for key, meaning in self._of.items() if meaning != _LEFT_OUT]

    def images(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """By camera, be it one that the policy has or not: its own check names those."""
        found = dict[str, Any]()
        for key, value in given.items():
            meaning = self._of.get(key, key)
            if not meaning.startswith(IMAGES):
                continue
            name = meaning.removeprefix(IMAGES)
            if name in found:
                raise UsageError(
                    f"observation: {cut(key)!r} is the camera {name!r} once more, expected one "
                    f"image of each; leave it out",
                    code="observation-key",
                )
            found[name] = channels_last(value)
        return found

    def check_known(self, given: Mapping[str, Any], besides: Sequence[str] = ()) -> None:
        """Raise UsageError for a key that stands for nothing.

        besides: keys that are no part of an observation
        """
        known = {*self._of, *besides}
        if ENV_STATE not in self._of.values():
            known.add(ENV_STATE)  # the policy's own check says that it has none
        for key in given:
            if key not in known and not key.startswith(IMAGES):
                raise UsageError(
                    f"observation: the key {cut(key)!r} is not known, expected {self.expected}"
                    f"{nearest(cut(key), self.expected, 'one')}; leave it out, or name "
                    f"it: --map {cut(key)}=NAME",
                    code="observation-key",
                )

    def vector(self, name: str, given: Mapping[str, Any]) -> Any:
        """The vector that one key gives, or several that --map joins in its order.

        name: state or env_state; returns None where no key is there
        """
        keys = [key for key, meaning in self._of.items() if meaning == name] or [name]
        found = [numbers(key, given[key]) for key in keys if key in given]
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


def numbers(key: str, value: Any) -> NDArray[Any]:
    """A vector, or a number; batches are for `predict`, where one robot does not wait for many."""
    try:
        values = np.asarray(value)
    except ValueError:  # lists of different lengths
        values = np.empty(0, object)
    if values.dtype.kind not in "fiu":
        raise UsageError(
            f"{cut(key)}: is {values.dtype}, expected numbers", code="observation-vector-type"
        )
    if values.ndim > 1:
        raise UsageError(
            f"{cut(key)}: its shape is {values.shape}, expected one observation a request; ask "
            f"for each of a batch",
            code="observation-batch",
        )
    return values


def _meaning(name: str, cameras: Sequence[str], own: Sequence[str]) -> str:
    """What the right side of a --map stands for: a key of ours, or `-`."""
    if name in own or name == _LEFT_OUT:
        return name
    if name in cameras:
        return IMAGES + name
    known = [*cameras, *(one for one in own if not one.startswith(IMAGES)), _LEFT_OUT]
    raise UsageError(
        f"--map: {name!r} is nothing that the policy takes, expected one of {known}"
        f"{nearest(name, known, 'one')}",
        code="map-key",
    )


def flat(
    prefix: str, message: Mapping[Any, Any], refuse: Callable[[str], Exception]
) -> Iterator[tuple[str, Any]]:
    """The entries of maps within maps, their keys joined by `/`.

    refuse: the error for a key that is no text
    """
    for key, value in message.items():
        if not isinstance(key, str):
            raise refuse("a key is of bytes")
        if isinstance(value, Mapping):
            yield from flat(f"{prefix}{key}/", value, refuse)
        else:
            yield prefix + key, value


def cut(key: str) -> str:
    """A key as a message shows it."""
    return key if len(key) <= _LONGEST_KEY else f"{key[:57]}..."
