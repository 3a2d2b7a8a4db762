"""The check in a process of its own: a crash inside a native decoder becomes a finding.

A file that crashes FFmpeg, Pillow or pyarrow takes the checking process down, not the job. The
check is then run again with one thread, which names the file that was opened last, and again
without that file, so that the report is still of the whole dataset.
"""

import contextlib
import logging
from pathlib import Path
from typing import Any

from convert.check.dataset import check
from convert.findings import Report, error
from convert.flags import DataFlags
from convert.lerobot.file import tell_opened
from convert.sources import NOTHING, LeftOut, read_sources
from job import signals, workers
from job.errors import DatasetError

logger = logging.getLogger("act")

_Task = tuple[Path, DataFlags, LeftOut, dict[str, Any]]


class _Crash(Exception):  # noqa: N818  what happened to another process
    def __init__(self, error: DatasetError, opened: Path | None) -> None:
        super().__init__(error)
        self.error = error
        self.opened = opened  # the last file


def check_apart(
    root: Path, flags: DataFlags, left_out: LeftOut = NOTHING, **options: Any
) -> Report:
    """`convert.check.dataset.check` with those options, in another process.

    left_out: episodes that are not looked at

    Raises DatasetError when the metadata itself crashes it, OutputError when memory runs out,
    Interrupted on a signal.
    """
    try:
        return _check((root, flags, left_out, options))
    except _Crash as crash:
        logger.warning("%s; looking for the file", crash.error)
    crashing: dict[Path, str] = {}
    while True:
        try:
            again = options | {"threads": 1, "unread": frozenset(crashing)}
            report = _check((root, flags, left_out, again))
        except _Crash as crash:
            path = crash.opened
            if path is None or path in crashing:  # it cannot be left out
                raise _refusal(path or root, crash.error) from crash
            crashing[path] = str(crash.error)
        else:
            for path, what in crashing.items():
                report.add(error("file-crash", path, _message(what)))
            return report.finish()


def _check(task: _Task) -> Report:
    opened: Path | None = None
    try:
        for told in workers.run_tasks(_work, [task], 1, lambda task: f"checking {task[0]}"):
            if isinstance(told, Report):
                return told
            opened = told
    except DatasetError as problem:
        if problem.code == workers.CRASH:
            raise _Crash(problem, opened) from problem
        raise
    raise AssertionError("a check that ends has a report")


def _work(task: _Task, send: workers.Send) -> None:
    root, flags, left_out, options = task
    tell_opened(send)
    if left_out or flags.selects_episodes:
        with contextlib.suppress(DatasetError):  # which the check reports better
            sources = read_sources(flags, left_out)[1]
            options["only"] = frozenset(s.episode.index for s in sources if s.dataset.root == root)
    send(check(root, flags, **options))


def _message(what: str) -> str:
    return (
        f"reading it crashed the process that did ({what.partition(': ')[2] or what}), expected a "
        f"whole file; copy it again, or leave its episodes out"
    )


def _refusal(path: Path, problem: DatasetError) -> DatasetError:
    signals.check()
    return DatasetError(f"{path}: {_message(str(problem))}", code="file-crash", where=path)
