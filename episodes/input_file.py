"""A file of the input, before it is opened: refused when it cannot be whole.

A crash inside a native decoder leaves no trace but which file was opened last, so those who open
files take a function that is called with each of them (`OnRead`).
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from job.errors import DatasetError

_LFS_POINTER = b"version https://git-lfs"
_KINDS = {".parquet": "table", ".mp4": "video"}
_MOST_HOPS = 40  # of links, as in the kernel
_PARQUET = b"PAR1"  # at both ends; the one at the end is written last
_MATROSKA = b"\x1a\x45\xdf\xa3"  # also under an .mp4 name, as some tools write it
_MP4_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide"}

# Called with each file before it is opened, and again while a long one is read; by any thread.
OnRead = Callable[[Path], None]


def ignore(path: Path) -> None:
    """The `OnRead` of a process whose crash or silence nobody has to explain."""


def data_files(folder: Path, pattern: str) -> list[Path]:
    """The files below a folder by name, without hidden ones: a Mac leaves `._name` beside each."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def check_file(path: Path) -> None:
    """Refuse a file that cannot be whole: absent, empty, a dead link, an LFS pointer, no end.

    What is not a regular file is not opened: reading a pipe would wait for ever.
    """
    kind = _KINDS.get(path.suffix, "file")
    try:
        status = path.stat()
    except (OSError, ValueError) as problem:
        raise _absent(path, kind, problem) from problem
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise _refusal(path, "file-kind", f"{what}, expected a regular file; copy it again")
    if not os.access(path, os.R_OK):
        raise _refusal(
            path,
            "file-permission",
            f"not readable by user {os.getuid()}:{os.getgid()}; chmod -R a+rX the dataset",
        )
    head, tail = _ends(path, status.st_size)
    if head.startswith(_LFS_POINTER):
        raise _refusal(path, "lfs-pointer", "a Git LFS pointer, not the file; run git lfs pull")
    if not head:
        raise _refusal(path, "file-empty", "empty, expected a whole file; copy it again")
    _check_format(path, kind, head, tail)


def _check_format(path: Path, kind: str, head: bytes, tail: bytes) -> None:
    if kind == "table" and not head.startswith(_PARQUET):
        raise _refusal(
            path,
            "table-unreadable",
            f"not a parquet file (magic bytes not found): it begins with {head[:8]!r}, expected "
            f"{_PARQUET!r}; copy it again",
        )
    if kind == "table" and not tail.endswith(_PARQUET):
        raise _refusal(
            path,
            "table-truncated",
            f"a parquet file without its end: found {tail[-4:]!r}, expected {_PARQUET!r}; the "
            f"recording was not finished or the copy is cut off; copy it again, or use only the "
            f"episodes that are whole",
        )
    if kind == "video" and head[4:8] not in _MP4_BOXES and not head.startswith(_MATROSKA):
        raise _refusal(
            path,
            "video-unreadable",
            f"cannot be decoded: it begins with {head[:12]!r}, expected an MP4 header (ftyp) or "
            f"Matroska's; copy it again",
        )


def _ends(path: Path, size: int) -> tuple[bytes, bytes]:
    try:
        with path.open("rb") as file:
            head = file.read(len(_LFS_POINTER))
            file.seek(max(0, size - 4))
            return head, file.read(4)
    except OSError as problem:
        raise _refusal(path, "file-permission", f"not readable ({problem.strerror})") from problem


def _absent(path: Path, kind: str, problem: Exception) -> DatasetError:
    if isinstance(problem, PermissionError):
        return _refusal(
            path,
            "file-permission",
            f"its folder is not readable by user {os.getuid()}:{os.getgid()}; chmod -R a+rX the "
            f"dataset",
        )
    link = next((place for place in (path, *path.parents) if _is_dead_link(place)), None)
    if link is None:
        return _refusal(
            path,
            f"{kind}-missing",
            "no such file, expected it as the metadata says; copy or download it, or choose the "
            "episodes whose files are there with --episodes",
        )
    hop, target = _dead_hop(link)
    through = "" if hop == path else f" (through {hop})"
    return _refusal(
        path,
        "link-dangling",
        f"a link{through} to {str(hop.readlink())!r}, which is not there, expected its file; "
        f"{_folder_to_mount(hop, target)}, or copy the dataset with its links resolved where they "
        f"lead somewhere (cp -rL)",
    )


def _folder_to_mount(hop: Path, target: Path) -> str:
    """What to do about a link that leads out of what is mounted."""
    link = hop.readlink()
    if link.is_absolute():  # as it is, wherever the dataset is mounted
        return f"mount {target.parent} too, at that very path, as the link is absolute"
    ups = link.parts.count("..")
    if hop.parent.name == "blobs" and 2 <= ups < len(hop.parents):
        whole, of_dataset = hop.parents[ups], hop.parents[1]
        return (
            f"the blobs of this Hugging Face cache are links into a store of several datasets: "
            f"mount the folder that holds it and the dataset's own (here {whole}), and give "
            f"--input the dataset's in it ({of_dataset.relative_to(whole)})"
        )
    if target.parent.name == "blobs":
        return (
            "this is a snapshot of the Hugging Face cache: mount the dataset's folder in the cache "
            "(datasets--…, which holds blobs/ and snapshots/), whose snapshot is found by itself"
        )
    return f"mount the folder that holds {target} too, at the same place"


def _dead_hop(link: Path) -> tuple[Path, Path]:
    """The last link of a chain that leads nowhere, and where it leads."""
    for _ in range(_MOST_HOPS):
        target = Path(os.path.normpath(link.parent.resolve() / link.readlink()))
        if not target.is_symlink():
            break
        link = target
    return link, target


def _is_dead_link(path: Path) -> bool:
    try:
        return path.is_symlink() and not path.exists()
    except (OSError, ValueError):
        return False


def _refusal(path: Path, code: str, what: str) -> DatasetError:
    return DatasetError(f"{path}: {what}", code=code, where=path)
