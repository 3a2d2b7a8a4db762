"""The frames of one camera from a video file, in order or any of them: (H, W, 3) uint8 RGB.

Frames have ordinals, round((pts - start) * rate), counted from the first one in the file: that
survives float32 timestamps, concatenation drift and containers that start late. Which of them
belongs to which row is decided in `convert/pictures.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from episodes.arrays import Frame
from episodes.input_file import OnRead, check_file, ignore
from episodes.video.display import Display, read_display
from episodes.video.file import open_decoder, out_of_order, refuse_depth, video_errors
from episodes.video.index import MAX_OFF_GRID, VideoIndex, off_grid, read_index
from job.errors import DatasetError

# HEVC may not be able to start at the very frame: its leading pictures need the group before.
_PREROLL_S = 1
_REPORT_EVERY = 64  # frames
_MOST_REORDERED = 16  # frames that a decoder may hold back (H.264 and HEVC)
_BT709, _BT601, _FULL_RANGE = 1, 5, 2  # AVCOL_SPC_BT709, AVCOL_SPC_BT470BG, AVCOL_RANGE_JPEG
# From PyAV 17 on, colours are by default converted by a thread for each core: among workers that
# already use every core, 0.80 ms a frame instead of 0.52 (480x640, decoding included).
_ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


class VideoReader:
    """One open video file, read forward; consecutive spans never decode a frame twice."""

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        on_read: OnRead = ignore,
        *,
        rotated: bool = False,
        grey: bool = False,
        index: VideoIndex | None = None,
    ) -> None:
        """Open the default video stream of `path`; raises DatasetError when there is none.

        fps: the dataset's, on whose grid the frames are expected
        index: the file's, where it is known
        rotated: give the frames as the file's display matrix has players show them
        grey: the file may have one channel of 8 bits, which is then given three times
        on_read: called with the file before it is opened, and while it is decoded
        """
        self.path = path
        self._on_read = on_read
        self._rotated = rotated
        self._grey = grey
        self.display: Display | None = None  # of the last frame that was given
        on_read(path)
        check_file(path)
        self._container, self._stream = open_decoder(path)
        self._start = self._stream.start_time or 0
        self._time_base = self._stream.time_base or Fraction(1)
        self.index = index or read_index(path, self._stream, fps, on_read)
        self._frames: Iterator[tuple[int, av.VideoFrame]] = self._decode()
        self._reformatter = VideoReformatter()
        self._next = 0  # ordinal of the next frame that `_frames` gives, when read in order
        self._held: tuple[int, av.VideoFrame] | None = None

    def frames(self, ordinals: Sequence[int] | NDArray[np.int64]) -> Iterator[Frame]:
        """Give the frames of these ascending ordinals, each (H, W, 3) uint8.

        Raises DatasetError when one is missing, off the grid, or cannot be decoded.
        """
        if len(ordinals) and ordinals[0] != self._next:
            self._seek(int(ordinals[0]))
        for ordinal in map(int, ordinals):
            for found, frame in self._until(ordinal):
                if found == ordinal:
                    yield self._to_rgb(frame)
            self._next = ordinal + 1

    def reach(self, ordinal: int, is_wanted: Callable[[int], bool]) -> Iterator[tuple[int, Frame]]:
        """Give the frame of an ordinal, last, after what is wanted of those decoded on the way.

        At most a group of pictures is decoded. Raises DatasetError as `frames` does.
        """
        if self._next > ordinal or self.index.has_key_frame(self._next, ordinal):
            self._seek(ordinal)
        for found, frame in self._until(ordinal):
            self._next = found + 1
            if found == ordinal or is_wanted(found):
                yield found, self._to_rgb(frame)

    def _to_rgb(self, frame: av.VideoFrame) -> Frame:
        """Convert to RGB by the stream's colour tags, the same on every PyAV version.

        Untagged video is BT.601 in all of them. PyAV before 17 takes BT.709 for BT.601 too, unless
        it is given the source's tags and a target that differs from them.
        """
        refuse_depth(self.path, frame.format.name, self._grey)
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
        pixels = rows[: rgb.height, : 3 * rgb.width].reshape(rgb.height, rgb.width, 3)
        self.display = read_display(frame)
        if self.display is None or not self._rotated:
            return pixels
        self.display.refuse_slanted(self.path)
        return self.display.apply(pixels)

    def _until(self, ordinal: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames from where it stands to one of an ordinal, which is the last."""
        while True:
            found = self._held or next(self._frames, None)
            self._held = None
            if found is None:
                raise DatasetError(
                    f"{self.path}: the video ends after frame {self._next - 1}, expected frame "
                    f"{ordinal}; it is cut off, or frames were dropped while recording; leave the "
                    f"episode out or record it again",
                    code="video-short",
                    where=self.path,
                )
            if found[0] > ordinal:
                self._refuse_disorder(ordinal)
                raise DatasetError(
                    f"{self.path}: frame {ordinal} is missing (after it comes frame {found[0]}), "
                    f"expected every frame at {float(self.index.rate):g} fps; frames were "
                    f"dropped, or the frame rate is not constant",
                    code="video-dropped",
                    where=self.path,
                )
            yield found
            if found[0] == ordinal:
                return

    def _refuse_disorder(self, ordinal: int) -> None:
        """Raise DatasetError where a frame is not gone but comes too late."""
        for later, _ in islice(self._frames, _MOST_REORDERED):
            if later == ordinal:
                raise out_of_order(self.path)

    def _seek(self, first: int) -> None:
        """Go to the key frame from which `first` can be decoded, as late as possible.

        What is shown before that key frame may need pictures from before it, and is passed over.
        """
        for preroll_s in (0, _PREROLL_S, None):
            seconds = Fraction(0) if preroll_s is None else first / self.index.rate - preroll_s
            target = self._start + max(0, round(seconds / self._time_base))
            with video_errors(self.path, f"the place of frame {first}"):
                self._container.seek(target, stream=self._stream, backward=True)
            self._frames = self._decode()
            # from the start of the file everything can be decoded
            usable = self._frames if preroll_s is None else self._from_key_frame(first)
            self._held = next(usable, None)
            if self._held is not None and self._held[0] <= first:
                break
        self._next = first

    def _from_key_frame(self, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
        for ordinal, frame in self._frames:
            if frame.key_frame or ordinal > first:
                yield ordinal, frame

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
        place = (frame.pts - self._start) * self._time_base * self.index.rate
        ordinal = round(place)
        if abs(place - ordinal) >= MAX_OFF_GRID:
            raise off_grid(self.path, self._stream, float(place), self.index.rate)
        return ordinal

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
