"""Write-beside, fsync, rename: the only way this project puts a file under its final name."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from act.errors import OutputError

_READ_BYTES = 1 << 20
_SAMPLE_BLOCKS, _SAMPLE_BYTES = 16, 1 << 16


@contextlib.contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; on success it is synced and becomes `path`.

    For writers that want a name rather than a file object (HDF5). The file that was at `path`
    stays until the new one is whole. Raises OutputError when the disk or the folder refuses.
    """
    partial = path.with_name(f".{path.name}.partial")
    with output_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Like `whole_path`, as a binary file object."""
    with whole_path(path) as partial, partial.open("wb") as file:
        yield file


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON; a float that is not finite is our bug, not JSON's."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with whole_file(path) as file:
        file.write(text.encode())


def append_lines(path: Path, lines: list[str]) -> None:
    """Append whole lines to a log that grows while the job runs (the one file not renamed)."""
    with output_errors(path), path.open("ab") as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


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
        raise OutputError(_explain(path, error)) from error


def _explain(path: Path, error: OSError) -> str:
    code = error.errno
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: the disk is full ({error.strerror}); free some space and run it again"
    if code in (errno.EACCES, errno.EPERM):
        return (
            f"{path}: user {os.getuid()}:{os.getgid()} may not write here ({error.strerror}); "
            f"give that user the folder, or run as its owner (docker run --user UID:GID)"
        )
    if code == errno.EROFS:
        return f"{path}: the file system is read-only; mount the output folder writable"
    return f"{path}: cannot be written: {error.strerror or error}; expected a writable folder"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
