"""The frames of one camera, streamed from a video file in order: (H, W, 3) uint8 RGB.

Frames are matched by their rounded ordinal, round((pts - start) * fps), not by comparing
timestamps: that survives float32 timestamps, concatenation drift and containers that start late.
"""

import contextlib
import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from convert.lerobot.file import OnRead, check_file, ignore
from episodes.reader import Frame
from job.errors import DatasetError
from job.machine import memory_bytes

# A frame this far from its place on the fps grid means another or a variable frame rate.
MAX_OFF_GRID = 0.25  # frames; exact in binary, so that Fractions compare with it exactly
# HEVC may not be able to start at the very frame: its leading pictures need the group before.
_PREROLL_S = 1
_REPORT_EVERY = 64  # frames
# What a decoder takes for each pixel: 16 reference pictures of 1.5 bytes, RGB, and a copy of it.
_PIXEL_BYTES = 32
_LARGEST_SHARE = 8  # of the memory, for one video
_LARGEST_PIXELS = 1 << 26
_BT709, _BT601, _FULL_RANGE = 1, 5, 2  # AVCOL_SPC_BT709, AVCOL_SPC_BT470BG, AVCOL_RANGE_JPEG
# From PyAV 17 on, colours are by default converted by a thread for each core: among workers that
# already use every core, 0.80 ms a frame instead of 0.52 (480x640, decoding included).
_ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}

_ONLY_A_FILE = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm",
}

logger = logging.getLogger("act")


