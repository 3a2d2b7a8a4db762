"""Where the frames of a run come from: `open_frames` gives a source, which training reads.

They are in the episode files, or in the videos that these name. B samples, C cameras, H and W
pixels.
"""

import contextlib
import os
import resource
from pathlib import Path
from typing import Protocol

import numpy as np

from episodes.arrays import Frame, IntArray
from episodes.episode_set import Episodes
from episodes.filmed import Filmed
from episodes.frame_cache import FrameCache
from episodes.jpeg import decode_jpeg
from episodes.resize import resize_area
from episodes.rows import Rows, find_rows, read_row
from episodes.video.frames import VideoFrames
from job.errors import DatasetError

_OTHER_FILES = 256  # that a process has open besides the episodes


class FrameSource(Protocol):
    """Frames by episode and time step, every camera of them; any thread may read."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, H, W, 3), what one sample has."""

    def copy_into(self, episode: IntArray, ts: IntArray, out: Frame) -> None:
        """Read the images of some samples into `out` (B, C, H, W, 3) uint8 RGB, contiguous.

        episode, ts: (B,), which episode of the set, and which time step of it
        Raises DatasetError when they cannot be read, or not as before.
        """

    def stored(self, episode: IntArray, ts: IntArray) -> list[Frame]:
        """The images of some samples as their files have them: B * C rows, JPEG or pixels.

        Raises DatasetError as `copy_into`.
        """

    def close(self) -> None:
        """Let go of files; nothing is read afterwards."""


def open_frames(episodes: Episodes, cache: FrameCache | None = None) -> FrameSource:
    """The frames of the episodes, from where they are; cache: of those decoded from videos."""
    return FrameStore(episodes, cache) if episodes.camera_names else NoFrames()


class NoFrames:
    """The frames of no camera: samples have none."""

    shape = (0, 0, 0, 3)

    def copy_into(self, episode: IntArray, ts: IntArray, out: Frame) -> None:
        """There is nothing to read."""

    def stored(self, episode: IntArray, ts: IntArray) -> list[Frame]:
        """There is nothing to read."""
        return []

    def close(self) -> None:
        """Nothing is open."""


