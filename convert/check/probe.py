"""One look at a video file: where its frames are, and one decoded frame.

No pixel but those of the first frame is touched. Decoding them all is `episodes/video/reader.py`.
"""

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from episodes.input_file import OnRead, check_file
from episodes.video.display import Display, read_display
from episodes.video.file import open_decoder, out_of_order, video_errors, video_streams
from episodes.video.index import VideoIndex, read_index
from job.errors import DatasetError

_LOOKED_AT = 16  # frames, of a stream with B-frames
_MOST_PLACES = 16  # of a file, where they are looked at
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


@dataclass(frozen=True)
class Probe:
    """What a video file holds, as far as its container and first frame show."""

    index: VideoIndex
    tracks: int  # video tracks, of which one is taken
    display: Display | None  # what players do to its frames
    height: int
    width: int
    codec: str
    pixel_format: str
    bits: int  # per channel
    colorspace: int  # AVCOL_SPC_…
    is_blank: bool  # the first frame is of one colour

    def size(self, rotated: bool) -> tuple[int, int]:
        """Height and width of its frames; `rotated`: as players show them."""
        turned = rotated and self.display is not None and not self.display.turned[0]
        return (self.width, self.height) if turned else (self.height, self.width)

    @property
    def is_tagged(self) -> bool:
        """Whether the file says by which matrix its colours convert to RGB."""
        return self.colorspace not in (0, _UNSPECIFIED)


def probe(path: Path, fps: Fraction, on_read: OnRead, starts_s: Sequence[float] = ()) -> Probe:
    """Look at a video; raises DatasetError for one that cannot be read, is cut off or off the grid.

    starts_s: where its episodes start, of which some are looked at in a stream with B-frames
    on_read: called with the file before it is opened, and while many packets are read
    """
    on_read(path)
    check_file(path)
    container, stream = open_decoder(path)
    with container:
        return _look(container, stream, path, fps, starts_s, on_read)


def _look(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    fps: Fraction,
    starts_s: Sequence[float],
    on_read: OnRead,
) -> Probe:
    frame = _first_frame(container, stream, path)
    _check_order(container, stream, frame, path)
    gray = frame.reformat(format="gray").to_ndarray()
    index = read_index(path, stream, fps, on_read)
    if stream.codec_context.has_b_frames:
        middles_s = [Fraction(start_s) + 1 / (2 * fps) for start_s in starts_s]
        _check_order_within(container, stream, path, middles_s, on_read)
    return Probe(
        index=index,
        tracks=len(video_streams(container)),
        display=read_display(frame),
        height=frame.height,
        width=frame.width,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=frame.format.name,
        bits=max(component.bits for component in frame.format.components),
        colorspace=int(frame.colorspace),
        is_blank=int(gray.max()) - int(gray.min()) <= 1,
    )


def _check_order_within(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    places_s: Sequence[Fraction],
    on_read: OnRead,
) -> None:
    """Look at the order where episodes start: a file is joined from those of several recordings.

    Between them only `--deep` looks, and the conversion, as decoding alone shows it.
    """
    later = sorted(set(places_s))[1:]  # the first frames have been looked at
    for place_s in later[:: -(-len(later) // _MOST_PLACES) or 1]:
        on_read(path)
        place = (stream.start_time or 0) + round(place_s / (stream.time_base or Fraction(1)))
        with contextlib.suppress(av.error.FFmpegError):  # the index tells where a file is cut off
            container.seek(place, stream=stream, backward=True)
            _check_order(container, stream, None, path)


def _check_order(
    container: InputContainer, stream: VideoStream, first: av.VideoFrame | None, path: Path
) -> None:
    """Refuse a stream with B-frames whose packets have no display times: only decoding shows it.

    first: the frame that was decoded last, where there is one
    """
    if not stream.codec_context.has_b_frames:
        return
    last = None if first is None else first.pts
    with contextlib.suppress(av.error.FFmpegError):  # the index tells where a file is cut off
        for frame in itertools.islice(container.decode(stream), _LOOKED_AT):
            if frame.pts is None or (last is not None and frame.pts <= last):
                raise out_of_order(path)
            last = frame.pts


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> av.VideoFrame:
    with video_errors(path, "its first frame"):
        frame = next(container.decode(stream), None)
    if frame is None:
        raise _refusal(path, "video-decode", "no frame can be decoded; copy or record it again")
    return frame


def _refusal(path: Path, code: str, what: str) -> DatasetError:
    return DatasetError(f"{path}: {what}", code=code, where=path)
