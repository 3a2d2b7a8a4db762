"""Around every job: its manifest, its log, and how errors and signals become an exit code."""

import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from job import signals
from job.errors import (
    EXIT_BUG,
    EXIT_DONE,
    AlreadyDone,
    Interrupted,
    JobError,
    OutputError,
    UsageError,
)
from job.lock import Holder, only_job, remove_empty
from job.manifest import Manifest, WarningsToManifest
from job.output_folder import try_folder
from job.ranks import local_rank, rank
from job.sections.whole import Header
from job.status import mirrored_to
from job.whole_files import read_bytes, whole_file

logger = logging.getLogger("act")

Job = Callable[[Manifest], None]

IN_IMAGE = "LEROBOT_TO_ACT_IMAGE"  # the Dockerfile sets it, in our image alone


def run_recorded(manifest: Manifest, job: Job, holder: Holder = "alone") -> int:
    """Do `job` and return its exit code, which the manifest records.

    `job` writes the manifest when it knows that there is something to do.
    holder: how it holds its folder against other jobs
    """
    *of_run, path = manifest.paths
    keeper = WarningsToManifest(manifest)
    logger.addHandler(keeper)
    try:
        warn_unless_mounted(path.parent)
        with contextlib.ExitStack() as locks:
            if rank() == 0:
                locks.enter_context(only_job(path.parent, "run" if of_run else holder))
                for one in of_run:
                    locks.enter_context(only_job(one.parent))
            return _run(manifest, job)
    except Interrupted as error:  # another job has the folder
        return report_error(error)
    except JobError as error:  # of a folder itself, which is not ours
        return refuse(error, path)
    finally:
        logger.removeHandler(keeper)


def warn_unless_mounted(output: Path) -> None:
    """In our image a forgotten mount is a folder like any other, and goes with the container."""
    if os.environ.get(IN_IMAGE) and not mirrored_to() and _is_on_root(output):
        logger.warning(
            "%s is no mount: what is written there goes with the container; expected "
            "docker run -v FOLDER:%s",
            output,
            output,
        )


def _is_on_root(path: Path) -> bool:
    """Whether the path, which need not be there yet, is on the container's own file system."""
    with contextlib.suppress(OSError):  # a folder that may not be read is reported elsewhere
        places = (path.absolute(), *path.absolute().parents)
        nearest = next(place for place in places if place.exists())
        return nearest.stat().st_dev == Path("/").stat().st_dev
    return False


def _run(manifest: Manifest, job: Job) -> int:
    try:
        before = {path: _read(path) for path in manifest.paths}
    except UsageError:
        _remove_new(manifest)
        raise

    def record_end(_: bool) -> None:
        if manifest.begun:
            manifest.fail(signals.ended_at_once())

    with signals.last_action(record_end):
        return _do(manifest, job, before)


def _do(manifest: Manifest, job: Job, before: Mapping[Path, bytes | None]) -> int:
    try:
        if local_rank() == 0:
            _try_folder(manifest.paths[-1].parent, before)  # the output
    except OutputError as error:
        if not any(before.values()):
            with contextlib.suppress(JobError):  # as likely as not
                manifest.fail(error)
        return report_error(error)
    try:
        job(manifest)
        signals.end_by_itself()
        manifest.complete()
    except AlreadyDone as done:
        signals.end_by_itself()
        logger.info("done       %s", done)
        if not any(before.values()):
            manifest.complete()
    except BaseException as error:
        signals.end_by_itself()
        if before[manifest.path] is not None and not manifest.begun:
            return report_error(error)  # what an earlier run left is still what the folder holds
        code = _end(manifest, error)
        if isinstance(error, UsageError) and rank() == 0:  # nothing was done
            _restore(manifest, before)
        return code
    return EXIT_DONE


def _try_folder(folder: Path, before: Mapping[Path, bytes | None]) -> None:
    """Refuse a folder that the job cannot write to, unless there may be nothing left to write."""
    try:
        try_folder(folder)
    except OutputError:
        done = (Header.model_validate_json(one).status for one in before.values() if one)
        if "completed" not in done:
            raise


