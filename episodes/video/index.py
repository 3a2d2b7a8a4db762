"""Where the frames of a video file are shown, without decoding one of them.

Places come from the container's index when it is regular, else from the packets.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from episodes.input_file import OnRead
from episodes.video.file import choose_stream, open_video
from job.errors import DatasetError

# A frame this far from its place on the fps grid means another or a variable frame rate.
MAX_OFF_GRID = 0.25  # frames; exact in binary, so that Fractions compare with it exactly
_REPORT_EVERY = 1024  # packets


@dataclass(frozen=True)
class VideoIndex:
    """The frames of a file by their ordinals, round((pts - start) * rate)."""

    path: Path
    rate: Fraction  # frames per second: the dataset's, or the file's own where its frames lie so
    ordinals: NDArray[np.int64]  # of the frames whose data is there, ascending, each once
    there: int  # frames whose data is there
    listed: int  # frames that the header lists; more where the file is cut off
    start_s: Fraction  # where the first frame is shown
    keys: NDArray[np.int64]  # key frames in decoding order: an ordinal or a little before it

    @property
    def end(self) -> int:
        """The ordinal after the last frame."""
        return int(self.ordinals[-1]) + 1

    @property
    def start(self) -> int:
        """How many frames after 0 s the first one is shown."""
        return round(self.start_s * self.rate)

    @property
    def starts_at_0(self) -> bool:
        """Whether the first frame is shown at 0 s, as far as times are on the grid."""
        return abs(self.start_s * self.rate) < MAX_OFF_GRID

    @property
    def is_cut_off(self) -> bool:
        """Whether the header lists frames whose data is not there."""
        return self.there < self.listed

    def has_key_frame(self, after: int, last: int) -> bool:
        """Whether there is a key frame after one frame, up to another."""
        return bool(np.searchsorted(self.keys, after + 1) < np.searchsorted(self.keys, last + 1))

    def missing(self, ordinals: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some ordinals that no frame has."""
        places = np.searchsorted(self.ordinals, ordinals)  # a file may have far more frames
        found = self.ordinals[np.minimum(places, len(self.ordinals) - 1)]
        return ordinals[found != ordinals]


def read_index(path: Path, stream: VideoStream, fps: Fraction, on_read: OnRead) -> VideoIndex:
    """Find where the frames of an open stream are.

    Raises DatasetError for a file that is cut off before its first frame, or has no constant rate.
    """
    time_base = stream.time_base or Fraction(1)
    places = _places(path, stream, on_read)
    shown = places.shown - places.shown.min()
    start_s = (stream.start_time or 0) * time_base
    for rate in chain([fps], _own_rates(shown, time_base, stream)):
        found, off = _on_grid(shown, time_base * rate)
        ordinals = np.unique(found)
        # at a rate of its own no two frames have one place: few of them lie near any slow grid
        if not off.any() and (rate == fps or len(ordinals) == len(shown)):
            keys = np.unique(found[places.is_key])
            return VideoIndex(path, rate, ordinals, len(shown), places.listed, start_s, keys)
    _, off = _on_grid(shown, time_base * fps)
    raise off_grid(path, stream, float(shown[off.argmax()]) * float(time_base * fps), fps)


def _on_grid(
    shown: NDArray[np.float64], scale: Fraction
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The nearest ordinals, and which frames are not near theirs."""
    places = shown * float(scale)
    ordinals = np.rint(places).astype(np.int64)
    return ordinals, np.abs(places - ordinals) >= MAX_OFF_GRID


def _own_rates(
    shown: NDArray[np.float64], time_base: Fraction, stream: VideoStream
) -> Iterator[Fraction]:
    """Rates at which a file says that it was encoded."""
    for rate in (stream.base_rate, stream.guessed_rate, stream.average_rate):
        if rate:
            yield Fraction(rate)
    if len(shown) > 1:
        yield 1 / (Fraction(float(np.median(np.diff(shown)))) * time_base or Fraction(1))


def off_grid(path: Path, stream: VideoStream, place: float, fps: Fraction) -> DatasetError:
    """The error of a frame at `place`, in frames, which is MAX_OFF_GRID or more off a whole one."""
    wanted, own = f"{float(fps):g} fps", float(stream.average_rate or 0)
    return DatasetError(
        f"{path}: a frame is shown at {place / float(fps):.4f} s, which is {place:.2f} frames at "
        f"{wanted}, expected a whole number; the file's own rate is {own:g} fps; re-encode it to "
        f"constant {wanted}",
        code="video-rate",
        where=path,
    )


class _Places(NamedTuple):
    """Where each frame is shown, ascending."""

    shown: NDArray[np.float64]  # in time base units, up to a constant
    is_key: NDArray[np.bool_]
    listed: int  # frames that the header lists, which are more where the file is cut off


def _places(path: Path, stream: VideoStream, on_read: OnRead) -> _Places:
    entries: Iterable[Any] = getattr(stream, "index_entries", ())  # PyAV 17 and later
    kept = [(e.timestamp, e.pos + e.size, e.is_keyframe) for e in entries if not e.is_discard]
    if len(kept) == stream.frames and kept:
        size = path.stat().st_size
        there = [(at, is_key) for at, end, is_key in kept if end <= size]
        decoded_at = np.array([at for at, _ in there], np.float64)
        if not len(decoded_at):
            what = "cut off before its first frame; copy it again"
            raise DatasetError(f"{path}: {what}", code="video-truncated", where=path)
        steps = np.diff(decoded_at)
        if not len(steps) or steps.min() == steps.max():
            # regular: shown at the same times, but for a constant
            return _Places(decoded_at, np.array([is_key for _, is_key in there]), len(kept))
    return _packet_places(path, stream.frames, on_read)


def _packet_places(path: Path, listed: int, on_read: OnRead) -> _Places:
    """The same from the packets, for what is irregular, edited or has no index."""
    shown, seen = [], 0
    try:
        with open_video(path) as container:
            for packet in container.demux(choose_stream(path, container)):
                seen += packet.size > 0
                if seen % _REPORT_EVERY == 0:
                    on_read(path)
                if packet.size and packet.pts is not None and not packet.is_discard:
                    shown.append((packet.pts, packet.is_keyframe))
    except (av.error.FFmpegError, ValueError, OSError) as problem:
        raise DatasetError(
            f"{path}: unreadable after frame {seen - 1} ({problem}), expected {listed} frames; it "
            f"is cut off or damaged; copy or record it again",
            code="video-truncated",
            where=path,
        ) from problem
    if not shown:
        what = "no frame has a timestamp; re-encode the video"
        raise DatasetError(f"{path}: {what}", code="video-decode", where=path)
    shown.sort()
    is_key = np.array([is_key for _, is_key in shown])
    return _Places(np.array([at for at, _ in shown], np.float64), is_key, len(shown))
