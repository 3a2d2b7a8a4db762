"""What backends share whose graph is of the dataset's own dims, one input for each camera.

B batch   C cameras   H, W pixels   K chunk   A action dims   Q state dims   E environment state
dims; all dims are the policy's, padding included, of which the graph has none.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from episodes.arrays import FloatArray, Frame
from job.sections.contract import Contract, Dim, Vector

Layout = Literal["hwc", "chw"]  # of an image: channel last or first
Run = Callable[[Sequence[NDArray[Any]]], FloatArray]


class OwnDims:
    """A `Backend` made of such a graph."""

    def __init__(self, run: Run, contract: Contract, layout: Layout, batch: int | None) -> None:
        """run: the graph; batch: how many observations it takes at once, None = any number"""
        self._run, self._batch = run, batch
        self._state, self._action = own(contract.state), own(contract.action)
        self._env_state = own(contract.env_state) if contract.env_state else None
        self._axes = (0, 3, 1, 2) if layout == "chw" else (0, 1, 2, 3)

    def infer(
        self, state: FloatArray, images: Frame | None, env_state: FloatArray | None
    ) -> FloatArray:
        """As `Backend` has it."""
        inputs: list[NDArray[Any]] = [state[:, self._state]]
        if images is not None:
            inputs += [one.transpose(self._axes) for one in images.swapaxes(0, 1)]
        if env_state is not None and self._env_state is not None:
            inputs.append(env_state[:, self._env_state])
        found = self._in_batches(inputs)
        actions = np.zeros((*found.shape[:-1], len(self._action)), np.float32)
        actions[..., self._action] = found
        return actions

    def _in_batches(self, inputs: Sequence[NDArray[Any]]) -> FloatArray:
        count = len(inputs[0])
        size = self._batch or count
        parts = []
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)  # the last one fills up
            parts.append(self._run([np.ascontiguousarray(one[rows]) for one in inputs]))
        found: FloatArray = np.concatenate(parts)[:count]
        return found


def own_dims(vector: Vector) -> list[Dim]:
    """The dims that are the dataset's, in order."""
    return [dim for dim, is_own in zip(vector.dims, own(vector), strict=True) if is_own]


def own(vector: Vector) -> NDArray[np.bool_]:
    """Which dims are the dataset's, not padding: (D,)."""
    return np.array([not dim.padding for dim in vector.dims])
