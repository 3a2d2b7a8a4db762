"""Which episodes a report leaves whole, and what is to be said of those that it does not."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from convert.findings import WARNING, Finding, Report

# info.json is ahead of a list that was not finished, or the list holds what cannot be used
_LISTS = ("episode-count", "frame-count", "episode-row", "episode-twice", "episodes-unreadable")
_LOST = ("data", "videos", "meta/episodes")  # where a file may be broken without harm to others

# Advice to leave an episode out, before another one and behind it.
_BEFORE = re.compile(r"leave (?:the episode|its episodes|both) out,? or ")
_BEHIND = re.compile(
    r",? or (?:leave (?:the episode|its episodes) out"
    r"|leave out all \d+(?: of its episodes)?"
    r"|use only the episodes that are whole"
    r"|use the episodes of the other lines with --only_whole_episodes"
    r"|choose the episodes whose files are there with --episodes)$"
)
_ALONE = re.compile(r"leave (?:the episode|its episodes|it) out$")


def broken_episodes(report: Report) -> Iterator[int]:
    """The episodes that the errors are of: those named, else all in the file named."""
    for finding in report.errors:
        if finding.episode is not None:
            yield finding.episode
        else:
            yield from report.users.get(finding.where, ())


def whole_episodes(report: Report) -> list[int]:
    """The episodes that could be used without the broken ones; none where all are concerned."""
    if any(tolerated(report, f).severity != WARNING and f.episode is None for f in report.errors):
        return []
    used = {index for indices in report.users.values() for index in indices}
    return sorted(used - set(broken_episodes(report)))


def is_any_left(report: Report, left_out: frozenset[tuple[Path, int]]) -> bool:
    """Whether an episode is used that is not left out, each by its dataset and number."""
    used = {index for indices in report.users.values() for index in indices}
    return any((report.root, index) not in left_out for index in used)


def tolerated(report: Report, finding: Finding) -> Finding:
    """An error that only reports what was lost, as a warning."""
    where = Path(finding.where)
    lost = any(where.is_relative_to(report.root / folder) for folder in _LOST)
    if lost or finding.code in _LISTS:
        return replace(finding, severity=WARNING)
    return finding


def without_leaving_out(finding: Finding) -> Finding:
    """An error without the advice to leave its episode out, where none would be left."""
    message = _BEHIND.sub("", _BEFORE.sub("", finding.message))
    return replace(finding, message=_ALONE.sub("record or export the dataset again", message))
