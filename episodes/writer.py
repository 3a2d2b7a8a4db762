"""Writing `episode_<i>.hdf5` (episodes/reader.py has the layout), one frame in memory at a time.

T time steps, H and W the image's height and width, C cameras, L bytes of the longest JPEG.
"""

import contextlib
import mmap
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from episodes.arrays import FloatArray, Frame
from episodes.filmed import FILMED, Filmed
from episodes.jpeg import encode_jpeg
from job.file_system import use_page_cache, write_at

# Frames start on a page, as writing past the page cache (O_DIRECT) needs.
_PAGE_BYTES = 4096
_BUFFERS = 4

Shapes = dict[str, tuple[int, int, int]]  # camera: (T, H, W)


class FrameWriter(Protocol):
    """Takes the frames of an episode, camera by camera, each camera in order."""

    def write_frame(self, camera: str, ts: int, frame: Frame) -> None:
        """Write frame `ts` (H, W, 3) uint8 RGB of a camera.

        The cameras come one after the other, each from its first frame on: a file is written from
        start to end.
        """


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
        with _laid_out(vectors, {}, attributes) as layout:
            path.write_bytes(layout.read(0, layout.size_bytes))
        yield _NoFrames()
    elif jpeg_quality is None:
        shapes = {camera: (*shape, 3) for camera, shape in images.items()}
        with _laid_out(vectors, shapes, attributes) as layout:
            (frame_bytes,) = {height * width * 3 for _, height, width in images.values()}
            raw = _RawWriter(path, layout, frame_bytes)
            try:
                yield raw
                raw.finish()
            finally:
                raw.close()
    else:
        with _JpegWriter(path, jpeg_quality) as writer:
            yield writer
            lengths = writer.lengths(list(images))
            rows = {camera: (len(lengths[0]), int(lengths.max())) for camera in images}
            compressed = attributes | {"compress": True}
            with _laid_out(vectors, rows, compressed, {"compress_len": lengths}) as layout:
                writer.finish(layout, lengths)


def write_filmed_episode(
    path: Path,
    vectors: dict[str, FloatArray],
    filmed: Mapping[str, Filmed],
    attributes: dict[str, Any],
) -> None:
    """Write an episode file whose frames stay in the videos of the dataset, by camera.

    vectors, attributes: as of `write_episode`; raises OSError when the disk refuses
    """
    others = {f"observations/{FILMED}/{name}": one.ordinals for name, one in filmed.items()}
    details = {f"observations/{FILMED}/{name}": one.attributes for name, one in filmed.items()}
    with _laid_out(vectors, {}, attributes, others, details) as layout:
        path.write_bytes(layout.read(0, layout.size_bytes))


@dataclass(frozen=True)
class _Layout:
    """An episode file in memory, with holes where the images go."""

    descriptor: int
    offsets: dict[str, int]  # camera: where its images begin, rising in the order of the cameras

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return os.fstat(self.descriptor).st_size

    def read(self, start: int, end: int) -> bytes:
        """What HDF5 wrote from one place to another."""
        return os.pread(self.descriptor, end - start, start)


