"""Limits between the policy and the robot; each is off unless it is given, and logged as it acts.

A action dims
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from act.load.observation import array_of, names_of
from act.load.own_dims import own_dims
from episodes.arrays import FloatArray
from job.errors import UsageError
from job.sections.contract import Contract
from job.words import nearest

logger = logging.getLogger("act")

_LONGEST = 200  # characters of a value in a message
_MARGIN = 0.05  # on either side, as a part of a dim's range

Bounds = tuple[float, float]  # lowest and highest


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an action may be; actions are in the dataset's units, a tick is one of the policy's fps.

    action_range: `data` for what each dim was in the episodes, or by dim (its name, or its number)
        the lowest and the highest value, in the dataset's unit; dims that are not named are free
    margin: by how much `data` may be left on either side, as a part of each dim's range; 0.05
        unless it is given
    max_change: most that a dim may change from tick to tick, in the dataset's unit: one number,
        one for each dim, or by name or number; dims that are not named are free. The first action
        is compared with that of `reset(last_action=…)`, if it is given
    low_pass_hz: cut-off of a first-order low-pass over the executed actions, in Hz; it comes first
    stale_ticks: ticks in a row with the same pixels of a camera, or with the same state, after
        which an observation is refused; at least 2
    """

    action_range: Literal["data"] | Mapping[str | int, Bounds] | None = None
    margin: float | None = None
    max_change: float | Sequence[float] | Mapping[str | int, float] | None = None
    low_pass_hz: float | None = None
    stale_ticks: int | None = None


OFF = Limits()


class Limiter:
    """The limits of one robot's actions: it remembers the last one."""

    def __init__(self, limits: Limits, contract: Contract) -> None:
        """Raises UsageError for limits that the contract does not go with."""
        self._dims = own_dims(contract.action)
        self._names = names_of(contract.action)
        self._low, self._high = self._range(limits)
        self._max_change = self._changes(limits.max_change)
        self._smoothing = _smoothing(limits.low_pass_hz, contract.fps)
        self._acting: dict[str, frozenset[int]] = {}
        self._last: FloatArray | None = None

    def reset(self, last_action: Any = None) -> None:
        """Forget the last action, or take another for it: where the robot stands, (A,).

        Nothing is forgotten where that is refused.
        """
        self._last = None if last_action is None else self._where(last_action)
        self._acting = {}

    def _where(self, given: Any) -> FloatArray:
        """Where the robot stands, of any kind that a state may be; raises UsageError."""
        values = array_of(given)
        if values.dtype.kind in "fiu" and values.shape == self._low.shape:
            with np.errstate(over="ignore"):
                where = np.array(values, np.float32)
            if np.isfinite(where).all():
                return where
        raise _wrong("last_action", given, f"{len(self._low)} finite numbers")

    def clipped(self, actions: FloatArray) -> FloatArray:
        """Actions (…, A) within the range, which is all that says something of a whole chunk."""
        return self._clipped(actions, actions)

    def step(self, action: FloatArray) -> FloatArray:
        """What is executed in place of an action (A,) of this tick.

        The change comes last: a robot that stands outside of the range does not jump into it.
        """
        last, wanted = self._last, action
        if last is not None and self._smoothing < 1:
            action = (last + self._smoothing * (action - last)).astype(np.float32)
        action = self._clipped(action, wanted)
        if last is not None:
            low, high = last - self._max_change, last + self._max_change
            near = np.clip(action, low, high).astype(np.float32)
            self._log("change per tick", near != action, wanted)
            action = near
        self._last = action
        return action.copy()

    def _clipped(self, actions: FloatArray, wanted: FloatArray) -> FloatArray:
        """Actions (…, A) within the range; wanted: what the policy gave for them."""
        found = np.clip(actions, self._low, self._high).astype(np.float32)
        self._log("range", (found != actions).reshape(-1, len(self._dims)).any(axis=0), wanted)
        return found

    def _range(self, limits: Limits) -> tuple[FloatArray, FloatArray]:
        wide = np.full(len(self._dims), np.inf, np.float32)
        low, high, given = -wide, wide.copy(), limits.action_range
        if limits.margin is not None and not (isinstance(given, str) and given == "data"):
            raise UsageError(
                f"limits: margin is {limits.margin!r} and action_range is not 'data', whose margin "
                f"it is, expected both; add action_range='data', or leave margin out",
                code="flag-unused",
            )
        if given is None:
            return low, high
        if not (isinstance(given, str) and given == "data"):
            if not isinstance(given, Mapping):
                raise _wrong("action_range", given, "'data', or (lowest, highest) by dim")
            for name, bounds in given.items():
                low[self._dim("action_range", name)], high[self._dim("action_range", name)] = (
                    _bounds(name, bounds)
                )
            return low, high
        margin = _MARGIN if limits.margin is None else limits.margin
        if not (is_number(margin) and margin >= 0):
            raise _wrong("margin", margin, "0 or more")
        for number, dim in enumerate(self._dims):
            if dim.minimum is None or dim.maximum is None:
                raise UsageError(
                    "limits: action_range is 'data', and the contract does not know what the data "
                    "had, expected one that does; give (lowest, highest) by dim",
                    code="limits-unknown",
                )
            more = margin * (dim.maximum - dim.minimum)
            low[number], high[number] = dim.minimum - more, dim.maximum + more
        return low, high

    def _changes(self, given: Any) -> FloatArray:
        max_change = np.full(len(self._dims), np.inf, np.float32)
        if given is None:
            return max_change
        by_dim = given if isinstance(given, Mapping) else None
        where = [self._dim("max_change", name) for name in by_dim or ()]
        try:
            values = array_of(list(by_dim.values()) if by_dim else given)
            if values.dtype.kind not in "fiu":
                raise TypeError
            max_change[where if by_dim else slice(None)] = values
        except (TypeError, ValueError):
            what = f"one number, {len(max_change)}, one for each dim, or one by the name of a dim"
            raise _wrong("max_change", given, what) from None
        if not (max_change > 0).all():
            raise _wrong("max_change", given, "numbers above 0, in the dataset's unit per tick")
        return max_change

    def _dim(self, what: str, name: str | int) -> int:
        """The number of a dim by its name or number."""
        if isinstance(name, int) and 0 <= name < len(self._dims):
            return name
        if self._names and name in self._names:
            return self._names.index(str(name))
        known = list(self._names or map(str, range(len(self._dims))))
        near = nearest(str(name), known, "dim")
        raise UsageError(
            f"limits: {what} names the dim {name!r}, expected one of {known}{near}",
            code="flag-value",
        )

    def _log(self, limit: str, acts: Any, wanted: FloatArray) -> None:
        """Log the dims on which a limit begins to act, not every tick in which it goes on."""
        acting = frozenset(np.flatnonzero(acts).tolist())
        for dim in sorted(acting - self._acting.get(limit, frozenset())):
            bound = f"{self._low[dim]:.4g} to {self._high[dim]:.4g}"
            if limit != "range":
                bound = f"{self._max_change[dim]:.4g} per tick"
            values = np.unique(wanted.reshape(-1, len(self._dims))[:, dim])
            shown = " to ".join(f"{one:.4g}" for one in dict.fromkeys(values[[0, -1]].tolist()))
            name = self._names[dim] if self._names else f"dim {dim}"
            logger.warning(
                "limit: the policy wants %s at %s, and its %s is limited to %s (dataset's unit)",
                *(name, shown, limit, bound),
            )
        self._acting[limit] = acting


