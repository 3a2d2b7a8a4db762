"""Objects become files below a folder: side by side, resumed, verified, whole under their names.

A folder keeps a record of what was fetched into it, by the version that its server named, so that a
second look costs a listing. What a kill leaves is continued where it stopped.
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from job import file_system, signals
from job.errors import DatasetError
from job.progress import progress_bar
from job.remote.store import Store, Stored
from job.whole_files import append, output_errors, read_bytes

RECORD = ".fetched.jsonl"
PARTS = ".parts"
_PIECE_BYTES = 8 << 20
_AT_ONCE = 8
_TRIES = 3
_HASH_BYTES = 1 << 20
_LOOK_S = 0.2


@dataclass(frozen=True)
class Fetched:
    """A file that was fetched."""

    name: str  # below the folder
    version: str
    size_bytes: int
    sha256: str


class Download:
    """Fetches objects of a store into a folder."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self._folder = folder
        self._known = _read_record(folder / RECORD)
        self._recording = threading.Lock()

    def fetch(self, wanted: Mapping[str, Stored], what: str) -> list[Fetched]:
        """Have these objects as files; those already there in the same version are kept.

        what: for the progress bar
        Raises DatasetError for an object that changes or has not its digest, OutputError for the
        disk, Interrupted on a signal.
        """
        missing = [name for name in sorted(wanted) if self._has(name, wanted[name]) is None]
        size = sum(wanted[name].size_bytes for name in missing)
        with (
            progress_bar(size, what, "B", shown=size > 0) as bar,
            ThreadPoolExecutor(_AT_ONCE, "fetch") as pool,
        ):
            counting = threading.Lock()

            def count(read: int) -> None:
                with counting:
                    bar.update(read)

            _finish({pool.submit(self._fetch, one, wanted[one], count) for one in missing})
        found = [self._has(name, wanted[name]) for name in sorted(wanted)]
        assert all(found), "each was fetched"
        return [one for one in found if one is not None]

    def needed_bytes(self, wanted: Mapping[str, Stored]) -> int:
        """What is still to be fetched."""
        missing = (name for name in wanted if self._has(name, wanted[name]) is None)
        return sum(wanted[name].size_bytes for name in missing)

    def _has(self, name: str, stored: Stored) -> Fetched | None:
        found = self._known.get(name)
        if found is None or found.version != stored.version:
            return None
        with contextlib.suppress(OSError):
            if (self._folder / name).stat().st_size == found.size_bytes:
                return found
        return None

    def _fetch(self, name: str, stored: Stored, count: Any) -> None:
        path = self._path(name)
        part = self.part(name, stored)
        for left in reversed(range(_TRIES)):
            with output_errors(path):
                part.parent.mkdir(parents=True, exist_ok=True)
                self._read_into(part, name, stored, count)
                found, sha256 = digest_of(part, stored.digest.partition(":")[0])
            if found == stored.digest or (stored.digest and self._is_no_md5(name, stored)):
                break
            if not stored.digest:  # its pieces are of one version where that is still there
                if self.store.version(name) == stored.version:
                    break
                raise self._changed(name, f"became version {self.store.version(name)}", stored)
            part.unlink(missing_ok=True)
            count(-stored.size_bytes)
            if not left:
                raise DatasetError(
                    f"{self.store.address}/{name}: its bytes have {found}, expected "
                    f"{stored.digest}, as its server says; upload it again",
                    code="fetch-digest",
                )
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file_system.sync_path(part)
            part.replace(path)
            self._note(Fetched(name, stored.version, stored.size_bytes, sha256))

    def _is_no_md5(self, name: str, stored: Stored) -> bool:
        """Whether the digest that was listed is none, and the object still what was listed."""
        return self.store.is_encrypted_by_key(name) and self.store.version(name) == stored.version

    def part(self, name: str, stored: Stored) -> Path:
        """Where an object's bytes are kept until they are all there."""
        key = hashlib.sha256(f"{name}\n{stored.version}".encode()).hexdigest()[:32]
        return self._folder / PARTS / key

    def _path(self, name: str) -> Path:
        """Where a file goes; names that lead elsewhere are no files of a dataset."""
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts or parts[0] in (RECORD, PARTS):
            raise DatasetError(
                f"{self.store.address}/{name}: is no name of a file in a dataset, expected one "
                f"without ..; rename it",
                code="fetch-name",
            )
        return self._folder.joinpath(*parts)

    def _read_into(self, part: Path, name: str, stored: Stored, count: Any) -> None:
        """Read what is missing of a part; raises OSError for the disk."""
        with part.open("ab") as file:
            done = file.tell()
            if done > stored.size_bytes:
                file.truncate(0)
                done = 0
            count(done)
            while done < stored.size_bytes:
                signals.check()
                end = min(done + _PIECE_BYTES, stored.size_bytes)
                piece = self.store.read(name, done, end)
                if len(piece) != end - done:
                    raise self._changed(name, f"has {done + len(piece)} bytes", stored)
                file.write(piece)
                done = end
                count(len(piece))

    def _changed(self, name: str, what: str, stored: Stored) -> DatasetError:
        return DatasetError(
            f"{self.store.address}/{name}: {what}, expected {stored.size_bytes} bytes of version "
            f"{stored.version}, as its server listed it; nothing may write to what is fetched; run "
            f"the same command again",
            code="changed",
        )

    def _note(self, fetched: Fetched) -> None:
        line = "\n" + json.dumps(vars(fetched))
        with self._recording:
            append(self._folder / RECORD, line.encode(), synced=True)
            self._known[fetched.name] = fetched


def _finish(waiting: set[Future[None]]) -> None:
    """Wait for all of them; the first error, or a signal, ends those that have not begun."""
    try:
        while waiting:
            done, waiting = wait(waiting, _LOOK_S, FIRST_COMPLETED)
            for one in done:
                one.result()
            signals.check()
    except BaseException:
        for one in waiting:
            one.cancel()
        raise


def digest_of(path: Path, kind: str = "") -> tuple[str, str]:
    """The digest of a file as servers name it, and its SHA-256; raises OSError.

    kind: `sha256`, `md5`, or `git` for that of a blob
    """
    sha256 = hashlib.sha256()
    other = sha256 if kind in ("", "sha256") else hashlib.new("md5" if kind == "md5" else "sha1")
    if kind == "git":
        other.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while piece := file.read(_HASH_BYTES):
            sha256.update(piece)
            if other is not sha256:
                other.update(piece)
    return f"{kind or 'sha256'}:{other.hexdigest()}", sha256.hexdigest()


def digest_of_all(fetched: Iterable[Fetched]) -> str:
    """One digest of a set of files, by names and content."""
    lines = sorted(f"{one.name} {one.sha256}" for one in fetched)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read_record(path: Path) -> dict[str, Fetched]:
    """What was fetched, the last of each name; lines that a kill cut are passed over."""
    found = {}
    with contextlib.suppress(OSError):
        for line in read_bytes(path).splitlines():
            with contextlib.suppress(ValueError, TypeError):
                one = Fetched(**json.loads(line))
                found[one.name] = one
    return found
