"""What the data say about the training to come: of qpos and action alone, in numbers.

The check and the plan of a training both report it, of what they have. T rows of an episode,
D dims
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from episodes.arrays import FloatArray
from episodes.correlation import Array, Autocorrelation
from episodes.episode_set import Episodes
from episodes.lag import estimate_lag
from episodes.padding import recorded_dims
from episodes.series import Series
from job.sections.estimates import ChunkLength, Estimates, IdleEnds, JumpingDim, Jumps

_ALIKE = 0.5  # autocorrelation, as LeRobot's visualizer has it
_IDLE = 0.02  # of a dim's range
# What a gripper may do in one step: its whole range, which is 1 or 100 in the usual units. Angles
# in radians and positions in metres are below 2 pi, and a little more.
_FRACTION, _PER_CENT = 1.0, 100.0
_LARGEST_FRACTION, _FEW = 6.9, 0.01


def estimate(
    state: Series,
    action: Series,
    *,
    fps: float | None,
    sim: bool,
    chunk_size: int,
    numbers: Sequence[int],
    base_dim: int = 0,
) -> Estimates:
    """Estimate from the states and actions of the same episodes, row by row.

    fps: steps per second; None: not known
    sim, chunk_size: what the training is to have, which the figures stand beside
    numbers: what to call the episodes
    base_dim: the last dims of the action that move a base, which the state does not have
    """
    arms = _first_dims(action, action.width - base_dim)
    half_lags = _autocorrelation(action, of_changes=True)
    return Estimates(
        lag=estimate_lag(state, arms, half_lags[: arms.width], fps, sim),
        chunk=_chunk_length(action, half_lags, fps, chunk_size),
        jumps=_jumps(state, action, numbers),
        idle=_idle_ends(state, action, numbers),
    )


def estimate_episodes(
    episodes: Episodes, chunk_size: int, numbers: Sequence[int] = ()
) -> Estimates:
    """Estimate from episode files, without the dims that were added to them.

    numbers: what to call the episodes; none = as training counts them
    """
    info = episodes.infos[0]
    return estimate(
        _recorded(episodes.qpos, info.qpos_names),
        _recorded(episodes.action, info.action_names),
        fps=info.fps,
        sim=episodes.is_sim(0),
        chunk_size=chunk_size,
        numbers=numbers or range(len(episodes.infos)),
        base_dim=info.base_dim,
    )


def _recorded(parts: Sequence[FloatArray], names: tuple[str, ...] | None) -> Series:
    return _first_dims(Series(parts, names), recorded_dims(names, parts[0].shape[1]))


def _first_dims(series: Series, kept: int) -> Series:
    return Series([part[:, :kept] for part in series.parts], series.names and series.names[:kept])


def _autocorrelation(series: Series, *, of_changes: bool) -> list[int | None]:
    """The lag at which each dim's autocorrelation falls below a half."""
    longest = max(len(part) for part in series.parts)
    measured = Autocorrelation(longest // 2, series.width)
    for part in series.parts:
        values: Array = (
            np.diff(part.astype(np.float64), axis=0) if of_changes else part.astype(float)
        )
        if len(values):
            measured.add(values - values.mean(axis=0))
    return measured.falls_below(_ALIKE)


def _chunk_length(
    action: Series, half_lags: Sequence[int | None], fps: float | None, chunk_size: int
) -> ChunkLength:
    dims = np.flatnonzero(action.moves).tolist()
    changes = _median([half_lags[dim] for dim in dims])
    whole = _autocorrelation(action, of_changes=False)
    values = _median([whole[dim] for dim in dims])
    return ChunkLength(
        changes_steps=changes,
        changes_s=_seconds(changes, fps),
        action_steps=values,
        action_s=_seconds(values, fps),
        dims=len(dims),
        chunk_size=chunk_size,
    )


def _median(lags: Sequence[int | None]) -> int | None:
    """The middle lag, of two the higher one; one that is not known is above all others."""
    ordered = sorted(lags, key=lambda lag: (lag is None, lag))
    return ordered[len(ordered) // 2] if ordered else None


def _seconds(steps: int | None, fps: float | None) -> float | None:
    return None if steps is None or fps is None else round(steps / fps, 3)


def _jumps(state: Series, action: Series, numbers: Sequence[int]) -> Jumps:
    ranges = [_gripper_range(series) for series in (state, action)]
    return Jumps(
        state_range=ranges[0],
        action_range=ranges[1],
        dims=[
            *_jumping_dims("state", state, ranges[0], numbers),
            *_jumping_dims("action", action, ranges[1], numbers),
        ],
    )


def _gripper_range(series: Series) -> float:
    values = sum(part.size for part in series.parts)
    large = sum(int((np.abs(part) > _LARGEST_FRACTION).sum()) for part in series.parts)
    unit = _PER_CENT if large > _FEW * values else _FRACTION
    grippers = [dim for dim in range(series.width) if "gripper" in series.name(dim).lower()]
    return round(max([unit, *(float(series.range[dim]) for dim in grippers)]), 3)


def _jumping_dims(
    vector: Literal["state", "action"], series: Series, limit: float, numbers: Sequence[int]
) -> Iterator[JumpingDim]:
    steps = [np.abs(np.diff(part.astype(np.float64), axis=0)) for part in series.parts]
    counts = sum(((step > limit).sum(axis=0) for step in steps), np.zeros(series.width, int))
    for dim in np.flatnonzero(counts).tolist():
        highest = [step[:, dim].max(initial=0.0) for step in steps]
        episode = int(np.argmax(highest))
        yield JumpingDim(
            vector=vector,
            name=series.name(dim),
            jumps=int(counts[dim]),
            largest=round(float(highest[episode]), 4),
            episode=numbers[episode],
            step=int(steps[episode][:, dim].argmax()) + 1,
        )


def _idle_ends(state: Series, action: Series, numbers: Sequence[int]) -> IdleEnds:
    if not (state.moves.any() or action.moves.any()):
        return IdleEnds(start_share=None, end_share=None, longest=None, longest_episode=None)
    room = np.concatenate([_IDLE * series.range[series.moves] for series in (state, action)])
    ends = []
    for parts in zip(state.parts, action.parts, strict=True):
        moving = [part[:, s.moves] for part, s in zip(parts, (state, action), strict=True)]
        ends.append(_idle(np.concatenate(moving, axis=1).astype(np.float64), room))
    frames = sum(len(part) for part in state.parts)
    longest = int(np.argmax([max(pair) for pair in ends]))
    return IdleEnds(
        start_share=round(sum(start for start, _ in ends) / frames, 4),
        end_share=round(sum(end for _, end in ends) / frames, 4),
        longest=max(ends[longest]),
        longest_episode=numbers[longest],
    )


def _idle(values: Array, room: Array) -> tuple[int, int]:
    """Rows of an episode, (T, D), before and after all that moves by more than `room`, (D,)."""
    rows = len(values)
    left = np.flatnonzero((np.abs(values - values[0]) > room).any(axis=1))
    if not len(left):
        return rows if rows > 1 else 0, 0
    left_of_end = np.flatnonzero((np.abs(values - values[-1]) > room).any(axis=1))
    # the row before the first that differs, and the one after the last, are those of the motion
    start, end = int(left[0]) - 1, rows - 2 - int(left_of_end[-1]) if len(left_of_end) else 0
    return start, min(end, rows - start)
