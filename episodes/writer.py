"""Writing `episode_<i>.hdf5` (episodes/reader.py has the layout), one frame in memory at a time.

T time steps, H and W the image's height and width, C cameras, L bytes of the longest JPEG.
"""

import contextlib
import errno
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from episodes.jpeg import encode_jpeg
from episodes.reader import FloatArray, Frame

# Frames start on a page, as writing past the page cache (O_DIRECT) needs.
_PAGE_BYTES = 4096
_BUFFERS = 4

Shapes = dict[str, tuple[int, int, int]]  # camera: (T, H, W)


class FrameWriter(Protocol):
    """Takes the frames of an episode, camera by camera, each camera in order."""

    def write_frame(self, camera: str, ts: int, frame: Frame) -> None:
        """Write frame `ts` (H, W, 3) uint8 RGB of a camera."""


@contextlib.contextmanager
def write_episode(
    path: Path,
    vectors: dict[str, FloatArray],
    images: Shapes,
    attributes: dict[str, Any],
    jpeg_quality: int | None = None,
) -> Iterator[FrameWriter]:
    """Lay out an episode file and take its frames; the file is whole when the context ends.

    vectors: `action`, and the observations `qpos`, `qvel` and, where there is one, `effort` and
        `env_state`
    images: cameras of one size, unless the frames are JPEG; {} = no camera, and no frame to take
    attributes: of the file, `sim` among them; jpeg_quality: None = raw frames

    Raises OSError when the disk refuses.
    """
    if not images:
        _lay_out(path, vectors, {}, attributes)
        yield _NoFrames()
    elif jpeg_quality is None:
        offsets = _lay_out(
            path, vectors, {c: (*shape, 3) for c, shape in images.items()}, attributes
        )
        (frame_bytes,) = {height * width * 3 for _, height, width in images.values()}
        raw = _RawWriter(path, offsets, frame_bytes)
        try:
            yield raw
            raw.finish()
        finally:
            raw.close()
    else:
        with tempfile.TemporaryFile(dir=path.parent) as spool:
            writer = _JpegWriter(spool, jpeg_quality)
            yield writer
            lengths = writer.lengths(list(images))
            rows = {camera: (len(lengths[0]), int(lengths.max())) for camera in images}
            compressed = attributes | {"compress": True}
            offsets = _lay_out(path, vectors, rows, compressed, {"compress_len": lengths})
            writer.finish(path, offsets, lengths)


def _lay_out(
    path: Path,
    vectors: dict[str, FloatArray],
    images: Mapping[str, tuple[int, ...]],
    attributes: dict[str, Any],
    others: Mapping[str, NDArray[np.int32]] = MappingProxyType({}),
) -> dict[str, int]:
    """Write everything but the images; returns where each camera's begin in the file.

    HDF5 lays out a file in memory, with holes for the images, and its bytes are written from here:
    on a disk that fills it ends the process, or fails when it closes, without saying why.
    """
    with os.fdopen(os.memfd_create("episode"), "w+b", buffering=0) as memory:
        with h5py.File(
            memory,
            "w",
            alignment_threshold=_PAGE_BYTES,
            alignment_interval=_PAGE_BYTES,
        ) as file:
            for name, value in attributes.items():
                file.attrs[name] = value
            for name, values in vectors.items():
                group = file if name == "action" else file.require_group("observations")
                group.create_dataset(name, data=values, dtype=np.float32)
            for name, numbers in others.items():
                file[name] = numbers
            file.require_group("observations/images")  # readers of upstream's list it
            offsets = {camera: _allocate(file, camera, shape) for camera, shape in images.items()}
        _copy_sparse(memory.fileno(), path)
    return offsets


def _copy_sparse(source: int, path: Path) -> None:
    """Write what a file with holes holds to `path`, holes included."""
    size = os.fstat(source).st_size
    with path.open("wb") as file:
        place = 0
        while (place := _next_data(source, place)) < size:
            end = os.lseek(source, place, os.SEEK_HOLE)
            write_all(file.fileno(), os.pread(source, end - place, place), place)
            place = end
        file.truncate(size)


