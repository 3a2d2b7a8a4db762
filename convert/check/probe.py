"""One look at a video file: where its frames are, and one decoded frame.

No pixel but those of the first frame is touched. Decoding them all is `convert/lerobot/video.py`.
"""

import contextlib
import itertools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from convert.lerobot.display import Display, read_display
from convert.lerobot.file import OnRead, check_file
from convert.lerobot.video_file import open_decoder, video_errors, video_streams
from convert.lerobot.video_index import VideoIndex, read_index
from job.errors import DatasetError

_LOOKED_AT = 16  # frames, of a stream with B-frames
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


def probe(path: Path, fps: Fraction, on_read: OnRead) -> Probe:
    """Look at a video; raises DatasetError for one that cannot be read, is cut off or off the grid.

    on_read: called with the file before it is opened, and while many packets are read
    """
    on_read(path)
    check_file(path)
    container, stream = open_decoder(path)
    with container:
        return _look(container, stream, path, fps, on_read)


def _look(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    fps: Fraction,
    on_read: OnRead,
) -> Probe:
    frame = _first_frame(container, stream, path)
    _check_order(container, stream, frame, path)
    gray = frame.reformat(format="gray").to_ndarray()
    return Probe(
        index=read_index(path, stream, fps, on_read),
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


def _check_order(
    container: InputContainer, stream: VideoStream, first: av.VideoFrame, path: Path
) -> None:
    """Refuse a stream with B-frames whose packets have no display times: only decoding shows it."""
    if not stream.codec_context.has_b_frames:
        return
    last = first.pts
    with contextlib.suppress(av.error.FFmpegError):  # the index tells where a file is cut off
        for frame in itertools.islice(container.decode(stream), _LOOKED_AT):
            if frame.pts is None or last is None or frame.pts <= last:
                what = (
                    "its frames are not shown in the order of their timestamps, as those of a "
                    "stream with B-frames that was copied without its times; re-encode it"
                )
                raise _refusal(path, "video-order", what)
            last = frame.pts


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> av.VideoFrame:
    with video_errors(path, "its first frame"):
        frame = next(container.decode(stream), None)
    if frame is None:
        raise _refusal(path, "video-decode", "no frame can be decoded; copy or record it again")
    return frame


def _refusal(path: Path, code: str, what: str) -> DatasetError:
    return DatasetError(f"{path}: {what}", code=code, where=path)
