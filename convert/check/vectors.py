"""What a check reports of states and actions: widths, still dims, jumps, units, orientations.

T rows of an episode, D values in a vector; all episodes together are judged by one scale.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.check.tables import Rows
from convert.features import check_dims, dim_names
from convert.findings import Report, error, warning
from convert.lerobot.dataset import Dataset
from convert.quaternion import find_quaternions, flips, off_unit, zero_length, zero_rows

_STILL = 1e-6
# A jump is a step of more than this many times the largest ordinary one. Ordinary are all but the
# top thousandth, and never fewer than the top four (two glitches, in and out) are left out. In
# tests/data the largest is 8.0, the first step of a scripted policy; an angle that wraps is at 30.
_JUMP = 10.0
_RARE = 1e-3
_MIN_RARE = 4
_OF_RANGE = 0.1  # and more than this share of the dim's range, or it is noise
_SCALES = (1.0, 100.0)  # grippers: a fraction (0..1 or -1..1), or per cent
_ROOM = 1.1  # of the scale: what all but a hundredth of the values keep to
_OUTSIDE = 1.25
_UNIT_RATIO = 5.0


@dataclass(frozen=True)
class Place:
    """Where an episode's rows are."""

    path: Path
    episode: int


@dataclass(frozen=True)
class Vector:
    """One vector of all episodes that could be read, and their names."""

    key: str
    names: tuple[str, ...]
    parts: list[tuple[Place, NDArray[np.float32]]]  # (T, D) each

    @property
    def all(self) -> NDArray[np.float32]:
        """All rows, (sum of T, D)."""
        return np.concatenate([values for _, values in self.parts])


def gather(
    dataset: Dataset, keys: Sequence[str], rows: Sequence[Rows], report: Report
) -> Vector | None:
    """Features joined to one vector, of all episodes; one with other dims is an error, left out."""
    whole = [row for row in rows if all(key in row.read.vectors for key in keys)]
    if not whole:
        return None
    names = Counter(dim_names(dataset, keys, row.read) for row in whole).most_common(1)[0][0]
    for key in keys:
        _check_shape(dataset, key, whole, report)
    fitting = [
        row for row in whole if check_dims(dataset, row.episode, keys, names, row.read, report.add)
    ]
    parts = [
        (
            Place(row.episode.table_path, row.episode.index),
            np.concatenate([row.read.vectors[key] for key in keys], axis=1),
        )
        for row in fitting
    ]
    return Vector(",".join(keys), names, parts)


def _check_shape(dataset: Dataset, key: str, rows: Sequence[Rows], report: Report) -> None:
    """Whether info.json has a feature as wide as most of its rows are."""
    usual = Counter(row.read.vectors[key].shape[1] for row in rows).most_common(1)[0][0]
    shape = dataset.features[key].shape
    if math.prod(shape) != usual:
        what = f"shape of {key!r} is {list(shape)}, but its rows have {usual} values, which counts"
        report.add(warning("vector-shape", dataset.root / "meta/info.json", what))


def check_vector(
    vector: Vector, where: Path, fixed: bool, report: Report, moves: bool = True
) -> None:
    """Add what is odd in one vector; where: the folder of all its episodes.

    moves: whether it should change within an episode; a goal in an environment state need not
    """
    _check_still(vector, where, moves, report)
    oriented = _check_quaternions(vector, fixed, report)
    _check_jumps(vector, oriented, report)
    _check_gripper(vector, where, report)


def check_pair(state: Vector, action: Vector, where: Path, report: Report) -> None:
    """Add what is odd between state and action; where: the folder of all their episodes."""
    actions = dict(action.parts)
    pairs = [(values, actions[place]) for place, values in state.parts if place in actions]
    if not pairs or len(state.names) > len(action.names):
        return
    width = len(state.names)
    if all(np.allclose(s, a[:, :width], rtol=0, atol=_STILL) for s, a in pairs):
        what = (
            f"{action.key!r} equals {state.key!r} in every row; a policy learns to stay where it "
            f"is; record the commands, or shift the states by one step"
        )
        report.add(warning("action-is-state", where, what))
    spans = [
        dict(zip(v.names, np.ptp(v.all.astype(np.float64), axis=0), strict=True))
        for v in (state, action)
    ]
    for name in (name for name in spans[0] if "gripper" in name.lower() and name in spans[1]):
        low, high = sorted((spans[0][name], spans[1][name]))
        if low > _STILL and high > _UNIT_RATIO * low:
            what = (
                f"{name!r} spans {spans[0][name]:.3g} in {state.key!r} and {spans[1][name]:.3g} in "
                f"{action.key!r}, expected the same units; the robot would be commanded in one "
                f"and observed in the other"
            )
            report.add(warning("gripper-units", where, what))


