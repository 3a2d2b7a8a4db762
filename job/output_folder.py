"""What an output folder can do, tried on small files before the job begins.

Shares, buckets and encrypted folders lack some of what a local disk has. What the job can do in
another way it does, with one warning of what is weaker there; where it cannot work it is refused
at once, rather than found out after hours of conversion.
"""

import contextlib
import errno
import uuid
from collections.abc import Iterator
from pathlib import Path

from job import file_system
from job.errors import OutputError
from job.lock import can_be_locked
from job.warning import warn
from job.whole_files import append, output_errors

_NO_REPLACING = file_system.MISSING | {
    *(errno.EACCES, errno.EBUSY, errno.EEXIST, errno.EPERM, errno.EXDEV)
}


def try_folder(folder: Path) -> None:
    """Do once what a job does there; warns of what is weaker than on a local disk.

    Raises OutputError where files cannot be written, renamed over others, read back or removed.
    """
    name = f".try_{uuid.uuid4().hex}"  # another job may try the same folder
    first, second = folder / name, folder / f"{name}.partial"
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)  # only the process that locks it has made it
        try:
            lacks = list(_try_files(first, second))
        except BaseException:
            with contextlib.suppress(OSError):  # the first error counts
                for path in (first, second):
                    path.unlink(missing_ok=True)
            raise
    if lacks:
        kind = file_system.kind(folder)
        warn("output-weak", f"{folder} ({kind}) can do less than a local disk: {'; '.join(lacks)}")


def _try_files(first: Path, second: Path) -> Iterator[str]:
    """What the file system of two new files lacks, and what follows from that."""
    first.write_bytes(b"a")
    with second.open("wb") as file:
        file.write(b"b")
        file.flush()
        synced = file_system.sync(file.fileno())
    try:
        second.replace(first)
    except OSError as error:
        if error.errno not in _NO_REPLACING:
            raise
        what = f"no file can take the place of another ({error.strerror})"
        raise _unfit(first.parent, what) from error
    if not synced:
        yield "files cannot be synced, so a power cut may damage the last ones"
    elif not file_system.sync_folder(first.parent):
        yield "folders cannot be synced, so a power cut may undo the last files"
    if not can_be_locked(first.parent):
        yield "nothing can be locked, so see to it that no second job writes there"
    if not append(first, b"c"):
        yield "files cannot be appended to, so the logs of a run are written anew for each change"
    found = first.read_bytes()
    if found != b"bc":
        raise _unfit(first.parent, f"a file is read back as {found!r} where b'bc' was written")
    first.unlink()


def _unfit(folder: Path, what: str) -> OutputError:
    return OutputError(
        f"{folder}: {what} on its file system ({file_system.kind(folder)}), expected one on which "
        f"files appear whole or not at all; write to a local disk and copy the results",
        code="output-unfit",
    )
