"""What a job checks before it converts, and which episodes it may use."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from convert.check.own_process import check_apart
from convert.findings import WARNING, Finding, Report, refuse
from convert.flags import ConversionFlags
from convert.sources import NOTHING, LeftOut, find_datasets
from job.workers import Workers

logger = logging.getLogger("act")

# info.json is ahead of a list that was not finished, or the list holds what cannot be used
_LISTS = ("episode-count", "frame-count", "episode-row", "episode-twice")
_LOST = ("data", "videos", "meta/episodes")  # where a file may be broken without harm to others


def check_input(
    flags: ConversionFlags, known: LeftOut | None = None, pool: Workers | None = None
) -> LeftOut:
    """Check the input; logs the warnings, raises the first error.

    With `--only_whole_episodes` what is broken is left out instead, and returned.
    known: what a check before left out of this very input, whose frames need no second look
    pool: where its processes come from; None: they are started, and end with it
    """
    # without a deep look a broken frame would end the conversion, where it should be left out
    left_out, deep = known or NOTHING, flags.only_whole_episodes and known is None
    reports = [
        check_apart(root, flags, left_out, pool, deep=deep) for root in find_datasets(flags.input)
    ]
    if flags.only_whole_episodes:
        reports, left_out = _leave_out(flags, reports, left_out, deep, pool)
    for report in reports:
        for line in report.summary(report.warnings):
            logger.warning("%s", line)
    errors = [(report, finding) for report in reports for finding in report.errors]
    lines = [line for report in reports for line in report.summary(report.errors)]
    for line in lines[1:]:
        logger.warning("also broken: %s", line)
    if errors:
        _hint(flags, reports)
        refuse(errors[0][1])
    return left_out


def _hint(flags: ConversionFlags, reports: list[Report]) -> None:
    if flags.only_whole_episodes:
        return
    broken = sum(len(set(_broken(report))) for report in reports)
    excusable = all(
        _tolerated(report, finding).severity == WARNING or finding.episode is not None
        for report in reports
        for finding in report.errors
    )
    if broken and excusable:
        logger.warning("--only_whole_episodes would leave out the %d broken episodes", broken)


def _leave_out(
    flags: ConversionFlags,
    reports: list[Report],
    left_out: LeftOut,
    deep: bool,
    pool: Workers | None,
) -> tuple[list[Report], LeftOut]:
    """Leave out what is broken and look again, until nothing is or nothing can be left out."""
    # the first N are the first N whole ones
    every = replace(flags, max_episodes=0)
    while True:
        found = frozenset((report.root, index) for report in reports for index in _broken(report))
        if found <= left_out:
            break
        left_out |= found
        reports = [check_apart(report.root, every, left_out, pool, deep=deep) for report in reports]
    for root, indices in _by_dataset(left_out):
        logger.warning(
            "--only_whole_episodes leaves out %d episodes of %s: %s",
            len(indices),
            root,
            ", ".join(map(str, indices)),
        )
    for report in reports:
        report.findings = [_tolerated(report, finding) for finding in report.findings]
    return reports, left_out


def _broken(report: Report) -> Iterator[int]:
    """The episodes that the errors are of: those named, else all in the file named."""
    for finding in report.errors:
        if finding.episode is not None:
            yield finding.episode
        else:
            yield from report.users.get(finding.where, ())


def _tolerated(report: Report, finding: Finding) -> Finding:
    """An error that only reports what was lost, as a warning."""
    where = Path(finding.where)
    lost = any(where.is_relative_to(report.root / folder) for folder in _LOST)
    if lost or finding.code in _LISTS:
        return replace(finding, severity=WARNING)
    return finding


def _by_dataset(left_out: LeftOut) -> Iterable[tuple[Path, list[int]]]:
    for root in sorted({root for root, _ in left_out}):
        yield root, sorted(index for other, index in left_out if other == root)
