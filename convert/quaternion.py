"""Orientations among a vector's dims: found by name, made unit-length and continuous in sign.

q and -q are the same rotation, so a flip of the sign in the middle of an episode is a jump in four
dims where nothing moved: it ruins statistics, and a regression towards the mean of both.

T rows (time steps) of an episode, D values in a vector; q (T, 4) one quaternion's columns.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyquaternion
from numpy.typing import NDArray

from episodes.arrays import FloatArray
from job.errors import DatasetError

Rows = NDArray[np.int64]

# What float32 arithmetic leaves of a unit length; a quaternion this near is not touched.
_UNIT = 1e-6
_ZERO = 1e-6

_WORDS = re.compile(r"[a-z]+\d*|\d+")
_LETTER = re.compile(r"(?P<stem>q|quat|quaternion)?(?P<part>[wxyz])(?P<number>\d*)")
_NUMBER = re.compile(r"(?P<stem>quat|quaternion)?(?P<part>\d+)")
# Before a lone w, x, y or z. A w among the four distinguishes an orientation from a position.
_STEMS = {"q", "orientation", "orn", "ori", "rotation", "rot"}
_NUMBERED = (tuple("0123"), tuple("1234"))


@dataclass(frozen=True)
class Quaternion:
    """Which four dims of a vector are one orientation."""

    where: tuple[int, int, int, int]  # w, x, y, z; as found where the dims are only numbered
    name: str  # what the four names begin with


def find_quaternions(names: Sequence[str]) -> list[Quaternion]:
    """Find the quaternions among the names of a vector's dims, in the order of their first dim.

    Four dims make one when their names differ in nothing but w, x, y, z (`left_qw`, `ee.quat.x`,
    `pose.orientation.z`) or in four numbers after `quat` (`quaternion[0]`). Whether number 0 is w
    or x cannot be known, and neither length nor sign depends on it.
    """
    places: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for dim, name in enumerate(names):
        if split := _split(name):
            rest, part = split
            places[rest][part].append(dim)
    found = [
        Quaternion(where, _common_name([names[dim] for dim in where]))
        for dims in places.values()
        for where in _fours(dims)
    ]
    return sorted(found, key=lambda quaternion: min(quaternion.where))


def _split(name: str) -> tuple[tuple[str, ...], str] | None:
    """A dim's name as its words without its part of a quaternion, and that part; None: no part."""
    words = _WORDS.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    for pattern in (_LETTER, _NUMBER):
        for place in reversed(range(len(words))):
            match = pattern.fullmatch(words[place])
            if match and (match["stem"] or _has_stem(words[:place] + words[place + 1 :], pattern)):
                kept = match["stem"] or ""
                tail = match["number"] if pattern is _LETTER else ""
                return (*words[:place], f"{kept}*{tail}", *words[place + 1 :]), match["part"]
    return None


def _has_stem(words: list[str], pattern: re.Pattern[str]) -> bool:
    """Numbers need the very word, as robots number their rotations and joints (`q0`, `rot_1`)."""
    stems = {word.rstrip("0123456789") for word in words}
    return any("quat" in stem for stem in stems) or (pattern is _LETTER and bool(stems & _STEMS))


def _fours(dims: dict[str, list[int]]) -> list[tuple[int, int, int, int]]:
    """The quaternions of one set of names; names that come n times are n quaternions in turn."""
    for parts in (tuple("wxyz"), *_NUMBERED):
        if set(parts) == set(dims) and len({len(dims[part]) for part in parts}) == 1:
            w, x, y, z = (dims[part] for part in parts)
            return list(zip(w, x, y, z, strict=True))
    return []


def _common_name(names: list[str]) -> str:
    low, high = min(names), max(names)
    length = next(place for place in range(len(low) + 1) if low[: place + 1] != high[: place + 1])
    return low[:length].rstrip("._-/[( ") or names[0]


def flips(q: FloatArray) -> Rows:
    """Rows t whose quaternion points away from that of row t - 1, though it may turn little.

    q: (T, 4), in any order of its parts; returns: rows, ascending
    """
    return np.flatnonzero(_dots(q) < 0) + 1


def off_unit(q: FloatArray, tolerance: float = 1e-3) -> Rows:
    """Rows whose length is further than `tolerance` from 1; q: (T, 4); returns: rows, ascending."""
    return np.flatnonzero(np.abs(_lengths(q) - 1) > tolerance)


def zero_rows(q: FloatArray) -> Rows:
    """Rows of length 0, which are no rotation; q: (T, 4)."""
    return np.flatnonzero(_lengths(q) < _ZERO)


def zero_length(quaternion: Quaternion, zeros: Rows) -> str:
    """The message on rows that --fix_quaternions cannot repair."""
    return (
        f"quaternion {quaternion.name!r} has length 0 in {len(zeros)} rows, first in row "
        f"{zeros[0]}, expected length 1; leave the episode out or record it again"
    )


def fix(
    vectors: FloatArray, quaternions: Sequence[Quaternion], where: str = "a vector"
) -> FloatArray:
    """Make the quaternions of one episode unit-length, and of one sign from row to row.

    vectors: (T, D) float32; where: what to call them in an error; returns: a copy. The first row
    keeps its sign, and a row that needs no change keeps its bits. Raises DatasetError for a
    quaternion of length 0, which is no rotation.
    """
    fixed = vectors.copy()
    for quaternion in quaternions:
        columns = list(quaternion.where)
        q = vectors[:, columns]
        zeros = zero_rows(q)
        if len(zeros):
            raise DatasetError(f"{where}: {zero_length(quaternion, zeros)}", code="quaternion-zero")
        fixed[:, columns] = _continuous(_unit(q))
    return fixed


def _unit(q: FloatArray) -> FloatArray:
    unit = q.copy()
    for row in off_unit(q, _UNIT):
        unit[row] = pyquaternion.Quaternion(q[row]).normalised.elements
    return unit


def _continuous(q: FloatArray) -> FloatArray:
    """Negate from each flip to the next: -Quaternion(row), for all rows at once."""
    signs = np.ones(len(q), np.float32)
    signs[1:] = np.cumprod(np.where(_dots(q) < 0, -1, 1))
    return q * signs[:, None]


def _dots(q: FloatArray) -> NDArray[np.float64]:
    """Dot products of each row with the row before; q: (T, 4); returns: (T - 1,)."""
    wide = q.astype(np.float64)
    return (wide[1:] * wide[:-1]).sum(axis=1)


def _lengths(q: FloatArray) -> NDArray[np.float64]:
    return np.sqrt((q.astype(np.float64) ** 2).sum(axis=1))
