"""The check in a process of its own: a crash inside a native decoder becomes a finding.

A file that crashes FFmpeg, Pillow or pyarrow takes the checking process down, not the job. The
check is then run again with one thread, which names the file that was opened last, and again
without that file, so that the report is still of the whole dataset.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from convert.check.dataset import check
from convert.check.episode_files import check_episode_files
from convert.disk_and_memory import check_disk
from convert.findings import Finding, Report, error, finding_of
from convert.flags import CheckFlags, DataFlags
from convert.frames_choice import choose_frames
from convert.plan import plan_for
from convert.sources import NOTHING, LeftOut, read_sources
from job import signals, workers
from job.errors import DatasetError, JobError

logger = logging.getLogger("act")

R = TypeVar("R")

_Task = tuple[Path, DataFlags, LeftOut, dict[str, Any]]


class _Crash(Exception):  # noqa: N818  what happened to another process
    def __init__(self, error: DatasetError, opened: Path | None) -> None:
        super().__init__(error)
        self.error = error
        self.opened = opened  # the last file


def check_apart(
    root: Path,
    flags: DataFlags,
    left_out: LeftOut = NOTHING,
    pool: workers.Workers | None = None,
    **options: Any,
) -> Report:
    """`convert.check.dataset.check` with those options, in another process.

    left_out: episodes that are not looked at
    pool: where the process comes from; None: one is started

    Raises DatasetError when the metadata itself crashes it, OutputError when memory runs out,
    Interrupted on a signal.
    """

    def look(**more: Any) -> Report:
        task = (root, flags, left_out, options | more)
        return _run(_work, task, root, pool)

    report, crashing = _past_crashes(look, root)
    for path, what in crashing.items():
        report.add(error("file-crash", path, _message(what)))
    return report.finish() if crashing else report


def check_files_apart(
    folders: Sequence[Path], flags: DataFlags, *, deep: bool = False
) -> list[Report]:
    """`convert.check.episode_files.check_episode_files` in another process.

    Raises what `check_apart` raises.
    """

    def look(**more: Any) -> list[Report]:
        task = (tuple(folders), flags, {"deep": deep} | more)
        return _run(_work_on_files, task, folders[0], None)

    reports, crashing = _past_crashes(look, folders[0])
    by_folder = {report.root: report for report in reports}
    for path, what in crashing.items():
        by_folder[path.parent].add(error("file-crash", path, _message(what)))
    return [report.finish() if crashing else report for report in reports]


def _past_crashes(look: Callable[..., R], where: Path) -> tuple[R, dict[Path, str]]:
    """What `look` finds, without the files that crash it: those and what happened."""
    try:
        return look(), {}
    except _Crash as crash:
        logger.warning("%s; looking for the file", crash.error)
    crashing: dict[Path, str] = {}
    while True:
        try:
            return look(threads=1, unread=frozenset(crashing)), crashing
        except _Crash as crash:
            path = crash.opened
            if path is None or path in crashing:  # it cannot be left out
                raise _refusal(path or where, crash.error) from crash
            crashing[path] = str(crash.error)


def _run(work: workers.Work, task: Any, where: Path, pool: workers.Workers | None) -> Any:
    """What `work` sends in the end; the paths before it say what it has opened."""
    result: Any = None
    opened: Path | None = None
    try:
        for sent in workers.run_tasks(work, [task], 1, lambda _: f"checking {where}", pool):
            if isinstance(sent, Path):
                opened = sent
            else:
                result = sent
    except DatasetError as problem:
        if problem.code == workers.CRASH:
            raise _Crash(problem, opened) from problem
        raise
    assert result is not None, "a check that ends has a report"
    return result


def _work(task: _Task, send: workers.Send) -> None:
    root, flags, left_out, options = task
    nothing_chosen = None
    if left_out or flags.selects_episodes:
        try:
            sources = read_sources(flags, left_out, send)[1]
        except DatasetError as problem:  # others than this one are found by the check too
            nothing_chosen = problem if problem.code == "episodes-missing" else None
        else:
            options["only"] = frozenset(s.episode.index for s in sources if s.dataset.root == root)
    report = check(root, flags, **options, on_read=send)
    if nothing_chosen and not report.errors:
        report.catch(nothing_chosen, root)
    send(report.finish())


def _work_on_files(
    task: tuple[tuple[Path, ...], DataFlags, dict[str, Any]], send: workers.Send
) -> None:
    folders, flags, options = task
    options.pop("threads", None)  # HDF5 takes one
    send(check_episode_files(folders, flags, **options, on_read=send))


def check_together(
    flags: DataFlags, reports: Sequence[Report], left_out: LeftOut = NOTHING
) -> None:
    """Add what is wrong with several datasets only when they are converted together.

    reports: of each, to which the findings are added
    left_out: episodes that are not used
    """
    task = (flags, reports[0].root, left_out)
    ((findings, frames),) = workers.run_tasks(
        _plan_all, [task], 1, lambda task: f"planning {task[1]}"
    )
    for report in reports if frames else ():
        report.facts["frames"] = frames  # of each alone it may be another
    for finding in findings:
        inside = (r for r in reports if Path(finding.where).is_relative_to(r.root))
        next(inside, reports[0]).add(finding)
    for report in reports:
        report.finish()


def _plan_all(task: tuple[DataFlags, Path, LeftOut], send: workers.Send) -> None:
    flags, folder, left_out = task
    findings: list[Finding] = []
    frames = ""

    def on_read(path: Path) -> None:
        send(workers.At(str(path)))

    try:
        datasets, sources = read_sources(flags, left_out, on_read)
        plan = plan_for(flags, folder, datasets, sources, left_out, findings.append, on_read)
        if plan is not None and isinstance(flags, CheckFlags) and flags.output is not None:
            plan = replace(plan, folder=flags.output)
            # what is wrong with a dataset's own images its own check has found
            plan = choose_frames(plan, flags.frames, flags.output, lambda _: None)
            frames = plan.shown_frames
            check_disk(plan, range(len(sources)), findings.append)
    except JobError as problem:
        findings.append(finding_of(problem, folder))
    send((findings, frames))


def _message(what: str) -> str:
    return (
        f"reading it crashed the process that did ({what.partition(': ')[2] or what}), expected a "
        f"whole file; copy it again, or leave its episodes out"
    )


def _refusal(path: Path, problem: DatasetError) -> DatasetError:
    signals.check()
    return DatasetError(f"{path}: {_message(str(problem))}", code="file-crash", where=path)
