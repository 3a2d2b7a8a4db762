"""The long look: every frame of every camera decoded, file by file, in order."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from convert.check.camera_file import CameraFile, camera_files
from convert.findings import Report, refuse
from convert.lerobot.dataset import Dataset
from convert.lerobot.episode_list import Episode
from convert.lerobot.image import ImageReader
from convert.lerobot.table import Times
from convert.pictures import VideoFile, choose_pictures
from episodes.arrays import Frame
from episodes.input_file import OnRead
from episodes.video.reader import VideoReader
from job import signals
from job.errors import DatasetError

BLANK = "its first frame is of one colour; look at it"
FROZEN = "every frame shows the same; the camera stood still or hung"
_NOISE = 8  # levels by which a codec may make copies of one picture differ


class Stillness:
    """Whether the frames of an episode, two or more, all show the same."""

    def __init__(self) -> None:
        self._first: NDArray[np.int16] | None = None
        self.is_blank = False  # whether the first one is of one colour
        self._count = 0
        self._same = True

    def add(self, frame: Frame) -> None:
        """Look at the next frame, (H, W, 3) uint8."""
        if self._first is None:
            self._first = np.array(frame, np.int16)
            self.is_blank = int(np.ptp(frame)) == 0
        self._same = self._same and int(np.abs(self._first - frame).max()) <= _NOISE
        self._count += 1

    @property
    def is_frozen(self) -> bool:
        """Whether all so far show the same."""
        return self._same and self._count > 1


def check_deep(
    dataset: Dataset,
    keys: Sequence[str],
    grey: Collection[str],
    times: Mapping[int, Times | None],
    report: Report,
    pool: Executor,
    on_read: OnRead,
) -> int:
    """Decode everything but what is known to be broken; gives the number of frames decoded.

    grey: cameras that were named on purpose, and may have one channel
    times: the timestamps of the rows by episode, as far as they could be read
    """
    broken = {finding.where for finding in report.errors}
    videos, images = (
        [file for file in camera_files(dataset, keys, dtype) if str(file.path) not in broken]
        for dtype in ("video", "image")
    )
    counts = pool.map(partial(_decode_video, dataset, grey, times, report, on_read), videos)
    return sum(counts) + sum(pool.map(partial(_decode_images, report, on_read), images))


def _decode_video(
    dataset: Dataset,
    grey: Collection[str],
    times: Mapping[int, Times | None],
    report: Report,
    on_read: OnRead,
    file: CameraFile,
) -> int:
    def decode() -> Iterator[tuple[Episode, Iterable[Frame]]]:
        with VideoReader(file.path, dataset.fps, on_read, grey=file.key in grey) as reader:
            video = VideoFile.of(dataset, reader.index)
            for episode, _ in (use for use in file.uses if use[0].index in times):
                rows = times[episode.index]
                ordinals = choose_pictures(video, episode, file.key, rows, refuse)
                assert ordinals is not None, "a file with an error is not decoded"
                yield episode, reader.frames(ordinals)

    return _count(file, decode(), report)


def _decode_images(report: Report, on_read: OnRead, file: CameraFile) -> int:
    def decode() -> Iterator[tuple[Episode, Iterable[Frame]]]:
        with ImageReader(file.path, file.key, on_read) as reader:
            for episode, _ in file.uses:
                yield episode, reader.frames(episode.index, episode.length)

    return _count(file, decode(), report)


def _count(
    file: CameraFile,
    episodes: Iterator[tuple[Episode, Iterable[Frame]]],
    report: Report,
) -> int:
    count, index = 0, file.first_episode
    try:
        for episode, frames in episodes:
            index = episode.index
            still = Stillness()
            for frame in frames:
                signals.check()
                still.add(frame)
                count += 1
            if still.is_frozen:
                report.add(file.warning("video-frozen", FROZEN, index))
    except DatasetError as problem:
        report.add(file.finding_of(problem, index))
    return count
