"""One look at a video file: its frames' places without decoding them, and one decoded frame.

Places come from the container's index when it is regular, else from the packets; no pixel but
those of the first frame is touched. Decoding them all is `convert/lerobot/video.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from convert.lerobot.file import OnRead, check_file
from convert.lerobot.video import (
    MAX_OFF_GRID,
    counts_from_zero,
    limit_pixels,
    off_grid,
    open_video,
)
from job.errors import DatasetError

_REPORT_EVERY = 1024  # packets
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


@dataclass(frozen=True)
class Probe:
    """What a video file holds, as far as its container and first frame show."""

    path: Path
    first: int  # ordinal of the first frame, as the dataset counts
    count: int  # frames that can be decoded, if their data is whole
    end: int  # the ordinal after the last frame
    listed: int  # frames that the header lists; more than `count` where the file is cut off
    missing: tuple[range, ...]  # ordinals between them that no frame has
    start_s: float  # where the container starts
    height: int
    width: int
    codec: str
    pixel_format: str
    bits: int  # per channel
    colorspace: int  # AVCOL_SPC_…
    is_blank: bool  # the first frame is of one colour

    @property
    def is_tagged(self) -> bool:
        """Whether the file says by which matrix its colours convert to RGB."""
        return self.colorspace not in (0, _UNSPECIFIED)


def probe(path: Path, fps: Fraction, file_first: int, on_read: OnRead) -> Probe:
    """Look at a video; raises DatasetError for one that cannot be read, is cut off or off the grid.

    file_first: the lowest ordinal that the dataset has in this file (see VideoReader)
    on_read: called with the file before it is opened, and while many packets are read
    """
    on_read(path)
    check_file(path)
    try:
        container = open_video(path)
    except (av.error.FFmpegError, ValueError, OSError) as problem:
        raise _refusal(
            path,
            "video-unreadable",
            f"cannot be decoded, not even its header ({problem}); expected a whole AV1, H.264 or "
            f"HEVC video; it is cut off or not a video; copy or record it again",
        ) from problem
    with container:
        if not container.streams.video:
            raise _refusal(path, "video-none", "no video stream, expected one; copy it again")
        return _look(container, container.streams.video[0], path, fps, file_first, on_read)


def _look(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    fps: Fraction,
    file_first: int,
    on_read: OnRead,
) -> Probe:
    frame = _first_frame(container, stream, path)
    time_base = stream.time_base or Fraction(1)
    start = stream.start_time or 0
    shown, listed = _places(container, stream, path, on_read)
    places = shown * float(time_base * fps)
    ordinals = _on_grid(places - places.min(), stream, path, fps)
    first = file_first if counts_from_zero(start * time_base, fps, file_first) else 0
    gray = frame.reformat(format="gray").to_ndarray()
    return Probe(
        path=path,
        first=first,
        count=len(ordinals),
        end=first + int(ordinals[-1]) + 1,
        listed=max(listed, len(ordinals)),
        missing=_holes(first + ordinals),
        start_s=float(start * time_base),
        height=frame.height,
        width=frame.width,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=frame.format.name,
        bits=max(component.bits for component in frame.format.components),
        colorspace=int(frame.colorspace),
        is_blank=int(gray.max()) - int(gray.min()) <= 1,
    )


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> av.VideoFrame:
    context: Any = stream.codec_context  # None when FFmpeg has no decoder
    if context is None:
        raise _no_decoder(path, "of an unknown kind")
    limit_pixels(path, stream)
    context.thread_count = 1
    try:
        frame = next(container.decode(stream), None)
    except NotImplementedError as problem:  # the native av1 decoder only drives hardware
        raise _no_decoder(path, context.name) from problem
    except (av.error.FFmpegError, ValueError, OSError) as problem:
        raise _refusal(
            path,
            "video-decode",
            f"its first frame cannot be decoded ({problem}); expected a whole AV1, H.264 or HEVC "
            f"video; copy or record it again",
        ) from problem
    if frame is None:
        raise _refusal(path, "video-decode", "no frame can be decoded; copy or record it again")
    return frame


def _no_decoder(path: Path, codec: str) -> DatasetError:
    return _refusal(
        path,
        "codec-missing",
        f"PyAV {av.__version__} here has no decoder for its codec ({codec}), expected one for AV1, "
        f"H.264 and HEVC as the wheels from PyPI have; pip install av",
    )


def _places(
    container: InputContainer, stream: VideoStream, path: Path, on_read: OnRead
) -> tuple[NDArray[np.float64], int]:
    """Where each frame is shown, in time base units, ascending, up to a constant; and how many
    the header lists, which are more where the file is cut off.
    """
    entries: Iterable[Any] = getattr(stream, "index_entries", ())  # PyAV 17 and later
    kept = [(e.timestamp, e.pos + e.size) for e in entries if not e.is_discard]
    if len(kept) == stream.frames and kept:
        size = path.stat().st_size
        whole = sum(end <= size for _, end in kept)
        if not whole:
            raise _refusal(path, "video-truncated", "cut off before its first frame; copy it again")
        decoded_at = np.array([at for at, end in kept if end <= size], np.float64)
        steps = np.diff(decoded_at)
        if not len(steps) or steps.min() == steps.max():
            return decoded_at, len(kept)  # regular: shown at the same times, but for a constant
    shown = _packet_places(container, stream, path, on_read)
    return shown, len(shown)


def _packet_places(
    container: InputContainer, stream: VideoStream, path: Path, on_read: OnRead
) -> NDArray[np.float64]:
    """The same from the packets, for what is irregular, edited or has no index."""
    shown, seen = [], 0
    try:
        container.seek(0, backward=True, any_frame=False)
        for packet in container.demux(stream):
            seen += packet.size > 0
            if seen % _REPORT_EVERY == 0:
                on_read(path)
            if packet.size and packet.pts is not None and not packet.is_discard:
                shown.append(packet.pts)
    except (av.error.FFmpegError, ValueError, OSError) as problem:
        raise _refusal(
            path,
            "video-truncated",
            f"unreadable after frame {seen - 1} ({problem}), expected {stream.frames} frames; it "
            f"is cut off or damaged; copy or record it again",
        ) from problem
    if not shown:
        raise _refusal(path, "video-decode", "no frame has a timestamp; re-encode the video")
    return np.sort(np.array(shown, np.float64))


def _holes(ordinals: NDArray[np.int64]) -> tuple[range, ...]:
    before = np.flatnonzero(np.diff(ordinals) > 1)
    return tuple(range(int(ordinals[i]) + 1, int(ordinals[i + 1])) for i in before)


def _on_grid(
    places: NDArray[np.float64], stream: VideoStream, path: Path, fps: Fraction
) -> NDArray[np.int64]:
    ordinals = np.rint(places).astype(np.int64)
    off = np.abs(places - ordinals)
    if off.max() >= MAX_OFF_GRID:
        raise off_grid(path, stream, float(places[(off >= MAX_OFF_GRID).argmax()]), fps)
    return np.unique(ordinals)


def _refusal(path: Path, code: str, what: str) -> DatasetError:
    return DatasetError(f"{path}: {what}", code=code, where=path)
