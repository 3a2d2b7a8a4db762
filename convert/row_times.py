"""What the timestamps of an episode's rows say of its rate, and of rows that were cut out."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from convert.findings import Add, error, warning
from convert.lerobot.episode_list import Episode
from convert.lerobot.table import Times

_NEAR = 0.25  # of a frame


def row_rate(times: Times | None, fps: Fraction) -> Fraction:
    """Rows per second: the dataset's rate, or a whole part of it where rows were thinned out.

    times: the rows' timestamps, (T,) in seconds; those of another clock say nothing
    """
    if times is None or len(times) < 2:
        return fps
    frames = float(np.median(np.diff(times))) * float(fps)  # NaN where a time is
    # a row a second or fewer are frame numbers or another unit, not seconds of a recording
    every = round(frames) if 1 < frames < float(fps) - _NEAR else 1
    return fps / every if every > 1 and abs(frames - every) < _NEAR else fps


def rows_before_gaps(times: Times | None, rate: Fraction) -> NDArray[np.int64]:
    """The rows after which rows were cut out: timestamps are whole steps apart, and not all one.

    rate: rows per second
    """
    if times is None or len(times) < 2 or not np.isfinite(times).all():
        return np.array([], np.int64)
    steps = np.diff(times) * float(rate)
    whole = (steps > 0).all() and (np.abs(steps - np.rint(steps)) < _NEAR).all()
    if np.median(steps) > 2 - _NEAR:  # another unit or clock: the usual step is one
        return np.array([], np.int64)
    return np.flatnonzero(steps > 2 - _NEAR) if whole else np.array([], np.int64)


def check_gaps(episode: Episode, times: Times | None, fps: Fraction, chunk: int, add: Add) -> None:
    """Warn of rows that were cut out, and of the chunks of actions that go over such a place.

    chunk: actions in a chunk
    """
    gaps = rows_before_gaps(times, row_rate(times, fps))
    if not len(gaps):
        return
    starts = np.arange(episode.length)
    nexts = np.append(gaps, episode.length)[np.searchsorted(gaps, starts)]  # the gap after each row
    share = float((nexts + 1 < np.minimum(starts + chunk, episode.length)).mean())
    what = (
        f"by its timestamps rows were cut out after row {gaps[0]}"
        f"{f' and at {len(gaps) - 1} other places' if len(gaps) > 1 else ''}; {share:.0%} of the "
        f"chunks of {chunk} actions go over such a place, where the arm would have to jump"
    )
    add(warning("rows-cut", episode.table_path, what, episode=episode.index))


def check_rate(
    episode: Episode, times: Times | None, expected: Fraction, fps: Fraction, add: Add
) -> None:
    """Refuse an episode whose rows have another rate than those of the first one.

    expected: rows per second of the first episode; fps: the dataset's
    """
    found = row_rate(times, fps)
    if found != expected:
        what = (
            f"its rows are {float(found):g} a second by their timestamps, expected "
            f"{float(expected):g} as in the first episode; use episodes of one rate alone, "
            f"with --episodes or --exclude_episodes"
        )
        add(error("row-rate", episode.table_path, what, episode=episode.index))
