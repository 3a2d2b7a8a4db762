"""Calls that some file systems lack, each in a function that returns whether it was possible.

Network shares, mounted buckets and encrypted folders refuse some calls for good. That is no
failure: the function returns False, and the job works without the call, with a warning of what is
weaker then (job/output_folder.py). Other errors, such as that of a full disk, are raised.
"""

import errno
import fcntl
import math
import os
import re
import shutil
from pathlib import Path

# By these a file system says that it lacks a call; by others, as ENOSPC and EIO, that it failed.
MISSING = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
NO_LOCKS = MISSING | {errno.ENOLCK}
# NFS locks only what is open for writing, which a folder cannot be: it answers EBADF
_NO_LOCKS = NO_LOCKS | {errno.EBADF}
_NO_FOLDER = MISSING | {errno.EACCES, errno.EBADF, errno.EISDIR, errno.EPERM}
_MOUNTS, _ESCAPED = Path("/proc/self/mountinfo"), re.compile(r"\\([0-7]{3})")


def sync(descriptor: int) -> bool:
    """Write an open file through to the disk; False where that is not possible. Raises OSError."""
    return _sync(descriptor, MISSING)


def sync_path(path: Path) -> bool:
    """The same for a file by its name. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return sync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> bool:
    """Write a folder's names through to the disk; False where that is not possible.

    Raises OSError.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # this user may write to it, but not list it
        return False
    try:
        return _sync(descriptor, _NO_FOLDER)
    finally:
        os.close(descriptor)


def _sync(descriptor: int, missing: frozenset[int]) -> bool:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in missing:
            raise
        return False
    return True


def lock(descriptor: int, shared: bool = False) -> bool:
    """Lock an open file or folder; False where nothing can be locked.

    Raises BlockingIOError while another process holds it, OSError where locking failed.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def write_at(descriptor: int, buffer: bytes | memoryview, place: int) -> None:
    """Write a whole buffer at a place in a file; raises OSError.

    Where it was opened to bypass the page cache and that is refused, the cache is used after all.
    """
    done = 0
    while done < len(buffer):  # a disk that is nearly full takes a part
        try:
            done += os.pwrite(descriptor, memoryview(buffer)[done:], place + done)
        except OSError as error:
            if error.errno != errno.EINVAL or not use_page_cache(descriptor):
                raise


def use_page_cache(descriptor: int) -> bool:
    """Let an open file use the page cache; False if it did already."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if not flags & os.O_DIRECT:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    return True


def kind(folder: Path) -> str:
    """The type of the file system that a folder is on, as mount(8) has it: nfs4, fuse.rclone."""
    found, length = "unknown", -1
    place = f"{folder.resolve()}/"
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:  # not Linux
        return found
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _ESCAPED.sub(_unescaped, before.split(" ")[4]).rstrip("/") + "/"
        if (
            place.startswith(point) and len(point) >= length
        ):  # of two on one folder the later one is seen
            found, length = after.split(" ")[0], len(point)
    return found


def _unescaped(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))


def free_bytes(folder: Path) -> float:
    """What is free on the disk where `folder` is or would be made; inf where it does not say."""
    places = (folder, *folder.absolute().parents)
    found = shutil.disk_usage(next(place for place in places if place.exists()))
    return found.free if found.total else math.inf
