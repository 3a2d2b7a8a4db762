"""States and actions whose lag is known: smooth random motion, which the state follows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from episodes.arrays import FloatArray
from episodes.estimates import estimate
from episodes.series import Series
from job.sections.estimates import Estimates

Pairs = list[tuple[FloatArray, FloatArray]]  # state (T, S) and action (T, A) of each episode
_BESIDE = 40  # steps of a motion before and after an episode


def motion(random: np.random.Generator, rows: int, dims: int, smooth: int = 5) -> FloatArray:
    """A random walk, (rows, dims), averaged over `smooth` steps."""
    walk = random.standard_normal((rows + smooth - 1, dims)).cumsum(axis=0)
    window = np.ones(smooth) / smooth
    averaged = [np.convolve(walk[:, dim], window, "valid") for dim in range(dims)]
    return np.stack(averaged, axis=1).astype(np.float32)


def recorded(
    lag: int, lengths: Sequence[int], *, dims: int = 6, smooth: int = 5, noise: float = 0.0
) -> Pairs:
    """Episodes whose state is at t where the action was at t - lag.

    noise: of the state, as a share of what the motion changes in a step
    """
    random = np.random.default_rng(0)
    made = []
    for rows in lengths:
        whole = motion(random, rows + 2 * _BESIDE, dims, smooth)
        step = np.abs(np.diff(whole, axis=0)).mean(axis=0)
        blur = noise * step * random.standard_normal((rows, dims))
        state = whole[_BESIDE - lag : _BESIDE - lag + rows] + blur
        made.append((state.astype(np.float32), whole[_BESIDE : _BESIDE + rows]))
    return made


def estimates(
    pairs: Pairs,
    state_names: Sequence[str] | None = None,
    action_names: Sequence[str] | None = None,
    *,
    fps: float | None = 50.0,
) -> Estimates:
    """What `pairs` say, of a training with --sim true and a chunk of 100."""
    return estimate(
        Series([state for state, _ in pairs], tuple(state_names) if state_names else None),
        Series([action for _, action in pairs], tuple(action_names) if action_names else None),
        fps=fps,
        sim=True,
        chunk_size=100,
        numbers=range(len(pairs)),
    )


def widened(values: NDArray[np.float32], *more: NDArray[np.float32] | float) -> FloatArray:
    """A vector with more dims behind: (T,) each, or one value throughout."""
    columns = [np.broadcast_to(np.asarray(one, np.float32), len(values)) for one in more]
    return np.column_stack([values, *columns])
