"""A run's folder as objects: sent beside the training, and brought to a machine that lacks it.

Each pass sends what has changed since the one before, from a snapshot of the folder.
The order makes every mixture of two passes, which a kill leaves, one that a kill could have left on
the machine itself: the record of digests before the files that it names, these before the state,
the state before run.json, which says that nothing is left to do; the manifests last. What is gone
from the folder is removed after that.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from job.errors import OutputError
from job.lock import LOCK
from job.output_names import CHECKPOINTS, MANIFEST, RUN, STATE, STATUS
from job.remote.download import PARTS, Download
from job.remote.download import RECORD as FETCHED
from job.remote.lease import NAME as LEASE
from job.remote.store import Store
from job.whole_files import RECORD, output_errors, read_json, write_json

_SCRATCH, _RESTORED, _SENT = ".mirror", ".restored", ".sent"  # a place for each run
_FIRST, _LAST = (RECORD,), (STATE, RUN, STATUS, MANIFEST)
_OF_RUNS = ("policy_*.ckpt", "dataset_stats.*", STATE)
_TRIES = 100  # to see the folder at one moment

Identity = tuple[int, int, int]


class _Replaced(Exception):  # noqa: N818  no error: the next look sees the new one
    """A file was replaced or removed since it was looked at."""


@dataclass(frozen=True)
class _Sent:
    """A file as it was sent."""

    identity: Identity
    version: str  # of the object that it became


class Mirror:
    """The folder of a run in an output, and the same below an address."""

    def __init__(self, store: Store, output: Path, run_name: str) -> None:
        """output: the folder on this machine"""
        self._store = store
        self._output = output
        self.run = f"{CHECKPOINTS}/{run_name}"  # its folder, below both
        self._scratch = output / _SCRATCH / run_name
        self._sent: dict[str, _Sent] = {}

    @property
    def run_folder(self) -> Path:
        """The run's folder on this machine."""
        return self._output / self.run

    def restore(self) -> str:
        """Have the run's folder as the objects are, unless this machine's is what they are of.

        Gives what was done, for the log. Raises Interrupted, OutputError, DatasetError.
        """
        listed = self._store.files(self.run)
        prefix = f"{self.run}/"
        listed = {
            name: one
            for name, one in listed.items()
            if "/" not in name.removeprefix(prefix) and self._is_mirrored(Path(name).name)
        }
        if f"{prefix}{RUN}" not in listed:
            self._refuse_foreign([name.removeprefix(prefix) for name in listed])
            for name in listed:  # of a machine that was lost within its very first pass
                self._store.remove(name)
            return "a run of its own" if not (self.run_folder / RUN).exists() else "this machine's"
        known = self._read_sent() if (self.run_folder / RUN).exists() else {}
        if known and all(
            name in known and known[name].version == one.version for name, one in listed.items()
        ):
            # what is no longer there is sent again
            self._sent = {name: one for name, one in known.items() if name in listed}
            return "this machine's, which is what was sent or newer"
        folder = self._output / _RESTORED / self.run_folder.name
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        files = {name.removeprefix(prefix): one for name, one in listed.items()}
        Download(self._store.below(self.run), folder).fetch(files, "fetch the run")
        self._take(folder, set(files))
        for name, one in listed.items():
            self._sent[name] = _Sent(_identity(self._output / name), one.version)
        self._write_sent()
        size = sum(one.size_bytes for one in files.values())
        return f"fetched, {len(files)} files, {size / 1e6:,.1f} MB"

    def _refuse_foreign(self, names: list[str]) -> None:
        """A run's files without run.json are of a first pass, which begins with their record."""
        foreign = [name for name in names if any(fnmatch(name, one) for one in _OF_RUNS)]
        if foreign and RECORD not in names:
            raise OutputError(
                f"{self._store.address}/{self.run}/{foreign[0]}: a file of a run that this job did "
                f"not start, expected none there; choose another --run_name, or move it away",
                code="output-other-run",
            )

    def send(self, check: Callable[[], object] = lambda: None) -> int:
        """Send what has changed; gives how many files. Raises JobError where that cannot be.

        check: called before each file, to end the pass by an error
        """
        before = dict(self._sent)
        try:
            with self._snapshot() as (there, kept):
                for name in sorted(kept, key=_order):
                    check()
                    self._store.put(kept[name], name)
                    self._sent[name] = _Sent(there[name], self._store.version(name))
            for name in sorted(self._sent.keys() - there.keys()):
                check()
                self._store.remove(name)
                del self._sent[name]
        finally:  # also of half a pass: what was sent is this machine's
            if self._sent != before:
                self._write_sent()
        names = self._sent.keys() | before.keys()
        return sum(self._sent.get(name) != before.get(name) for name in names)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[tuple[dict[str, Identity], dict[str, Path]]]:
        """The files of one moment by their names below the output.

        Gives all of them, and those that have changed since they were sent, each under a name that
        stays.
        """
        try:
            yield self._taken()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _taken(self) -> tuple[dict[str, Identity], dict[str, Path]]:
        for _ in range(_TRIES):
            shutil.rmtree(self._scratch, ignore_errors=True)
            there = self._look()
            with contextlib.suppress(_Replaced):
                kept = {name: self._kept(name) for name in there if self._has_changed(name, there)}
                if self._look() == there:
                    return there, kept
        raise OutputError(
            f"{self.run_folder}: changes all the time, expected a moment without; look what else "
            f"writes there",
            code="output-in-use",
        )

    def _has_changed(self, name: str, there: Mapping[str, Identity]) -> bool:
        return name not in self._sent or self._sent[name].identity != there[name]

    def _look(self) -> dict[str, Identity]:
        """The files that are mirrored, as they are now; raises OutputError."""
        found = {}
        with output_errors(self.run_folder), contextlib.suppress(FileNotFoundError):
            for path in self.run_folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.is_file() and self._is_mirrored(path.name):
                        found[f"{self.run}/{path.name}"] = _identity(path)
        with contextlib.suppress(FileNotFoundError):
            found[MANIFEST] = _identity(self._output / MANIFEST)
        return found

    @staticmethod
    def _is_mirrored(name: str) -> bool:
        return not name.endswith(".partial") and name not in (LOCK, LEASE, FETCHED, PARTS)

    def _kept(self, name: str) -> Path:
        """A file under a second name: a link, as files are replaced, not changed; else a copy."""
        path, kept = self._output / name, self._scratch / name
        with output_errors(kept):
            kept.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".jsonl":  # these grow
                shutil.copy2(path, kept)
                return kept
            try:
                os.link(path, kept)
            except FileNotFoundError:
                raise _Replaced from None
            except OSError:
                shutil.copy2(path, kept)
        return kept

    def _take(self, restored: Path, names: set[str]) -> None:
        """Put the restored folder in the place of the run's."""
        with output_errors(self.run_folder):
            for path in restored.iterdir():
                if path.name not in names:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.rmtree(self.run_folder, ignore_errors=True)
            self.run_folder.parent.mkdir(parents=True, exist_ok=True)
            restored.replace(self.run_folder)

    def _read_sent(self) -> dict[str, _Sent]:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            found = read_json(self._sent_path)
            return {name: _Sent((one[0], one[1], one[2]), one[3]) for name, one in found.items()}
        return {}

    def _write_sent(self) -> None:
        content = {name: [*one.identity, one.version] for name, one in self._sent.items()}
        write_json(self._sent_path, content)

    @property
    def _sent_path(self) -> Path:
        return self._output / _SENT / f"{self.run_folder.name}.json"


def _order(name: str) -> tuple[int, int, str]:
    last = name.rpartition("/")[2]
    if "/" not in name:
        return 2, len(_LAST), name  # the output's manifest
    if last in _FIRST:
        return 0, 0, name
    return (2, _LAST.index(last), name) if last in _LAST else (1, 0, name)


def _identity(path: Path) -> Identity:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
