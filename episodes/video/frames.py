"""Any frame of any video of a run, decoded when it is asked for.

A few videos stay open, with their places: going to a frame then decodes its group of pictures at
most. What is decoded on the way to a frame is kept too, where there is room.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.arrays import Frame
from episodes.filmed import Filmed
from episodes.frame_cache import FrameCache
from episodes.resize import resize_area
from episodes.video.index import VideoIndex
from episodes.video.reader import VideoReader
from job.errors import DatasetError
from job.whole_files import sampled_sha256

_MOST_OPEN = 24  # videos; a decoder takes some MB


@dataclass(frozen=True)
class _Stream:
    """A video as a camera takes it."""

    path: Path
    fps: Fraction
    rotated: bool
    grey: bool


@dataclass(frozen=True)
class _Wanted:
    """The frames that all episodes together take of a stream."""

    ordinals: NDArray[np.int64]  # ascending
    numbers: NDArray[np.int64]  # of the frames in the cache

    def number_of(self, ordinal: int) -> int | None:
        """Where a frame is kept; None: no episode has it."""
        place = int(np.searchsorted(self.ordinals, ordinal))
        if place == len(self.ordinals) or self.ordinals[place] != ordinal:
            return None
        return int(self.numbers[place])


class VideoFrames:
    """Frames by episode, camera and time step, all in one size; any thread may read."""

    def __init__(
        self, filmed: Mapping[tuple[int, int], Filmed], cache: FrameCache | None = None
    ) -> None:
        """filmed: by episode and camera, whose frames are numbered in this order, step by step

        cache: of frames in the size in which they are read
        """
        self._filmed = filmed
        self._cache = cache
        self._firsts, self._wanted = _number(filmed)
        self._indices: dict[_Stream, VideoIndex] = {}
        self._idle: OrderedDict[_Stream, list[VideoReader]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, episode: int, camera: int, ts: int, out: Frame) -> None:
        """Read a frame into `out`, (H, W, 3) uint8, contiguous; raises DatasetError."""
        filmed, number = self._filmed[episode, camera], self._firsts[episode, camera] + ts
        if self._cache is not None and self._cache.read(number, out):
            return
        stream = _stream_of(filmed)
        reader = self._take(stream, filmed)
        try:
            self._decode(reader, filmed, int(filmed.ordinals[ts]), out, self._wanted[stream])
        except BaseException:
            reader.close()
            raise
        self._give_back(stream, reader)

    def _decode(
        self, reader: VideoReader, filmed: Filmed, ordinal: int, out: Frame, wanted: _Wanted
    ) -> None:
        cache = self._cache

        def is_wanted(passed: int) -> bool:
            number = wanted.number_of(passed)
            return cache is not None and number is not None and cache.wants(number)

        for found, frame in reader.reach(ordinal, is_wanted):
            reduction = filmed.reduction
            if frame.shape[:2] != reduction.recorded:
                reduction.check(frame.shape[:2], filmed.path, f"frame {found}")
            in_file = resize_area(frame, *reduction.wanted)
            reduced = resize_area(in_file, out.shape[0], out.shape[1])
            number = wanted.number_of(found)
            if cache is not None and number is not None:
                cache.write(number, reduced)
            if found == ordinal:
                np.copyto(out, reduced)

    def _take(self, stream: _Stream, filmed: Filmed) -> VideoReader:
        """A reader of a stream that nobody else uses."""
        with self._lock:
            idle = self._idle.get(stream)
            index = self._indices.get(stream)
            if idle:
                return idle.pop()
        if index is None:
            _check_unchanged(filmed)
        made = VideoReader(
            stream.path, stream.fps, rotated=stream.rotated, grey=stream.grey, index=index
        )
        with self._lock:
            self._indices[stream] = made.index
        return made

    def _give_back(self, stream: _Stream, reader: VideoReader) -> None:
        closed = []
        with self._lock:
            self._idle.setdefault(stream, []).append(reader)
            self._idle.move_to_end(stream)
            while sum(map(len, self._idle.values())) > _MOST_OPEN:
                _, oldest = self._idle.popitem(last=False)
                closed += oldest
        for one in closed:
            one.close()

    def close(self) -> None:
        """Close the videos."""
        with self._lock:
            for readers in self._idle.values():
                for reader in readers:
                    reader.close()
            self._idle.clear()
        if self._cache is not None:
            self._cache.close()


def _stream_of(filmed: Filmed) -> _Stream:
    return _Stream(filmed.path, filmed.fps, filmed.rotated, filmed.grey)


def _number(
    filmed: Mapping[tuple[int, int], Filmed],
) -> tuple[dict[tuple[int, int], int], dict[_Stream, _Wanted]]:
    """The number of the first frame of each episode and camera, and the frames of each stream."""
    firsts: dict[tuple[int, int], int] = {}
    parts: dict[_Stream, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {}
    count = 0
    for key, one in filmed.items():
        firsts[key] = count
        numbers = np.arange(count, count + len(one.ordinals))
        parts.setdefault(_stream_of(one), []).append((one.ordinals, numbers))
        count += len(one.ordinals)
    wanted = {}
    for stream, pairs in parts.items():
        ordinals, numbers = (np.concatenate(some) for some in zip(*pairs, strict=True))
        order = np.argsort(ordinals, kind="stable")
        wanted[stream] = _Wanted(ordinals[order], numbers[order])
    return firsts, wanted


def _check_unchanged(filmed: Filmed) -> None:
    if filmed.path.is_file() and sampled_sha256(filmed.path) != filmed.sha256:
        raise DatasetError(
            f"{filmed.path}: is not the video that the episodes were converted from, expected one "
            f"that nothing writes to; run the same command again, a changed dataset under another "
            f"--run_name",
            code="changed",
            where=filmed.path,
        )
