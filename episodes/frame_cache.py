"""Decoded frames on the disk of a run, each of which is decoded once.

Two hidden files: the frames by number, and the CRC-32 of each that is there (0: it is not). The
system keeps in memory what it has room for, and writes the rest when it likes; so what an earlier
process wrote is compared with its CRC when it is first read: a machine that went down may have lost
it. Several processes share the files, as the same frame has the same bytes.
"""

import logging
import os
import threading
import zlib
from pathlib import Path

import numpy as np

from episodes.arrays import Frame
from job.file_system import write_at
from job.whole_files import output_errors

logger = logging.getLogger("act")

_PREFIX = ".frames_"
_CRC_BYTES = 4


class FrameCache:
    """Frames by number, as many of the first ones as there is room for; any thread may use it."""

    def __init__(self, folder: Path, identity: str, shape: tuple[int, int, int], most: int) -> None:
        """Raises OutputError.

        folder: of the run, which has the cache of one identity only
        shape: (H, W, 3), of each frame
        most: frames that are kept, those of the lowest numbers
        """
        self._frame_bytes = int(np.prod(shape))
        self._most = most
        self._whole = np.zeros(most, bool)  # those that this process has written or compared
        self._ended = threading.Event()
        self._lock = threading.Lock()
        frames, crcs = (folder / f"{_PREFIX}{identity}.{kind}" for kind in ("raw", "crc"))
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for path in set(folder.glob(f"{_PREFIX}*")) - {frames, crcs}:
                path.unlink(missing_ok=True)  # of other episodes or cameras
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._frames, self._crcs = (os.open(path, flags, 0o666) for path in (frames, crcs))

    def read(self, number: int, out: Frame) -> bool:
        """Read a frame into `out`, (H, W, 3), contiguous; False where it is not there."""
        if number >= self._most or self._ended.is_set():
            return False
        try:
            if self._whole[number]:
                return self._read(number, out)
            crc = self._crc(number)
            if not crc or not self._read(number, out) or _crc_of(out) != crc:
                return False
        except OSError as error:
            self._end(error)
            return False
        self._whole[number] = True
        return True

    def wants(self, number: int) -> bool:
        """Whether there is room for a frame that is not there."""
        if number >= self._most or self._ended.is_set():
            return False
        try:
            return not self._crc(number)
        except OSError as error:
            self._end(error)
            return False

    def write(self, number: int, frame: Frame) -> None:
        """Keep a frame, if there is room: where the disk refuses, no more are kept."""
        if number >= self._most or self._ended.is_set() or self._whole[number]:
            return
        whole = np.ascontiguousarray(frame)
        try:
            write_at(self._frames, whole.data.cast("B"), number * self._frame_bytes)
            crc = _crc_of(whole).to_bytes(_CRC_BYTES, "little")
            write_at(self._crcs, memoryview(crc), number * _CRC_BYTES)
        except OSError as error:
            self._end(error)
            return
        self._whole[number] = True

    def _end(self, error: OSError) -> None:
        """The disk refuses: what is needed is decoded from now on."""
        with self._lock:
            is_first = not self._ended.is_set()
            self._ended.set()
        if is_first:
            logger.warning("decoded frames are no longer kept on disk (%s)", error.strerror)

    def _read(self, number: int, out: Frame) -> bool:
        place = number * self._frame_bytes
        return os.preadv(self._frames, [out.data], place) == self._frame_bytes

    def _crc(self, number: int) -> int:
        return int.from_bytes(os.pread(self._crcs, _CRC_BYTES, number * _CRC_BYTES), "little")

    def close(self) -> None:
        """Close the files, which stay for the next process."""
        for descriptor in (self._frames, self._crcs):
            os.close(descriptor)


def kept_bytes(folder: Path) -> int:
    """What a run's cache takes on disk."""
    return sum(512 * path.stat().st_blocks for path in folder.glob(f"{_PREFIX}*"))


def remove_cache(folder: Path) -> None:
    """Remove a run's cache, if there is one; raises OutputError."""
    with output_errors(folder):
        for path in folder.glob(f"{_PREFIX}*"):
            path.unlink(missing_ok=True)


def _crc_of(frame: Frame) -> int:
    return zlib.crc32(frame.data) or 1