def _restore(manifest: Manifest, before: Mapping[Path, bytes | None]) -> None:
    """Put back the manifests of earlier jobs, but for one that another job has replaced since."""
    for path, content in before.items():
        if content is not None and manifest.is_in(path):
            with contextlib.suppress(JobError), whole_file(path, shared=True) as file:
                file.write(content)
                manifest.status.restore()
    if before[manifest.path] is None:
        _remove_new(manifest)


def _remove_new(manifest: Manifest) -> None:
    """Leave no folder of a run that never began: the output's manifest says why."""
    folder = manifest.path.parent
    if manifest.of_output is None or rank() != 0:
        return
    with contextlib.suppress(OSError):
        manifest.status.restore()
        if manifest.is_in(manifest.path) and len(_shown_files(folder)) == 1:
            manifest.path.unlink()
        remove_empty(folder)
        folder.parent.rmdir()  # the first run's


def _shown_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _read(path: Path) -> bytes | None:
    """The manifest of an earlier job; raises UsageError for a file that is not one."""
    if not path.exists():
        return None
    try:
        if path.is_file():
            content = read_bytes(path)
            Header.model_validate_json(content)
            return content
    except OSError:
        return None
    except ValueError:
        pass
    raise UsageError(
        f"{path}: a file that no job wrote is in the manifest's place, expected none; move it "
        f"away, or choose another --output",
        code="output-foreign",
    )


def refuse(error: JobError, manifest_path: Path) -> int:
    """Turn away a command before it is a job; the manifest of an earlier one stays."""
    if manifest_path.parent.is_dir() and not manifest_path.exists():
        with contextlib.suppress(JobError):
            Manifest(manifest_path, {}).fail(error)
    return report_error(error)


def _end(manifest: Manifest, error: BaseException) -> int:
    code = report_error(error)
    try:
        manifest.fail(error)
    except Exception as unwritable:  # the code of the first error is the one that counts
        if str(unwritable) != str(error):
            report_error(unwritable)
    return code


def report_error(error: BaseException) -> int:
    """Show an error: one line when the user can mend it, a traceback when it is our bug."""
    if isinstance(error, JobError):
        logger.error("%s", error)
        return error.exit_code
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        traceback.print_exception(error)
    logger.error("this is a bug of ours; please report the lines above")
    return EXIT_BUG


def log_to_terminal() -> None:
    """What happens goes to standard output, warnings and errors to standard error, a line each."""
    logger.setLevel(logging.INFO if rank() == 0 else logging.ERROR)
    logger.propagate = False
    sys.stdout, sys.stderr = _unbuffered(sys.stdout), _unbuffered(sys.stderr)
    story, trouble = _Terminal(sys.stdout), _Terminal(sys.stderr)
    story.addFilter(lambda record: record.levelno < logging.WARNING)
    story.setFormatter(logging.Formatter("%(message)s"))
    trouble.setLevel(logging.WARNING)
    trouble.setFormatter(_LevelFormatter("%(level)s: %(message)s"))
    logger.handlers = [story, trouble]


@contextlib.contextmanager
def errors_only() -> Iterator[None]:
    """Keep away what is logged of work that was told of before: its warnings are known."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _unbuffered(stream: TextIO) -> TextIO:
    """The same file, written to at once, whatever characters a dataset's text has.

    What a full disk does not take would stay in a buffer, for multiprocessing to fail on when it
    flushes it before each process that it starts.
    """
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(stream.buffer, io.BufferedWriter):
        return stream
    stream.flush()
    raw = io.FileIO(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        cast(BinaryIO, raw), stream.encoding, "backslashreplace", write_through=True
    )


class _Terminal(logging.StreamHandler[TextIO]):
    """A log whose reader may leave, or whose disk may fill: training continues without it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def close_terminal() -> None:
    """Write what waits; where nobody reads it any more, the exit code stays what it is."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _LevelFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.level = record.levelname.lower()
        return super().format(record)
