"""What the operating system says of writing to the output, in one line that helps."""

import contextlib
import errno
import os
from pathlib import Path

from job.file_system import kind

_AWAY = frozenset(
    {
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EIO,
        errno.ENOTCONN,
        errno.EREMOTEIO,
        errno.ESHUTDOWN,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)


def explain(path: Path, error: OSError) -> str:
    """Where, what was found, what was expected, what to do."""
    code, what = error.errno, error.strerror or str(error)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: the disk is full ({what}); free some space and run it again"
    if code in (errno.EACCES, errno.EPERM):
        squashed = ", as servers may take root for nobody (root_squash)" if os.getuid() == 0 else ""
        return (
            f"{path}: user {os.getuid()}:{os.getgid()} may not write here ({what}); give that "
            f"user the folder, or run as {_owner(path)} (docker run --user UID:GID){squashed}"
        )
    if code == errno.EROFS:
        return f"{path}: the file system is read-only; mount the output folder writable"
    if code in _AWAY:
        return (
            f"{path}: its file system ({kind(path)}) does not answer ({what}), expected one that "
            f"stays; mount it again, and run the same command again"
        )
    return (
        f"{path}: cannot be written or read back on {kind(path)}: {what}; expected a writable "
        f"folder, and no link or pipe in it"
    )


def _owner(path: Path) -> str:
    """Whose the nearest folder is, where that can be seen."""
    with contextlib.suppress(OSError):
        there = next(place for place in (path, *path.absolute().parents) if place.exists()).stat()
        return f"its owner, {there.st_uid}:{there.st_gid}"
    return "its owner"