def _check_still(vector: Vector, where: Path, moves: bool, report: Report) -> None:
    values = vector.all
    still = np.ptp(values, axis=0) < _STILL
    if still.all() and len(values) > 1:
        what = f"{vector.key!r} never changes in any episode; nothing can be learnt from it"
        report.add(warning("vector-still", where, what))
        return
    if still.any():
        names = [name for name, is_still in zip(vector.names, still, strict=True) if is_still]
        what = f"{vector.key!r} has dims that never change: {', '.join(names)}"
        report.add(warning("dim-still", where, what))
    for place, part in vector.parts if moves else ():
        if len(part) > 1 and (np.ptp(part, axis=0) < _STILL).all():
            what = f"{vector.key!r} never changes; leave the episode out if the robot stood still"
            report.add(warning("episode-still", place.path, what, episode=place.episode))


def _check_jumps(vector: Vector, oriented: set[int], report: Report) -> None:
    steps = [np.abs(np.diff(part.astype(np.float64), axis=0)) for _, part in vector.parts]
    together = np.sort(np.concatenate(steps), axis=0)
    span = np.ptp(vector.all.astype(np.float64), axis=0)
    for dim, name in enumerate(vector.names):
        moved = together[together[:, dim] > _STILL, dim]
        rare = max(_MIN_RARE, int(np.ceil(len(moved) * _RARE)))
        if dim in oriented or len(moved) <= 2 * rare:
            continue
        limit = max(_JUMP * moved[-1 - rare], _OF_RANGE * span[dim])
        for (place, part), step in zip(vector.parts, steps, strict=True):
            if len(step) and step[:, dim].max() > limit:
                at = int(step[:, dim].argmax())
                what = (
                    f"{vector.key!r} jumps in {name!r} from {part[at, dim]:.4g} to "
                    f"{part[at + 1, dim]:.4g} at row {at + 1}, where steps up to "
                    f"{moved[-1 - rare]:.3g} are usual; look at the recording"
                )
                report.add(warning("jump", place.path, what, episode=place.episode))


def _check_gripper(vector: Vector, where: Path, report: Report) -> None:
    """Units are the dataset's own affair; values far outside of what nearly all keep to are not."""
    values = np.abs(vector.all.astype(np.float64))
    for dim, name in enumerate(vector.names):
        if "gripper" not in name.lower():
            continue
        bulk = float(np.quantile(values[:, dim], 0.99, method="lower"))
        scale = next((scale for scale in _SCALES if bulk <= _ROOM * scale), None)
        if scale is None:
            what = (
                f"{name!r} of {vector.key!r} reaches {values[:, dim].max():.4g}, expected 0 to 1, "
                f"-1 to 1 or 0 to 100; make sure that the robot is commanded in the same units"
            )
            report.add(warning("gripper-range", where, what))
            continue
        for place, part in vector.parts:
            outside = np.abs(part[:, dim]) > _OUTSIDE * scale
            if outside.any():
                what = (
                    f"{name!r} of {vector.key!r} is {part[int(outside.argmax()), dim]:.4g} at row "
                    f"{int(outside.argmax())}, nearly all others are within {scale:g}; look at "
                    f"the recording"
                )
                report.add(warning("gripper-range", place.path, what, episode=place.episode))


def _check_quaternions(vector: Vector, fixed: bool, report: Report) -> set[int]:
    """Flips and lengths of the orientations; gives the dims that are part of one."""
    found = find_quaternions(vector.names)
    for quaternion in found:
        for place, part in vector.parts:
            q = part[:, list(quaternion.where)]
            path, index = place.path, place.episode
            flipped, off, zeros = flips(q), off_unit(q), zero_rows(q)
            if len(zeros) and fixed:
                report.add(
                    error("quaternion-zero", path, zero_length(quaternion, zeros), episode=index)
                )
            if len(flipped):
                what = (
                    f"orientation {quaternion.name!r} of {vector.key!r} changes sign "
                    f"{len(flipped)} times, first at row {flipped[0]}, expected never, as q and "
                    f"-q are the same rotation; a conversion with --fix_quaternions mends it"
                )
                report.add(warning("quaternion-flip", path, what, episode=index))
            if len(off):
                what = (
                    f"orientation {quaternion.name!r} of {vector.key!r} has length "
                    f"{np.linalg.norm(q[off[0]]):.4g} at row {off[0]} ({len(off)} rows), expected "
                    f"1; a conversion with --fix_quaternions mends it"
                )
                report.add(warning("quaternion-length", path, what, episode=index))
    return {dim for quaternion in found for dim in quaternion.where}
