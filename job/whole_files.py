"""Write-beside, fsync, rename: the only way this project puts a file under its final name."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from job import file_system
from job.errors import OutputError
from job.write_errors import explain

Note = Callable[[str, str], None]  # called with a file's name and SHA-256 before it gets the name

RECORD = "files.jsonl"  # of the files in a folder: their SHA-256, as they were written
_SHA256 = re.compile("[0-9a-f]{64}")
_MOST_JSON_BYTES = 1 << 30
_LINE_BYTES = 4096  # of the record; what is longer is not ours
_SAMPLE_BLOCKS, _SAMPLE_BYTES = 16, 1 << 16
_LEFT_OVER_S = 60.0
_SECOND_NS = 1_000_000_000
# What says that no file can be appended to, as on most mounts of buckets
_NO_APPENDING = file_system.MISSING | {errno.EPERM, errno.EBADF, errno.ESPIPE}
_appending = threading.Lock()  # a file that is written anew must not miss another thread's lines


@contextlib.contextmanager
def whole_path(path: Path, shared: bool = False) -> Iterator[Path]:
    """Give a name beside `path` to write to; on success it is synced and becomes `path`.

    For writers that want a name rather than a file object (HDF5). The file that was at `path`
    stays until the new one is whole. Raises OutputError when the disk or the folder refuses.
    shared: other jobs may write the same file at the same time; the last one's stays
    """
    own = f"{uuid.uuid4().hex[:8]}." if shared else ""
    partial = path.with_name(f".{path.name}.{own}partial")
    with output_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if shared:
                _remove_left_over(path)
            if os.path.lexists(partial):  # a link would be followed
                partial.unlink()
            yield partial
            file_system.sync_path(partial)
            partial.replace(path)
            file_system.sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def _remove_left_over(path: Path) -> None:
    """What killed jobs left of a file that several write."""
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        with contextlib.suppress(OSError):  # it may have become the file meanwhile
            if time.time() - partial.stat().st_mtime > _LEFT_OVER_S:
                partial.unlink()


@contextlib.contextmanager
def whole_file(
    path: Path, recorded: bool = False, note: Note | None = None, shared: bool = False
) -> Iterator[IO[bytes]]:
    """Like `whole_path`, as a binary file object to write from start to end.

    recorded: note the file's SHA-256 in the folder's record before it gets its name
    note: whoever else notes it then
    """
    with whole_path(path, shared) as partial:
        with partial.open("wb") as file:
            hashed = _Hashed(file)
            yield cast(IO[bytes], hashed) if recorded or note else file
        if recorded:
            _record(path, partial, hashed.digest.hexdigest())
        if note is not None:
            note(path.name, hashed.digest.hexdigest())


def whole_copy(source: Path, path: Path, note: Note | None = None) -> None:
    """Put a recorded file under a second name: as a hard link where the file system has them."""
    with output_errors(path):
        if path.exists() and path.samefile(source):  # where renaming one to the other does nothing
            return
        digest = recorded_sha256(source) or sha256(source)
    with whole_path(path) as partial:
        try:
            os.link(source, partial)
        except OSError:  # a file system without them, or a folder on another one
            with source.open("rb") as reader, partial.open("wb") as writer:
                shutil.copyfileobj(reader, writer)
        _record(path, partial, digest)
        if note is not None:
            note(path.name, digest)


class _Hashed:
    """A file that hashes what is written: reading a checkpoint again would cost as much."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of it."""
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()


def _record(path: Path, partial: Path, digest: str) -> None:
    """Note, before `partial` becomes `path`, what it holds and how it is recognised then."""
    content = {"name": path.name, "sha256": digest, **_identity(partial)}
    # a kill may have left half a line at the end: each line starts with its own line break
    line = "\n" + json.dumps(content)
    append(path.parent / RECORD, line.encode(), synced=True)


def is_recorded(path: Path, digest: str) -> bool:
    """Whether a file with this SHA-256 was written under that name; raises OSError.

    Each was noted before it got its name: after kills it need not be the last one noted.
    """
    return digest in recorded_digests(path)