class FrameStore:
    """Frames by episode, camera and time step, read straight from where they lie.

    Raw frames are (T, H, W, 3), or (T, H, W) of one channel; compressed ones JPEG rows (T, L),
    decoded here. Reading into memory that is there already is as fast as copying from a map of the
    file, and faster the first time; a file that was cut off meanwhile is an error, where a map
    would end the process. Frames of another size than the episodes' are reduced to it.
    """

    def __init__(self, episodes: Episodes, cache: FrameCache | None = None) -> None:
        """cache: of the frames of `filmed_of`; it is closed with this"""
        self._episodes = episodes
        self._filmed = filmed_of(episodes)
        self._videos = VideoFrames(self._filmed, cache)
        self._rows = [
            [
                None if (number, place) in self._filmed else find_rows(info.path, camera)
                for place, camera in enumerate(episodes.camera_names)
            ]
            for number, info in enumerate(episodes.infos)
        ]
        self._files = _open_all([info.path for info in episodes.infos])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, H, W, 3), what one sample has."""
        return len(self._episodes.camera_names), *self._episodes.image_size, 3

    def copy_into(self, episode: IntArray, ts: IntArray, out: Frame) -> None:
        """As `FrameSource` has it; raises DatasetError when a file has changed since."""
        pairs = zip(episode.tolist(), ts.tolist(), strict=True)
        for sample, (one, at) in zip(out, pairs, strict=True):
            for camera, image in enumerate(sample):
                self._read_frame(one, camera, at, image)

    def stored(self, episode: IntArray, ts: IntArray) -> list[Frame]:
        """As `FrameSource` has it; of frames in episode files, not in videos."""
        return [
            self._stored_row(one, camera, at, None)
            for one, at in zip(episode.tolist(), ts.tolist(), strict=True)
            for camera in range(len(self._episodes.camera_names))
        ]

    def _read_frame(self, episode: int, camera: int, ts: int, out: Frame) -> None:
        if (episode, camera) in self._filmed:
            self._videos.read(episode, camera, ts, out)
            return
        row = self._stored_row(episode, camera, ts, out)
        if row is out:
            return
        info, name = self._episodes.infos[episode], self._episodes.camera_names[camera]
        frame = _frame_of(row, f"{info.path}: frame {ts} of {name}")
        size = (*info.image_sizes[name], 3)
        if frame.shape != size or frame.dtype != out.dtype:
            raise DatasetError(
                f"{info.path}: frame {ts} of {name} is {frame.dtype} {frame.shape}, expected "
                f"{out.dtype} {size} as the first one; convert the dataset again",
                code="episode-content",
            )
        np.copyto(out, resize_area(frame, out.shape[0], out.shape[1]))

    def _stored_row(self, episode: int, camera: int, ts: int, out: Frame | None) -> Frame:
        """What the file has for a frame; it is in `out` where that has its shape."""
        rows = self._rows[episode][camera]
        if rows is None:
            path = self._episodes.infos[episode].path
            return read_row(path, self._episodes.camera_names[camera], ts)
        fits = out is not None and rows.shape == out.shape
        row = out if out is not None and fits else np.empty(rows.shape, np.uint8)
        self._read_row(episode, rows, ts, row)
        return row

    def _read_row(self, episode: int, rows: Rows, ts: int, out: Frame) -> None:
        path, descriptor = self._episodes.infos[episode].path, self._files[episode]
        place = int(rows.offsets[ts])
        try:
            if descriptor is None:
                with path.open("rb") as file:
                    count = os.preadv(file.fileno(), [out.data], place)
            else:
                count = os.preadv(descriptor, [out.data], place)  # without Python's lock
        except OSError as error:
            raise DatasetError(
                f"{path}: cannot be read any more ({error.strerror}), expected frame {ts} as "
                f"before; is its disk still there? run it again",
                code="episode-unreadable",
            ) from error
        if count != rows.size_bytes:
            raise DatasetError(
                f"{path}: ends within frame {ts} ({count} of {rows.size_bytes} bytes), expected "
                f"the file as it was when training began; convert the dataset again",
                code="episode-unreadable",
            )

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._files:
            if descriptor is not None:
                os.close(descriptor)
        self._files = [None] * len(self._files)
        self._videos.close()


def filmed_of(episodes: Episodes) -> dict[tuple[int, int], Filmed]:
    """The frames that are in videos, by episode and camera."""
    return {
        (number, place): info.filmed[camera]
        for number, info in enumerate(episodes.infos)
        for place, camera in enumerate(episodes.camera_names)
        if camera in info.filmed
    }


def _frame_of(row: Frame, where: str) -> Frame:
    """A frame (H, W, 3) of what is stored for it: itself, a JPEG (L,), or grey (H, W) or (H, W, 1).

    where: what to call it in an error
    """
    if row.ndim == 1:
        return decode_jpeg(row, where)
    grey = row if row.ndim == 2 else row[..., 0] if row.shape[-1] == 1 else None
    return row if grey is None else np.repeat(grey[..., None], 3, axis=2)


def _open_all(paths: list[Path]) -> list[int | None]:
    """A descriptor for each file; None beyond what may be open: those are opened for each frame."""
    kept = max(0, _allow_open_files(len(paths) + _OTHER_FILES) - _OTHER_FILES)
    try:
        return [os.open(path, os.O_RDONLY) if n < kept else None for n, path in enumerate(paths)]
    except OSError as error:
        raise DatasetError(
            f"{error.filename}: cannot be read ({error.strerror}), expected an episode file that "
            f"can; make it readable",
            code="episode-unreadable",
        ) from error


def _allow_open_files(wanted: int) -> int:
    """Raise the limit if need be and possible; returns how many files may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
