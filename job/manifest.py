"""manifest.json: what a person or a scheduler needs to know of a run, now and a year later.

Written first when the job starts and last when it ends; job/sections/ describes every field. A run
has its own in its folder. The one in the output is that of the job which started last there: it
has the same content, and is left to another job as soon as that has written it.
"""

import contextlib
import logging
import os
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from job.codes import BUG_CODE
from job.errors import EXIT_BUG, EXIT_DONE, JobError, first_line
from job.ranks import attempt
from job.sections.fetched import FetchedInput
from job.sections.policy import Input, Policy
from job.sections.section import Section
from job.sections.whole import SCHEMA_VERSION, Artifact, Versions, Whole
from job.status import StatusFile, time_text
from job.upstream_departures import DEPARTURES
from job.version import VERSION, commit
from job.whole_files import (
    RECORD,
    output_errors,
    read_bytes,
    read_json,
    recorded_sha256,
    sha256,
    write_json,
)

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "h5py",
    "pyarrow",
    "av",
    "pyquaternion",
    "tqdm",
    "matplotlib",
    "pydantic",
)
_MAX_WARNINGS = 1000
_LASTING = ("dataset", "conversion", "split", "ancestor", "training", "policy")


class Manifest:
    """The manifest of one run; sections are set as they become known."""

    def __init__(
        self,
        path: Path,
        flags: Mapping[str, Any],
        shown: bool = True,
        *,
        origins: Mapping[str, str] | None = None,
        fetched: Sequence[FetchedInput] = (),
        of_output: Path | None = None,
        status: Path | None = None,
    ) -> None:
        """flags: of the command, as JSON has them; {} when the command line was not understood.

        origins: where the flags stood that were given
        fetched: the inputs that were fetched
        shown: False on the processes of a group that write no files
        of_output: of a run: where the output's is, that of the last job
        status: of a run: where its status.json is
        """
        self.path = path
        self.of_output = of_output
        self._shown = shown
        self.content = Whole(
            schema_version=SCHEMA_VERSION,
            status="running",
            exit_code=None,
            reason=None,
            run_name=flags.get("run_name"),
            task_name=flags.get("task_name") or None,
            attempt=attempt(),
            started_at=now(),
            ended_at=None,
            flags=dict(flags),
            flag_origins=dict(origins or {}),
            fetched=list(fetched),
            versions=versions(),
            commit=commit(),
            departures=list(DEPARTURES),
            warnings=[],
            device=None,
            dataset=None,
            conversion=None,
            split=None,
            training=None,
            policy=None,
            artifacts=[],
        )
        job = {name: getattr(self.content, name) for name in ("run_name", "attempt", "started_at")}
        self.status = StatusFile(status if shown else None, job)
        self._artifacts: dict[Path, Artifact] = {}
        self._afterwards: list[Callable[[], None]] = []
        self._writing = threading.RLock()  # the last actions of a job come from another thread
        self._ended = False
        self.begun = False  # from then on the files are this job's
        self._seen: dict[Path, tuple[int, int, int]] = {}

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where it is written."""
        return (self.path,) if self.of_output is None else (self.path, self.of_output)

    def take_over(self) -> None:
        """Take the sections that an earlier job of the same run left, so that it never lacks them.

        A kill may come before this job knows them.
        """
        with contextlib.suppress(OSError, ValueError):  # there is none, or of another version
            earlier = Whole.model_validate_json(read_bytes(self.path))
            for section in _LASTING:
                setattr(self.content, section, getattr(earlier, section))

    def set(self, section: str, value: Section | Mapping[str, Any]) -> None:
        """Fill a section; it is on disk after the next `write`."""
        setattr(self.content, section, value)

    def set_policy(self, contract: Path, inputs: Sequence[Input]) -> None:
        """Refer to the contract with the robot as it is now; raises OutputError."""
        with output_errors(contract):
            digest = sha256(contract)
        path = relative(contract, self.path.parent)
        self.set("policy", Policy(path=path, sha256=digest, inputs=list(inputs)))

    def renew_policy(self, contract: Path) -> None:
        """Refer to the contract as it is now, where that is all that has changed of the policy."""
        if self.content.policy is not None:
            self.set_policy(contract, self.content.policy.inputs)

    def depart(self, *sentences: str) -> None:
        """Add to where this run departs from upstream."""
        known = self.content.departures
        known += [sentence for sentence in sentences if sentence not in known]

    def resolve(self, **flags: Any) -> None:
        """Put what was decided in place of an `auto` or 0 among the flags."""
        self.content.flags.update(flags)

    def warn(self, message: str) -> None:
        """Keep a warning that the user was shown."""
        warnings = self.content.warnings
        if message not in warnings and len(warnings) < _MAX_WARNINGS:
            warnings.append(message)

    def add_artifact(self, path: Path) -> None:
        """List a file of the output with its size and SHA-256: as recorded, or as it is now.

        The folder's record of digests grows with each file: if it is listed, it is listed anew.
        """
        record = path.with_name(RECORD)
        if record in self._artifacts and path != record:
            self.add_artifact(record)
        with output_errors(path):
            found = path.stat()
            state = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._seen.get(path) != state:  # not hashed yet, or written again since
                self._artifacts[path] = Artifact(
                    path=relative(path, self.path.parent),
                    size_bytes=found.st_size,
                    sha256=recorded_sha256(path) or sha256(path),
                )
                self._seen[path] = state
        self.content.artifacts = list(self._artifacts.values())

    def write(self) -> None:
        """Put the manifest on disk as it stands; from the first time on the job has begun."""
        with self._writing:
            takes, self.begun = not self.begun, True
            self._put(takes)
        self.status.begin()

    def _put(self, takes: bool) -> None:
        """takes: put it in the place of another job's as well"""
        if not self._shown:
            return
        try:
            write_json(self.path, self.content.model_dump(mode="json"), shared=True)
        finally:  # a run's folder may be gone, or not ours
            place = self.of_output
            if place is not None and (takes or not place.exists() or self.is_in(place)):
                content = self._for_output(place.parent).model_dump(mode="json")
                write_json(place, content, shared=True)  # by runs that share the output

    def is_in(self, path: Path) -> bool:
        """Whether what is at `path` was written by this very job."""
        with contextlib.suppress(OSError, ValueError):
            found = read_json(path)
            return isinstance(found, dict) and found.get("attempt") == self.content.attempt
        return False

    def _for_output(self, folder: Path) -> Whole:
        """The content with its paths relative to the output."""
        artifacts = [
            artifact.model_copy(update={"path": relative(path, folder)})
            for path, artifact in self._artifacts.items()
        ]
        policy = self.content.policy
        if policy is not None:
            path = relative(self.path.parent / policy.path, folder)
            policy = policy.model_copy(update={"path": path})
        return self.content.model_copy(update={"artifacts": artifacts, "policy": policy})

    def afterwards(self, do: Callable[[], None]) -> None:
        """Have something done once the manifest says that the job is done."""
        self._afterwards.append(do)

    def complete(self) -> None:
        """Write that the job is done, and do what was left for then; the last thing of a run."""
        self._end("completed", EXIT_DONE, None, "done")
        warnings = len(self.content.warnings)
        try:
            for do in self._afterwards:
                do()
        except JobError:  # it is not done yet, which `fail` is to report
            self._ended = False
            raise
        if len(self.content.warnings) > warnings:
            self.write()

    def fail(self, error: BaseException) -> None:
        """Write why the job ended, as the terminal shows it."""
        reason = first_line(error)
        if isinstance(error, JobError):
            self._end(error.status, error.exit_code, error.code, reason)
        else:
            self._end("failed", EXIT_BUG, BUG_CODE, reason)

    def _end(self, status: str, exit_code: int, code: str | None, reason: str) -> None:
        with self._writing:
            if not self._ended:
                self.content = ended(self.content, status, exit_code, code, reason)
                self.begun = True
                self._put(takes=False)
                self._ended = True
                self.status.end(status, exit_code, code, reason)


def ended(content: Whole, status: str, exit_code: int, code: str | None, reason: str) -> Whole:
    """A manifest as it is once its job has ended now."""
    ending = {
        "status": status,
        "exit_code": exit_code,
        "code": code,
        "reason": reason,
        "ended_at": now(),
    }
    return Whole.model_validate(content.model_dump() | ending)


def relative(path: Path, folder: Path) -> str:
    """The path as seen from a folder, which need not hold it."""
    return Path(os.path.relpath(path, folder)).as_posix()


class WarningsToManifest(logging.Handler):
    """Everything the user was warned of stands in the manifest too."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(logging.WARNING)
        self._manifest = manifest

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self._manifest.warn(record.getMessage())


def now() -> str:
    """The time, as the manifest has it."""
    return time_text()


def versions(packages: Sequence[str] = _PACKAGES) -> Versions:
    """Versions of this project, Python and packages, `torch` always among them."""
    found = {"project": VERSION, "python": platform.python_version()}
    return Versions.model_validate(found | {one: _version(one) for one in ("torch", *packages)})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