class StaleGuard:
    """Refuses observations that stand still: a camera that hangs, a state that is not read."""

    def __init__(self, ticks: int | None) -> None:
        """ticks: see `Limits`; None: off. Raises UsageError."""
        if ticks is not None and not (is_number(ticks) and ticks >= 2):
            raise _wrong("stale_ticks", ticks, "2 or more")
        self._max_ticks = ticks
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._seen: dict[str, np.ndarray[Any, Any]] = {}
        self._ticks: dict[str, int] = {}

    def look(self, parts: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Count what is the same as in the tick before; raises UsageError with what stands still.

        parts: the arrays of this tick by what to call them
        """
        if self._max_ticks is None:
            return
        for name, now in parts.items():
            before = self._seen.get(name)
            same = before is not None and np.array_equal(before, now)
            self._ticks[name] = self._ticks.get(name, 1) + 1 if same else 1
            if not same:
                self._seen[name] = now.copy()  # the caller may use its memory again
        stale = [name for name, ticks in self._ticks.items() if ticks >= self._max_ticks]
        if stale:
            raise UsageError(
                f"{', '.join(stale)}: the same for {self._ticks[stale[0]]} ticks in a row, "
                f"expected fewer than {self._max_ticks} (stale_ticks); stop the robot, and look at "
                f"what reads it",
                code="observation-stale",
            )


def _bounds(name: str | int, given: Any) -> Bounds:
    try:
        low, high = (float(value) for value in given)
    except (TypeError, ValueError, OverflowError):
        low, high = math.nan, math.nan
    if not low < high:
        raise _wrong(f"action_range of {name!r}", given, "(lowest, highest)")
    return low, high


def _smoothing(cut_off_hz: float | None, fps: float | None) -> float:
    """How much of the way to the wanted action is gone at each tick: 1 without a low-pass."""
    if cut_off_hz is None:
        return 1.0
    if fps is None:
        raise UsageError(
            "limits: low_pass_hz needs the rate of the ticks, and the contract has no fps; leave "
            "it out",
            code="limits-unknown",
        )
    if not (is_number(cut_off_hz) and 0 < cut_off_hz <= fps / 2):
        raise _wrong("low_pass_hz", cut_off_hz, f"above 0 and at most {fps / 2:g} Hz, half the fps")
    return 1 - math.exp(-2 * math.pi * cut_off_hz / fps)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, not a text or an array of one."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond float64
        return False


def _wrong(name: str, found: Any, expected: str) -> UsageError:
    shown = " ".join(repr(found).split())
    shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
    return UsageError(f"limits: {name} is {shown}, expected {expected}", code="flag-value")
