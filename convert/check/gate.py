"""What a job checks before it converts, and which episodes it may use."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convert.check.episode_files import numbers_to_exclude
from convert.check.input import findings_of_input
from convert.check.own_process import check_apart, check_files_apart
from convert.check.whole_episodes import broken_episodes, is_any_left, tolerated, whole_episodes
from convert.findings import Finding, Report, refuse
from convert.flags import ConversionFlags, DataFlags
from convert.sources import NOTHING, LeftOut, find_datasets
from episodes.folder import choose_files
from episodes.ranges import as_ranges
from job.workers import Workers

logger = logging.getLogger("act")


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
        check_apart(root, flags, left_out, pool, deep=deep) for root in find_datasets(flags.folders)
    ]
    if flags.only_whole_episodes:
        reports, left_out = leave_out(flags, reports, left_out, pool, deep=deep)
    reports[0].findings += findings_of_input(flags)
    errors = _log(reports)
    if errors:
        _hint(flags, reports)
        refuse(errors[0])
    return left_out


def check_files(flags: ConversionFlags, folders: Sequence[Path]) -> None:
    """Check an input of episode files; logs the warnings, raises the first error."""
    reports = check_files_apart(folders, flags)
    errors = _log(reports)
    if errors:
        if numbers := numbers_to_exclude(choose_files(folders, flags), errors):
            logger.warning(
                "--exclude_episodes %s would leave out the %d broken episodes",
                as_ranges(numbers),
                len(numbers),
            )
        refuse(errors[0])
    for report in reports:
        if facts := report.facts:
            logger.info(
                "dataset    %d ALOHA episodes of %s steps, sim %s, action of %s, %s",
                *(facts["episodes"], facts["lengths"], facts["sim"]),
                *(facts["action"].partition(", ")[2], report.root),
            )


def _log(reports: Sequence[Report]) -> list[Finding]:
    """Log the warnings, and all errors but the first, which ends the job; gives the errors."""
    for report in reports:
        for line in report.summary(report.warnings):
            logger.warning("%s", line)
    lines = [line for report in reports for line in report.summary(report.errors)]
    for line in lines[1:]:
        logger.warning("also broken: %s", line)
    return [finding for report in reports for finding in report.errors]


def _hint(flags: ConversionFlags, reports: list[Report]) -> None:
    """What would leave something over, where that is so."""
    broken = sum(len(set(broken_episodes(report))) for report in reports)
    whole = [whole_episodes(report) for report in reports]
    sound = all(
        indices or not report.errors for indices, report in zip(whole, reports, strict=True)
    )
    if flags.only_whole_episodes or not broken or not sound:
        return
    choice = f"; --episodes {as_ranges(whole[0])} takes the others" if len(reports) == 1 else ""
    logger.warning("--only_whole_episodes would leave out the %d broken episodes%s", broken, choice)


def leave_out(
    flags: DataFlags,
    reports: list[Report],
    left_out: LeftOut = NOTHING,
    pool: Workers | None = None,
    **options: Any,
) -> tuple[list[Report], LeftOut]:
    """Leave out what is broken and look again, until nothing is or nothing can be left out.

    options: of each check. Where no episode would be left, the errors stay.
    """
    # the first N are the first N whole ones
    every = replace(flags, max_episodes=0)
    while True:
        found = frozenset(
            (report.root, index) for report in reports for index in broken_episodes(report)
        )
        if found <= left_out:
            break
        left_out |= found
        reports = [check_apart(report.root, every, left_out, pool, **options) for report in reports]
    by_root = {report.root: report for report in reports}
    for root, indices in _by_dataset(left_out):
        if root in by_root:  # what an earlier job noted may be of another one
            by_root[root].facts["left_out"] = as_ranges(indices)
        logger.warning(
            "--only_whole_episodes leaves out %d episodes of %s: %s",
            len(indices),
            root,
            ", ".join(map(str, indices)),
        )
    if any(is_any_left(report, left_out) for report in reports):
        for report in reports:
            report.findings = [tolerated(report, finding) for finding in report.findings]
    return reports, left_out


def _by_dataset(left_out: LeftOut) -> Iterable[tuple[Path, list[int]]]:
    for root in sorted({root for root, _ in left_out}):
        yield root, sorted(index for other, index in left_out if other == root)