def _next_data(descriptor: int, place: int) -> int:
    try:
        return os.lseek(descriptor, place, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:  # nothing but a hole follows
            raise
        return os.fstat(descriptor).st_size


def _allocate(file: h5py.File, camera: str, shape: tuple[int, ...]) -> int:
    """Make a contiguous uint8 dataset that is not written yet; returns its offset in the file."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # every frame is written, or the file is not
    plist.set_obj_track_times(False)  # the same episode gives the same bytes
    group = file.require_group("observations/images")
    space = h5py.h5s.create_simple(shape)
    made = h5py.h5d.create(group.id, camera.encode(), h5py.h5t.STD_U8LE, space, plist)
    offset: int = made.get_offset()
    return offset


class _NoFrames:
    """Of an episode without cameras."""

    def write_frame(self, camera: str, ts: int, frame: Frame) -> None:
        raise ValueError(f"a frame of {camera!r} for an episode without cameras")


class _RawWriter:
    """HDF5 laid the file out; frames go past it, straight to where it put their dataset.

    That saves a copy, and a full disk is an ordinary error instead of one while HDF5 closes. Where
    frames are whole pages they also go past the page cache, written by a thread while the next one
    is decoded: copying them into the cache costs as much processor time as decoding them.
    """

    def __init__(self, path: Path, offsets: dict[str, int], frame_bytes: int) -> None:
        self._offsets = offsets
        self._frame_bytes = frame_bytes
        self._descriptor = open_past_cache(path, frame_bytes)
        self._buffers = [mmap.mmap(-1, frame_bytes) for _ in range(_BUFFERS)]  # page-aligned
        self._writing: list[Future[None] | None] = [None] * _BUFFERS
        self._thread = ThreadPoolExecutor(1, "write")
        self._turn = 0

    def write_frame(self, camera: str, ts: int, frame: Frame) -> None:
        turn, self._turn = self._turn, (self._turn + 1) % _BUFFERS
        self._wait(turn)
        buffer = self._buffers[turn]
        np.frombuffer(buffer, np.uint8).reshape(frame.shape)[:] = frame
        place = self._offsets[camera] + ts * self._frame_bytes
        self._writing[turn] = self._thread.submit(write_all, self._descriptor, buffer, place)

    def _wait(self, turn: int) -> None:
        writing, self._writing[turn] = self._writing[turn], None
        if writing is not None:
            writing.result()

    def finish(self) -> None:
        """Wait for what is being written; raises what went wrong with it."""
        for turn in range(_BUFFERS):
            self._wait(turn)

    def close(self) -> None:
        """End the thread and close the file."""
        self._thread.shutdown()
        os.close(self._descriptor)


def open_past_cache(path: Path, frame_bytes: int) -> int:
    """Open for writing without the page cache where the size of a frame and the disk allow it."""
    if frame_bytes % _PAGE_BYTES == 0:
        with contextlib.suppress(OSError):  # tmpfs and some network disks cannot
            return os.open(path, os.O_RDWR | os.O_DIRECT)
    return os.open(path, os.O_RDWR)


def write_all(descriptor: int, buffer: mmap.mmap | bytes, place: int) -> None:
    """Write a whole buffer at a place in a file."""
    done = 0
    while done < len(buffer):  # a disk that is nearly full takes a part
        done += os.pwrite(descriptor, memoryview(buffer)[done:], place + done)


class _JpegWriter:
    """Rows are as long as the longest JPEG, which is known at the end: they wait on disk."""

    def __init__(self, spool: Any, quality: int) -> None:
        self._spool = spool
        self._quality = quality
        self._lengths: dict[str, list[int]] = {}

    def write_frame(self, camera: str, ts: int, frame: Frame) -> None:
        content = encode_jpeg(frame, self._quality)
        self._spool.write(content)
        self._lengths.setdefault(camera, []).append(len(content))

    def lengths(self, cameras: list[str]) -> NDArray[np.int32]:
        """The bytes of each JPEG (C, T)."""
        return np.array([self._lengths[camera] for camera in cameras], np.int32)

    def finish(self, path: Path, offsets: dict[str, int], lengths: NDArray[np.int32]) -> None:
        """Move the rows from the spool to where the file has them."""
        longest = int(lengths.max())
        self._spool.seek(0)
        with path.open("r+b") as file:
            for place, row_lengths in zip(offsets.values(), lengths.tolist(), strict=True):
                file.seek(place)
                for length in row_lengths:
                    file.write(self._spool.read(length).ljust(longest, b"\0"))