@contextlib.contextmanager
def _laid_out(
    vectors: dict[str, FloatArray],
    images: Mapping[str, tuple[int, ...]],
    attributes: dict[str, Any],
    others: Mapping[str, NDArray[np.int32 | np.int64]] = MappingProxyType({}),
    details: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> Iterator[_Layout]:
    """Everything of an episode file but the images, in memory as long as the context lasts.

    HDF5 lays out a file in memory, and its bytes are written from here: on a disk that fills it
    ends the process, or fails when it closes, without saying why.
    others: datasets by path; details: attributes of those
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
                file[name].attrs.update(details.get(name, {}))
            file.require_group("observations/images")  # readers of upstream's list it
            offsets = {camera: _allocate(file, camera, shape) for camera, shape in images.items()}
        places = list(offsets.values())
        assert places == sorted(places), "HDF5 puts each dataset behind the one before"
        yield _Layout(memory.fileno(), offsets)


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

    The file is written once from start to end, as mounts of buckets need it.
    """

    def __init__(self, path: Path, layout: _Layout, frame_bytes: int) -> None:
        self._layout = layout
        self._frame_bytes = frame_bytes
        self._descriptor = open_past_cache(path, frame_bytes)
        self._buffers = [mmap.mmap(-1, frame_bytes) for _ in range(_BUFFERS)]  # page-aligned
        self._writing: list[Future[None] | None] = [None] * _BUFFERS
        self._thread = ThreadPoolExecutor(1, "write")
        self._turn = 0
        self._end = 0  # of what has been given to the thread

    def write_frame(self, camera: str, ts: int, frame: Frame) -> None:
        turn, self._turn = self._turn, (self._turn + 1) % _BUFFERS
        self._wait(turn)
        place = self._layout.offsets[camera] + ts * self._frame_bytes
        assert place >= self._end, f"frame {ts} of {camera} is before what has been written"
        self._write_layout(place)
        buffer = self._buffers[turn]
        np.frombuffer(buffer, np.uint8).reshape(frame.shape)[:] = frame
        self._writing[turn] = self._thread.submit(self._write, buffer, place)
        self._end = place + self._frame_bytes

    def _write_layout(self, end: int) -> None:
        """Write what HDF5 put between the images."""
        if end > self._end:
            content = mmap.mmap(-1, end - self._end)
            content[:] = self._layout.read(self._end, end)
            self._thread.submit(self._write, content, self._end).result()
            self._end = end

    def _write(self, buffer: mmap.mmap, place: int) -> None:
        write_at(self._descriptor, memoryview(buffer), place)

    def _wait(self, turn: int) -> None:
        writing, self._writing[turn] = self._writing[turn], None
        if writing is not None:
            writing.result()

    def finish(self) -> None:
        """Wait for what is being written, and write the rest; raises what went wrong with it."""
        for turn in range(_BUFFERS):
            self._wait(turn)
        use_page_cache(self._descriptor)  # it need not be whole pages
        self._write_layout(self._layout.size_bytes)

    def close(self) -> None:
        """End the thread and close the file."""
        self._thread.shutdown()
        os.close(self._descriptor)


def open_past_cache(path: Path, frame_bytes: int) -> int:
    """A new file that bypasses the page cache where the size of a frame and the disk allow it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    if frame_bytes % _PAGE_BYTES == 0:
        with contextlib.suppress(OSError):  # tmpfs and some network disks cannot
            return os.open(path, flags | os.O_DIRECT, 0o666)
    return os.open(path, flags, 0o666)


class _JpegWriter:
    """Rows are as long as the longest JPEG, which is known at the end: they wait on disk."""

    def __init__(self, path: Path, quality: int) -> None:
        self._path = path
        self._waiting = path.with_name(f"{path.name}.jpegs")
        self._quality = quality
        self._lengths: dict[str, list[int]] = {}

    def __enter__(self) -> Self:
        self._waiting.unlink(missing_ok=True)  # a link would be followed
        self._spool = self._waiting.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the error that ended it counts
            self._spool.close()
        self._waiting.unlink(missing_ok=True)

    def write_frame(self, camera: str, ts: int, frame: Frame) -> None:
        content = encode_jpeg(frame, self._quality)
        self._spool.write(content)
        self._lengths.setdefault(camera, []).append(len(content))

    def lengths(self, cameras: list[str]) -> NDArray[np.int32]:
        """The bytes of each JPEG (C, T)."""
        return np.array([self._lengths[camera] for camera in cameras], np.int32)

    def finish(self, layout: _Layout, lengths: NDArray[np.int32]) -> None:
        """Move the rows from where they wait into the file, written from start to end."""
        longest, end = int(lengths.max()), 0
        self._spool.close()
        with self._waiting.open("rb") as rows, self._path.open("wb") as file:
            for place, row_lengths in zip(layout.offsets.values(), lengths.tolist(), strict=True):
                file.write(layout.read(end, place))
                for length in row_lengths:
                    file.write(rows.read(length).ljust(longest, b"\0"))
                end = place + len(row_lengths) * longest
            file.write(layout.read(end, layout.size_bytes))
