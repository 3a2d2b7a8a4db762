"""Which picture of a video belongs to which row of an episode: by its time, or by the order.

A dataset says it twice. LeRobot reads the picture at `from_timestamp + timestamp`; the order alone
is proven where the video has as many pictures as the episode has rows. Where neither can be
trusted, the episode is refused. The check and the conversion ask the same function.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from convert.findings import Add, Finding, error, warning
from convert.lerobot.dataset import Dataset
from convert.lerobot.episode_list import Episode
from convert.lerobot.file_uses import FileUse, FileUses
from convert.lerobot.table import Times
from episodes.video.index import MAX_OFF_GRID, VideoIndex

Ordinals = NDArray[np.int64]


@dataclass(frozen=True)
class VideoFile:
    """A video, where its frames are, and what all episodes of the dataset take from it."""

    index: VideoIndex
    uses: FileUses  # at the file's rate
    fps: Fraction  # of the dataset

    @classmethod
    def of(cls, dataset: Dataset, index: VideoIndex) -> Self:
        """A video of a dataset."""
        return cls(index, dataset.file_uses(index.path, index.rate), dataset.fps)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.index.path

    def use_of(self, episode: Episode, camera: str) -> FileUse:
        """What one episode takes of it."""
        return episode.use_of(camera, self.index.rate, self.fps)

    def frames_of(self, rows: int) -> int:
        """Frames from that of the first row to that of the last."""
        return round((rows - 1) * self.index.rate / self.fps) + 1


def choose_pictures(
    file: VideoFile, episode: Episode, camera: str, times: Times | None, add: Add
) -> Ordinals | None:
    """The ordinal of each row's picture in the file; None after an error was added.

    times: the rows' timestamps, (T,) in seconds; None where the table has none
    """
    use, shift = file.use_of(episode, camera), _shift(file, times)
    problem = _unknown_place(file, use, episode.length)
    if problem is None and shift is None:
        problem = _unknown_start(file)
    if problem is not None:
        add(error(problem[0], file.path, problem[1], episode=episode.index, camera=camera))
        return None
    assert shift is not None, "where it is unknown was refused"
    first = use.first - shift
    region = range(first, _next_use(file, use, shift))
    by_order = first + np.arange(episode.length)
    by_time = _by_time(file, first, times)
    says_nothing = by_time is None or _says_nothing(by_time, region)
    starts_at_0 = by_time is not None and by_time[0] == first
    if _is_counted(file, use, by_order, region) and (says_nothing or starts_at_0):
        if by_time is not None and times is not None and not np.array_equal(by_time, by_order):
            what = (
                f"the timestamps of its rows, from {times[0]:.3f} s, are not those of its frames; "
                f"there are as many frames as rows, which are taken in order; look at the pictures "
                f"if rows were doubled or cut out and frames lost"
            )
            add(warning("picture-order", file.path, what, episode=episode.index, camera=camera))
        return by_order
    if by_time is not None and not says_nothing and _are_its_own(file, by_time, region):
        for finding in _differences(file, episode, camera, by_time, by_order):
            add(finding)
        return by_time
    wanted = by_order if by_time is None or says_nothing else by_time
    code, what = _reason(file, episode.length, use, wanted, first)
    add(error(code, file.path, what, episode=episode.index, camera=camera))
    return None


def _unknown_place(file: VideoFile, use: FileUse, rows: int) -> tuple[str, str] | None:
    """Why the metadata do not say where in the file an episode lies: code and message."""
    if use.window is None:
        if len(file.uses) == 1:
            return None
        what = f"is the video of {len(file.uses)} episodes, expected one of its own for each"
        return "video-shared", what
    if use.window < file.frames_of(rows):
        return "video-window-short", (
            f"its window has {use.window} frames, the table has {rows} rows, expected "
            f"{file.frames_of(rows)} for them; frames were dropped while recording, and which ones "
            f"cannot be known; leave the episode out or record it again"
        )
    other = file.uses.overlapping(use)
    if other is None:
        return None
    return "video-overlap", (
        f"its window is frames {use.first} to {use.end - 1}, that of episode {other.episode} "
        f"frames {other.first} to {other.end - 1}, expected windows apart; one of the two is "
        f"wrong; leave both out, or merge or record the dataset again"
    )


def _shift(file: VideoFile, times: Times | None) -> int | None:
    """How many frames the dataset counts before the file's first one; None: it is not known.

    A file that starts late has lost its first pictures, or is counted from where it starts: what
    the episodes take of it shows which, when it ends where one of the two says.
    """
    index, uses = file.index, file.uses
    if not uses.is_shared and index.rate != file.fps and not index.starts_at_0:
        return None  # rows of another rate than the pictures do not count them
    if not index.start:
        lost = index.end < uses.end and not index.is_cut_off and uses.is_shared
        return None if lost else 0
    if uses.is_shared and uses.first == index.start:
        return index.start
    from_there, from_0 = index.end == uses.end, index.start + index.end == uses.end
    if from_there == from_0:
        return None
    if from_there and not uses.is_shared and times is not None and len(times):
        # as many pictures as rows: the first row's time, if it is that of the first picture
        return index.start if round(times[0] * float(index.rate)) == index.start else 0
    return 0 if from_there else index.start


def _unknown_start(file: VideoFile) -> tuple[str, str]:
    index, last = file.index, file.uses.end
    if index.starts_at_0:
        return "video-frames-lost", (
            f"has {index.end} frames, its episodes take {last}, expected as many; where frames "
            f"were lost cannot be known, so that each of its episodes may be shifted; record them "
            f"again, or leave out all {len(file.uses)}"
        )
    return "video-start-unknown", (
        f"starts at {float(index.start_s):.3f} s and has {index.end} frames, its episodes take "
        f"{last}; whether frames were lost at its start cannot be known, expected a video from 0 "
        f"s; record or encode it again, or leave out all {len(file.uses)} of its episodes"
    )


def _next_use(file: VideoFile, use: FileUse, shift: int) -> int:
    """Where the frames end that can be an episode's: at the next episode, or with the file."""
    later, end = file.uses.next_first(use.first), file.index.end
    return end if later is None else min(end, later - shift)