def recorded_digests(path: Path) -> list[str]:
    """The SHA-256 of every file that was written under that name, in order; raises OSError."""
    digests = [line.get("sha256") for line in _records(path)]
    return [digest for digest in digests if isinstance(digest, str) and _SHA256.fullmatch(digest)]


def recorded_sha256(path: Path) -> str | None:
    """The SHA-256 with which the file that is at `path` now was written; None: it is not known.

    So that a checkpoint is not read again to be listed. Raises OSError.
    """
    if path.stat().st_mtime_ns % _SECOND_NS == 0:
        return None  # a file system of whole seconds, where one follows another within the same
    identity = _identity(path).items()
    digests = [line.get("sha256") for line in _records(path) if identity <= line.items()]
    return digests[-1] if digests and isinstance(digests[-1], str) else None


def _identity(path: Path) -> dict[str, int]:
    found = path.stat()
    return {"size_bytes": found.st_size, "inode": found.st_ino, "mtime_ns": found.st_mtime_ns}


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """What the folder's record says of files of this name, oldest first; raises OSError."""
    with (
        contextlib.suppress(FileNotFoundError),
        open(path.parent / RECORD, "rb", opener=regular) as file,
    ):
        while line := file.readline(_LINE_BYTES):
            with contextlib.suppress(ValueError, RecursionError):  # half a line, or not ours
                content = json.loads(line)
                if isinstance(content, dict) and content.get("name") == path.name:
                    yield content


def regular(path: str, flags: int) -> int:
    """An `opener` for what must be a regular file: a pipe in its place would block for ever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return descriptor


def _own(path: str, flags: int) -> int:
    """An `opener` for what grows: a link would lead out of the output folder."""
    return regular(path, flags | os.O_NOFOLLOW)


def read_bytes(path: Path) -> bytes:
    """A small file of the output; raises OSError, and ValueError for one that is too large."""
    with open(path, "rb", opener=regular) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MOST_JSON_BYTES:
            raise ValueError(f"it has {size} bytes")
        return file.read()


def read_json(path: Path) -> Any:
    """What a JSON file of the output holds; raises OSError and, for what is no JSON, ValueError."""
    return parse_json(read_bytes(path))


def parse_json(text: str | bytes) -> Any:
    """What JSON text holds; raises ValueError for what is none."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write_json(path: Path, value: Any, recorded: bool = False, shared: bool = False) -> None:
    """Write `value` as readable JSON; a float that is not finite is our bug, not JSON's."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with whole_file(path, recorded, shared=shared) as file:
        file.write(text.encode())


def append_lines(path: Path, lines: list[str]) -> None:
    """Append whole lines to a log that grows while the job runs, and so is not renamed."""
    with output_errors(path):
        append(path, "".join(f"{line}\n" for line in lines).encode())


def append(path: Path, data: bytes, synced: bool = False) -> bool:
    """Add to the end of a file; False where none can be appended to, and it was written anew.

    synced: have it on the disk as well; raises OSError, and OutputError for the file written anew
    """
    with _appending:
        try:
            with open(path, "ab", opener=_own) as file:
                file.write(data)
                file.flush()
                if synced:
                    file_system.sync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_APPENDING:
                raise
        else:
            return True
        before = b""
        with contextlib.suppress(FileNotFoundError), open(path, "rb", opener=_own) as file:
            before = file.read()
        with whole_file(path) as file:
            file.write(before + data)
    return False


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb", opener=regular) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sampled_sha256(path: Path) -> str:
    """The SHA-256 of a file's size and sixteen blocks of it.

    Enough to recognise a file among terabytes of video, which must not all be read for that.
    """
    size = path.stat().st_size
    last = max(0, size - _SAMPLE_BYTES)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in sorted({last * i // (_SAMPLE_BLOCKS - 1) for i in range(_SAMPLE_BLOCKS)}):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Translate what the operating system says of writing `path` into one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(explain(path, error), code="output-unwritable") from error