class VideoReader:
    """One open video file, read forward; consecutive spans never decode a frame twice."""

    def __init__(
        self, path: Path, fps: Fraction, file_first: int = 0, on_read: OnRead = ignore
    ) -> None:
        """Open the first video stream of `path`; raises DatasetError when there is none.

        file_first: the lowest ordinal that the dataset has in this file, which shows whether it
        counts from 0 or from where the container starts
        on_read: called with the file before it is opened, and while it is decoded
        """
        self.path = path
        self._fps = fps
        self._on_read = on_read
        on_read(path)
        check_file(path)
        with video_errors(path, "its header", "video-unreadable"):
            self._container = open_video(path)
            if not self._container.streams.video:
                raise DatasetError(
                    f"{path}: no video stream; expected one; copy it again",
                    code="video-none",
                    where=path,
                )
        self._stream = self._container.streams.video[0]
        if self._stream.codec_context is None:
            raise DatasetError(
                f"{path}: PyAV {av.__version__} has no decoder for its video; expected AV1, H.264 "
                f"or HEVC; re-encode it",
                code="codec-missing",
                where=path,
            )
        limit_pixels(path, self._stream)
        # one thread per process: the work is spread over processes (job/workers.py)
        self._stream.codec_context.thread_count = 1
        self._start = self._stream.start_time or 0
        self._time_base = self._stream.time_base or Fraction(1)
        if self._start:
            self._start = self._count_from(file_first)
        self._frames: Iterator[tuple[int, av.VideoFrame]] = self._decode()
        self._reformatter = VideoReformatter()
        self._next = 0  # ordinal of the next frame that `_frames` gives, when read in order
        self._held: tuple[int, av.VideoFrame] | None = None

    def _count_from(self, file_first: int) -> int:
        """The pts of ordinal 0 in a file that does not start at 0."""
        seconds = self._start * self._time_base
        absolute = counts_from_zero(seconds, self._fps, file_first)
        logger.info(
            "%s starts at %.3f s instead of 0; the dataset counts its frames from %s",
            self.path,
            float(seconds),
            "0 s" if absolute else "there",
        )
        return 0 if absolute else self._start

    def frames(self, first: int, count: int) -> Iterator[Frame]:
        """Give frames `first` … `first + count - 1`, each (H, W, 3) uint8.

        Raises DatasetError when one is missing, off the grid, or cannot be decoded.
        """
        if first != self._next:
            self._seek(first)
        for ordinal in range(first, first + count):
            yield self._to_rgb(self._take(ordinal, first))
            self._next = ordinal + 1

    def _to_rgb(self, frame: av.VideoFrame) -> Frame:
        """Convert to RGB by the stream's colour tags, the same on every PyAV version.

        Untagged video is BT.601 in all of them. PyAV before 17 takes BT.709 for BT.601 too, unless
        it is given the source's tags and a target that differs from them.
        """
        if frame.format.name.startswith("gray"):  # decodes as plausible pictures all the same
            raise DatasetError(
                f"{self.path}: is {frame.format.name}, a depth or grey stream, expected colour; "
                f"leave it out with --camera_keys",
                code="video-depth",
                where=self.path,
            )
        tagged = frame.colorspace == _BT709
        rgb = self._reformatter.reformat(  # one for the file: to_ndarray builds one per frame
            frame,
            format="rgb24",
            src_colorspace=frame.colorspace if tagged else None,
            dst_colorspace=_BT601 if tagged else None,
            src_color_range=frame.color_range if tagged else None,
            dst_color_range=_FULL_RANGE if tagged else None,
            **_ONE_THREAD,
        )
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        return rows[: rgb.height, : 3 * rgb.width].reshape(rgb.height, rgb.width, 3)

    def _take(self, ordinal: int, first: int) -> av.VideoFrame:
        while True:
            found = self._held or next(self._frames, None)
            self._held = None
            if found is None:
                raise DatasetError(
                    f"{self.path}: the video ends after frame {self._next - 1}, expected frames "
                    f"{first} to at least {ordinal}; it is cut off, or frames were dropped while "
                    f"recording; leave the episode out or record it again",
                    code="video-short",
                    where=self.path,
                )
            if found[0] == ordinal:
                return found[1]
            if found[0] > ordinal:
                raise DatasetError(
                    f"{self.path}: frame {ordinal} is missing (after it comes frame {found[0]}), "
                    f"expected every frame at {float(self._fps):g} fps; frames were dropped, or "
                    f"the frame rate is not constant",
                    code="video-dropped",
                    where=self.path,
                )

    def _seek(self, first: int) -> None:
        """Go to the key frame from which `first` can be decoded, as late as possible."""
        for preroll_s in (0, _PREROLL_S, None):
            seconds = Fraction(0) if preroll_s is None else first / self._fps - preroll_s
            target = self._start + max(0, round(seconds / self._time_base))
            with video_errors(self.path, f"the place of frame {first}"):
                self._container.seek(target, stream=self._stream, backward=True)
            self._frames = self._decode()
            self._held = next(self._frames, None)
            if self._held is not None and self._held[0] <= first:
                break
        self._next = first

    def _decode(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames with their ordinals, in the order they are shown."""
        reached = "its first frame"
        decoded = self._container.decode(self._stream)
        while True:
            with video_errors(self.path, reached):
                frame = next(decoded, None)
            if frame is None:
                return
            ordinal = self._ordinal(frame)
            if ordinal % _REPORT_EVERY == 0:  # also where a seek has to decode from afar
                self._on_read(self.path)
            reached = f"a frame after {ordinal}"
            yield ordinal, frame

    def _ordinal(self, frame: av.VideoFrame) -> int:
        if frame.pts is None:
            raise DatasetError(
                f"{self.path}: a frame has no timestamp; re-encode the video",
                code="video-decode",
                where=self.path,
            )
        place = (frame.pts - self._start) * self._time_base * self._fps
        ordinal = round(place)
        if abs(place - ordinal) >= MAX_OFF_GRID:
            raise off_grid(self.path, self._stream, float(place), self._fps)
        return ordinal

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def counts_from_zero(start_s: Fraction, fps: Fraction, file_first: int) -> bool:
    """Whether the dataset counts the frames of a container that starts late from 0 s.

    Otherwise it counts them from where the container starts.
    file_first: the lowest ordinal that the dataset has in the file
    """
    return start_s != 0 and file_first != 0 and round(start_s * fps) == file_first


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


def open_video(path: Path) -> InputContainer:
    """Open a video file as what it is: never a playlist that names other files or addresses."""
    return av.open(str(path), options=_ONLY_A_FILE)


def limit_pixels(path: Path, stream: VideoStream) -> None:
    """Refuse frames that claim more than the memory bears, and have the decoder do so later on."""
    most = min(_LARGEST_PIXELS, memory_bytes() // _LARGEST_SHARE // _PIXEL_BYTES)
    context = stream.codec_context
    if context.width * context.height > most:
        raise DatasetError(
            f"{path}: its frames are {context.height}x{context.width}, expected at most {most} "
            f"pixels, which is what the memory bears; record or encode it smaller",
            code="video-too-large",
            where=path,
        )
    context.options = {"max_pixels": str(most)}


@contextlib.contextmanager
def video_errors(path: Path, reached: str, code: str = "video-decode") -> Iterator[None]:
    """Translate PyAV's errors, at the one border where it is used."""
    try:
        yield
    except (av.error.FFmpegError, ValueError) as error:
        raise DatasetError(
            f"{path}: cannot be decoded at {reached} ({error}); expected a whole AV1, H.264 or "
            f"HEVC video; copy or record it again",
            code=code,
            where=path,
        ) from error
