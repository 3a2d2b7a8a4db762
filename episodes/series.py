"""A vector of many episodes over time, and what is known of each of its dims.

T rows of an episode, D dims
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from episodes.arrays import FloatArray
from episodes.correlation import Array

Dims = NDArray[np.bool_]

_STILL = 1e-6
_USUAL, _SAMPLES = 0.99, 20_000
# The changes of a dim of nothing but noise have twice its variance, those of motion a small part.
_NOISE = 1.0


@dataclass(frozen=True)
class Series:
    """One vector of all episodes."""

    parts: Sequence[FloatArray]  # (T, D) each; T is at least 1
    names: tuple[str, ...] | None  # of the dims; None: the input does not give them

    @property
    def width(self) -> int:
        """D."""
        return int(self.parts[0].shape[1])

    def name(self, dim: int) -> str:
        """What to call a dim."""
        return f"dim {dim}" if self.names is None else self.names[dim]

    @cached_property
    def range(self) -> Array:
        """The highest less the lowest value of each dim in all episodes: (D,)."""
        high = np.max([part.max(axis=0) for part in self.parts], axis=0)
        low = np.min([part.min(axis=0) for part in self.parts], axis=0)
        return high.astype(np.float64) - low.astype(np.float64)

    @cached_property
    def usual_change(self) -> Array:
        """What all but a hundredth of the changes from row to row keep to: (D,).

        Where that is nothing, as of a gripper that opens and closes at once, the largest change.
        """
        every = max(1, sum(len(part) - 1 for part in self.parts) // _SAMPLES)
        sampled, largest, seen = [], np.zeros(self.width), 0
        for part in self.parts:
            steps = np.abs(np.diff(part.astype(np.float64), axis=0))
            sampled.append(steps[-seen % every :: every])
            largest = np.maximum(largest, steps.max(axis=0, initial=0.0))
            seen += len(steps)
        if not seen:
            return largest
        usual = np.quantile(np.concatenate(sampled), _USUAL, axis=0, method="lower")
        return np.where(usual > _STILL, usual, largest)

    @cached_property
    def changes(self) -> Dims:
        """Whether a dim changes within any episode: (D,)."""
        spans = [np.ptp(part.astype(np.float64), axis=0) for part in self.parts]
        changing: Dims = np.max(spans, axis=0) > _STILL
        return changing

    @cached_property
    def moves(self) -> Dims:
        """Whether a dim changes by more than noise, where any does: (D,)."""
        spread = sum(
            (np.var(part.astype(np.float64), axis=0) * len(part) for part in self.parts),
            np.zeros(self.width),
        )
        moving: Dims = self.changes & (self._change_energy < _NOISE * spread)
        return moving if moving.any() else self.changes

    @cached_property
    def _change_energy(self) -> Array:
        return sum(
            ((np.diff(part.astype(np.float64), axis=0) ** 2).sum(axis=0) for part in self.parts),
            np.zeros(self.width),
        )
