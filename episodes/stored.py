"""Whether an episode file really holds its data: its own, all of them, not beyond the memory."""

import math
from pathlib import Path

import h5py

from job.errors import DatasetError
from job.machine import memory_bytes

_LARGEST_SHARE = 8  # of the memory, for what is read at once


def check_own(path: Path, file: h5py.File, dataset: h5py.Dataset, at_once: tuple[int, ...]) -> None:
    """Refuse data that lie in other files, and a part read at once that would fill the memory."""
    if dataset.file.filename != file.filename or dataset.is_virtual or dataset.external:
        raise DatasetError(
            f"{path}: {dataset.name} lies in another file, expected all of an episode in its own; "
            f"write it again",
            code="episode-content",
        )
    row_bytes = max(4, dataset.dtype.itemsize) * math.prod(at_once)  # vectors become float32
    if row_bytes > memory_bytes() // _LARGEST_SHARE:
        raise DatasetError(
            f"{path}: {dataset.name} is {dataset.dtype} {dataset.shape}, which takes "
            f"{row_bytes / 1e9:.0f} GB at once, expected less than the memory; write it again",
            code="episode-content",
        )
    _check_stored(path, dataset)


def _check_stored(path: Path, dataset: h5py.Dataset) -> None:
    """Refuse what the file cannot hold, before anything is made for each of its time steps.

    HDF5 reads rows that were never written as zeros: a file of 200 kB can claim millions.
    """
    stored, place = dataset.id.get_storage_size(), dataset.id.get_offset() or 0
    if dataset.chunks:
        sides = zip(dataset.shape, dataset.chunks, strict=True)
        what, claimed = "chunks", math.prod(-(-side // chunk) for side, chunk in sides)
        there = dataset.id.get_num_chunks()
    else:
        what, claimed, there = "bytes", dataset.size * dataset.dtype.itemsize, stored
    if there < claimed or 0 in dataset.shape[1:] or place + stored > path.stat().st_size:
        raise DatasetError(
            f"{path}: {dataset.name} is {dataset.dtype} {dataset.shape}, of which {there} of "
            f"{claimed} {what} were written in a file of {path.stat().st_size} bytes, expected all "
            f"of it; the recording was not finished; leave the episode out or record it again",
            code="episode-content",
        )