def _by_time(file: VideoFile, first: int, times: Times | None) -> Ordinals | None:
    """The frames at the rows' times; None where there are none, or they are off the grid."""
    if times is None or not np.isfinite(times).all():
        return None
    places = first + times * float(file.index.rate)
    places = np.clip(places, -(1 << 60), 1 << 60)  # a clock in nanoseconds
    ordinals = np.rint(places).astype(np.int64)
    return None if (np.abs(places - ordinals) >= MAX_OFF_GRID).any() else ordinals


def _says_nothing(by_time: Ordinals, region: range) -> bool:
    """Whether times are those of another clock: outside the video altogether, or all the same."""
    outside = (by_time < region.start) | (by_time >= region.stop)
    return bool(outside.all()) or (len(by_time) > 1 and bool((by_time == by_time[0]).all()))


def _is_counted(file: VideoFile, use: FileUse, by_order: Ordinals, region: range) -> bool:
    """Whether there are as many frames as rows, so that the order is proven."""
    if file.index.rate != file.fps or len(file.index.missing(by_order)):
        return False
    return len(region) == len(by_order) and use.window in (None, len(by_order))


def _are_its_own(file: VideoFile, by_time: Ordinals, region: range) -> bool:
    """Whether there is a frame of the episode's own for each row."""
    inside = region.start <= by_time[0] and by_time[-1] < region.stop
    rising = bool((np.diff(by_time) > 0).all())
    return inside and rising and not len(file.index.missing(by_time))


def _differences(
    file: VideoFile, episode: Episode, camera: str, by_time: Ordinals, by_order: Ordinals
) -> list[Finding]:
    """Warnings about frames that are left out, or that are not taken in order."""
    window, rows = file.use_of(episode, camera).window, episode.length
    if not np.array_equal(by_time, by_order):
        at = by_time - by_order[0]
        what = (
            f"the timestamps of its {rows} rows are those of frames {_spans(at)}, which are taken, "
            f"as LeRobot does; rows were cut out, or the video has another rate"
        )
        code = "picture-times"
    elif window is not None and window > rows:
        counts = f"its window has {window} frames, the table has {rows} rows"
        code, what = "video-window-long", f"{counts}; the rest is left out"
    elif window is None and file.index.end > rows:
        counts = f"has {file.index.end} frames, the table has {rows} rows"
        code, what = "video-long", f"{counts}; the first {rows} are taken, the rest is left out"
    else:
        return []
    return [warning(code, file.path, what, episode=episode.index, camera=camera)]


def _spans(frames: Ordinals) -> str:
    """Which frames these are, in a few words."""
    if len(frames) == 1:
        return f"{frames[0]}"
    steps = np.diff(frames)
    if steps.min() == steps.max():
        every = "" if steps[0] == 1 else f" in steps of {steps[0]}"
        return f"{frames[0]} to {frames[-1]}{every}"
    breaks = np.flatnonzero(steps != np.median(steps))
    gaps = ", ".join(f"{frames[at]} then {frames[at + 1]}" for at in breaks[:2])
    return f"{frames[0]} to {frames[-1]} with gaps ({gaps}{', …' if len(breaks) > 2 else ''})"


def _reason(
    file: VideoFile, rows: int, use: FileUse, wanted: Ordinals, first: int
) -> tuple[str, str]:
    """Why an episode's rows have no pictures that are known to be theirs."""
    index = file.index
    mend = "leave the episode out or record it again"
    if index.rate != file.fps:
        return "video-rate", (
            f"has {float(index.rate):g} frames a second, the dataset {float(file.fps):g}, and the "
            f"rows' timestamps are not those of its frames; re-encode it to constant "
            f"{float(file.fps):g} fps"
        )
    if index.is_cut_off and wanted[-1] >= index.end:
        return "video-truncated", (
            f"cut off: its header lists {index.listed} frames, the data of {index.there} "
            f"is there, and this episode ends at frame {wanted[-1]}; copy it again, or use only "
            f"the episodes that are whole"
        )
    missing = index.missing(wanted)
    if len(missing) and wanted[0] >= 0 and wanted[-1] < index.end:
        return "video-dropped", (
            f"frame {missing[0] - first} is missing ({len(missing)} of {rows} are, "
            f"{len(index.ordinals)} are in the file), expected every frame at "
            f"{float(file.fps):g} fps; frames were dropped, or the frame rate is not constant; "
            f"{mend}"
        )
    if len(missing) and use.window is not None:
        return "video-window-outside", (
            f"its window is frames {wanted[0]} to {wanted[-1]}, the file has 0 to "
            f"{index.end - 1}, expected the window inside the file; where the frames are is "
            f"unknown; leave the episode out, or merge or record the dataset again"
        )
    if len(missing) and index.end < rows:
        return "video-short", (
            f"has {index.end} frames, the table has {rows} rows, expected as many; frames were "
            f"dropped while recording, and which ones cannot be known; {mend}"
        )
    return "picture-unknown", (
        f"its {rows} rows are not as many as its frames, and their timestamps are not those of "
        f"frames of its own, expected one of the two; which picture belongs to which row cannot "
        f"be known; {mend}"
    )
