"""By how much the state follows the action: the lag at which their changes correlate most.

T rows of an episode, D dims, P pairs of dims, L lags
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from episodes.arrays import FloatArray
from episodes.correlation import Array, CrossCorrelation
from episodes.series import Series
from job.sections.estimates import Lag

Lags = NDArray[np.int64]
Matched = Literal["name", "position"]

_MIN_ROWS = 10  # of an episode; fewer say nothing
_WINDOW_S = 1.0  # lags of up to a second are looked at, and of at least so many steps
_MIN_WINDOW, _USUAL_WINDOW = 10, 30  # the latter where the frame rate is not known
_MIN_CORRELATION = 0.4
# By chance, vectors that are alike over h steps correlate with a variance of 1.5 h / steps.
_CHANCE, _SIGMAS = 1.5, 3.5
_CERTAIN = 0.99  # is enough in any number of steps
_LONG = 8  # times h: what an episode must last, or its motion is too slow for it
_NEAR = 0.9  # of the highest correlation: another lag with that much is no worse
_FLIPPED = 1.25  # times the highest: a lowest correlation that is of a dim with another sign
_LOBE = 0.6  # of the highest, below 0 on one side only: as between a position and its speed
_CLIP = 4.0  # times what is usual: a glitch must not outweigh the motion
# How far the first action of a chunk is ahead of its effect: not behind it, or a step or more; with
# room for what an estimate is off by.
_NOT_BEFORE, _A_STEP = -0.5, 0.75
_ROUGH = 4.0  # times the noise of the curve: by how much its highest point must stand out


class _Unknown(Exception):  # noqa: N818  why there is no estimate
    pass


@dataclass(frozen=True)
class _Peak:
    steps: float
    correlation: float
    own: list[int]  # the whole steps of each dim that has a clear lag


def estimate_lag(
    state: Series, action: Series, half_lags: Sequence[int | None], fps: float | None, sim: bool
) -> Lag:
    """The lag between two vectors of the same episodes.

    half_lags: of each action dim, the steps over which its changes are alike
    fps: steps per second; None: not known
    sim: whether training starts chunks with action[t], else with action[t - 1]
    """
    how: Matched | None = None
    try:
        pairs, how = _match(state, action)
        peak = _find_peak(state, action, pairs, half_lags, fps)
    except _Unknown as reason:
        return _unknown(str(reason), how, sim)
    return Lag(
        steps=round(peak.steps, 1) + 0.0,  # -0.0 is 0.0
        ms=None if fps is None else round(1000 * peak.steps / fps, 1) + 0.0,
        correlation=round(peak.correlation, 3),
        dims=len(peak.own),
        matched_by=how,
        lowest_steps=min(peak.own),
        highest_steps=max(peak.own),
        fits_sim_true=peak.steps > _NOT_BEFORE,
        fits_sim_false=peak.steps - 1 > _A_STEP,
        sim=sim,
        unknown=None,
    )


def _unknown(reason: str, how: Matched | None, sim: bool) -> Lag:
    return Lag(
        steps=None,
        ms=None,
        correlation=None,
        dims=0,
        matched_by=how,
        lowest_steps=None,
        highest_steps=None,
        fits_sim_true=None,
        fits_sim_false=None,
        sim=sim,
        unknown=reason,
    )


def _match(state: Series, action: Series) -> tuple[list[tuple[int, int]], Matched]:
    """Pairs of dims (state, action): of one name, else in one place where the widths agree."""
    places = [_places(series) for series in (state, action)]
    if common := [name for name in places[0] if name in places[1]]:
        return [(places[0][name], places[1][name]) for name in common], "name"
    if state.width == action.width:
        return [(dim, dim) for dim in range(state.width)], "position"
    raise _Unknown(
        f"the {state.width} dims of the state and the {action.width} of the action have no name in "
        f"common"
    )


def _places(series: Series) -> dict[str, int]:
    """The place of each name that comes once."""
    times = Counter(series.names or ())
    return {name: dim for dim, name in enumerate(series.names or ()) if times[name] == 1}


def _find_peak(
    state: Series,
    action: Series,
    pairs: Sequence[tuple[int, int]],
    half_lags: Sequence[int | None],
    fps: float | None,
) -> _Peak:
    pairs = [(s, a) for s, a in pairs if state.changes[s] and action.changes[a]]
    if not pairs:
        raise _Unknown("no dim changes both in the state and in the action")
    rows = [len(part) for part in state.parts if len(part) >= _MIN_ROWS]
    if not rows:
        raise _Unknown(f"no episode has {_MIN_ROWS} steps")
    half = np.array([half_lags[a] or max(rows) for _, a in pairs])
    if (half > max(rows) / _LONG).all():
        raise _Unknown("the episodes are too short for motion as slow as theirs")
    most = _USUAL_WINDOW if fps is None else max(_MIN_WINDOW, round(_WINDOW_S * fps))
    lags, curves = _curves(state, action, pairs, min(most, max(rows) // 2))
    chance = _SIGMAS * np.sqrt(_CHANCE * half / (sum(rows) - len(rows)))
    needed = np.maximum(_MIN_CORRELATION, np.minimum(_CERTAIN, chance))
    clear = (curves.max(axis=0) >= needed) & (half <= max(rows) / _LONG)
    if not clear.any():
        best = int((curves.max(axis=0) - needed).argmax())
        raise _Unknown(
            f"no clear peak: the correlation is {curves[:, best].max():.2f} at "
            f"{lags[curves[:, best].argmax()]} steps, and may be chance below {needed[best]:.2f}"
        )
    own = [int(lag) for lag in lags[curves[:, clear].argmax(axis=0)]]
    return _Peak(*_clear_peak(lags, curves[:, clear].mean(axis=1)), own)


def _curves(
    state: Series, action: Series, pairs: Sequence[tuple[int, int]], most: int
) -> tuple[Lags, Array]:
    """The correlation of each pair over the lags, (L, P), of the sign that makes it positive.

    The lags are those in which at least half of all changes have a say.
    """
    measured = CrossCorrelation(most, len(pairs))
    s_dims, a_dims = (list(dims) for dims in zip(*pairs, strict=True))
    for s, a in zip(state.parts, action.parts, strict=True):
        if len(s) >= _MIN_ROWS:
            measured.add(
                _changes(a[:, a_dims], action.usual_change[a_dims]),
                _changes(s[:, s_dims], state.usual_change[s_dims]),
            )
    usable = measured.count >= measured.count.max() / 2
    curves = measured.value()[usable]
    flipped = -curves.min(axis=0) > _FLIPPED * curves.max(axis=0)
    return measured.lags[usable], np.where(flipped, -curves, curves)


def _changes(values: FloatArray, usual: Array) -> Array:
    """Changes from row to row, (T, D) to (T - 1, D), centred, without glitches."""
    changes = np.clip(np.diff(values.astype(np.float64), axis=0), -_CLIP * usual, _CLIP * usual)
    centred: Array = changes - changes.mean(axis=0)
    return centred


def _clear_peak(lags: Lags, curve: Array) -> tuple[float, float]:
    """The lag of the highest correlation, between steps by a parabola, and that correlation."""
    top = int(curve.argmax())
    found = f"no clear peak: the correlation is {curve[top]:.2f} at {lags[top]} steps"
    near = np.flatnonzero(curve >= _NEAR * curve[top])
    if near[0] == 0 or near[-1] == len(curve) - 1:
        edge = near[0] if near[0] == 0 else near[-1]
        much = "" if edge == top else f" and not much less at {lags[edge]}"
        raise _Unknown(f"{found}{much}, where the search ends")
    if len(near) != near[-1] - near[0] + 1:
        other = near[np.abs(near - top).argmax()]
        raise _Unknown(f"{found} and {curve[other]:.2f} at {lags[other]}")
    if _is_lobe(curve, top):
        raise _Unknown(
            f"{found} and {curve.min():.2f} at {lags[curve.argmin()]}, as between positions and "
            f"speeds"
        )
    if curve[top] - curve[[max(0, top - 2), min(len(curve) - 1, top + 2)]].max() < _noise(curve):
        raise _Unknown(f"{found}, and by noise it may be others")
    before, at, after = curve[top - 1 : top + 2]
    bend = before - 2 * at + after
    return float(lags[top] + (0.5 * (before - after) / bend if bend else 0)), float(at)


def _is_lobe(curve: Array, top: int) -> bool:
    """Whether the curve is that of a position and its speed: as low on one side as high here."""
    low, other = sorted((curve[:top].min(), curve[top + 1 :].min()))
    return bool(low < -_LOBE * curve[top] and other > low / 2)


def _noise(curve: Array) -> float:
    """What the curve may differ by from one lag to the next without meaning anything."""
    bends = np.abs(np.diff(curve, 2))
    return float(_ROUGH * np.median(bends) / (0.6745 * np.sqrt(6)))
