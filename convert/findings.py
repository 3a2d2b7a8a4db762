"""What a look at a dataset finds: one record per problem, and the report made of them.

Reading strictly and checking are one implementation: what may meet several problems gives each to
an `Add`. `refuse` makes the first error an exception; a check collects them all.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.estimate_lines import lines
from job import codes
from job.errors import DatasetError, JobError, OutputError, UsageError

if TYPE_CHECKING:
    from job.sections.estimates import Estimates

ERROR, WARNING = "error", "warning"
FORMAT = 1  # of the JSON; raised when a field changes its meaning
_SHOWN = 5  # places of a repeated finding


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    code: str  # stable, for machines
    severity: str  # ERROR: cannot be converted or would teach the wrong thing; else WARNING
    where: str  # the file or folder
    message: str  # one line: where, found, expected, what to do
    episode: int | None = None
    camera: str | None = None


Add = Callable[[Finding], None]


def error(
    code: str, where: Path, what: str, *, episode: int | None = None, camera: str | None = None
) -> Finding:
    """An error; `what` follows the place in the message."""
    return _finding(ERROR, code, where, what, episode, camera)


def warning(
    code: str, where: Path, what: str, *, episode: int | None = None, camera: str | None = None
) -> Finding:
    """A warning; `what` follows the place in the message."""
    return _finding(WARNING, code, where, what, episode, camera)


def _finding(
    severity: str, code: str, where: Path, what: str, episode: int | None, camera: str | None
) -> Finding:
    known = codes.WARNINGS if severity == WARNING else codes.ERRORS
    if code not in known:
        raise ValueError(f"{code!r} is no code of an {severity} in job/codes.py")
    parts = [] if camera is None else [f"camera {camera!r}"]
    parts += [] if episode is None else [f"episode {episode}"]
    place = f"{where}: {' of '.join(parts)}: " if parts else f"{where}: "
    return Finding(code, severity, str(where), _one_line(place + what), episode, camera)


def finding_of(problem: JobError, where: Path, **named: Any) -> Finding:
    """What a strict function raised, as a finding; `where` and `named` fill what it left open."""
    given = vars(problem)
    episode, camera = given.get("episode"), given.get("camera")
    return Finding(
        problem.code,
        ERROR,
        str(given.get("where") or where),
        _one_line(str(problem)),
        episode if episode is not None else named.get("episode"),
        camera if camera is not None else named.get("camera"),
    )


def refuse(finding: Finding) -> None:
    """Raise an error, as the class that its code is of; the check has reported the warnings."""
    if finding.severity == WARNING:
        return
    for kind in (UsageError, OutputError):
        if finding.code in kind.codes:
            raise kind(finding.message, code=finding.code)
    raise DatasetError(
        finding.message,
        code=finding.code,
        where=Path(finding.where),
        episode=finding.episode,
        camera=finding.camera,
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


@dataclass
class Report:
    """Everything found in one dataset."""

    root: Path
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)  # what is so, rather than wrong
    sentences: dict[str, str] = field(default_factory=dict)  # facts that people read as these
    users: dict[str, frozenset[int]] = field(default_factory=dict)  # the episodes in a file
    seconds: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def add(self, finding: Finding) -> None:
        """Take a finding."""
        self.findings.append(finding)

    def catch(self, problem: JobError, where: Path, **named: Any) -> None:
        """Take what a strict function raised."""
        self.add(finding_of(problem, where, **named))

    def estimate(self, estimates: "Estimates") -> None:
        """Take what the data say about the training to come."""
        self.facts |= estimates.model_dump(mode="json")
        self.sentences |= lines(estimates)

    def finish(self) -> "Report":
        """Put the findings in order and stop the clock."""
        self.findings = sorted(
            dict.fromkeys(self.findings),
            key=lambda f: (f.severity, f.code, -1 if f.episode is None else f.episode, f.where),
        )
        self.seconds = time.monotonic() - self._started
        return self

    @property
    def errors(self) -> list[Finding]:
        """What must be mended."""
        return [finding for finding in self.findings if finding.severity == ERROR]

    @property
    def warnings(self) -> list[Finding]:
        """What one should know."""
        return [finding for finding in self.findings if finding.severity == WARNING]

    @property
    def verdict(self) -> str:
        """For machines: "broken" or "fine"."""
        return "broken" if self.errors else "fine"

    def text(self) -> str:
        """The report for people: facts, errors, warnings, each kind on one line, the verdict."""
        lines = [f"{'dataset':<10} {self.root}"]
        facts = {name: _plain(value) for name, value in self.facts.items()} | self.sentences
        lines += [f"{name.replace('_', ' '):<10} {text}" for name, text in facts.items()]
        for title, findings in (("ERRORS", self.errors), ("WARNINGS", self.warnings)):
            lines += ["", title] if findings else []
            lines += [f"  {line}" for line in self.summary(findings)]
        return "\n".join([*lines, "", self._verdict_line(), ""])

    def summary(self, findings: Sequence[Finding]) -> list[str]:
        """One line per code: the first message, how many there are, the next few places."""
        by_code: dict[str, list[Finding]] = {}
        for finding in findings:
            by_code.setdefault(finding.code, []).append(finding)
        return [self._line(code, same) for code, same in by_code.items()]

    def _line(self, code: str, same: list[Finding]) -> str:
        if len(same) == 1:
            return f"{code}: {same[0].message}"
        others = "; ".join(self._place(finding) for finding in same[1:_SHOWN])
        rest = f" and {len(same) - _SHOWN} more" if len(same) > _SHOWN else ""
        return f"{code} ({len(same)} times): {same[0].message} -- also: {others}{rest}"

    def _place(self, finding: Finding) -> str:
        path = Path(finding.where)
        place = str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)
        return place if finding.episode is None else f"{place} (episode {finding.episode})"

    def _verdict_line(self) -> str:
        errors, warnings = len(self.errors), len(self.warnings)
        kinds = len({finding.code for finding in self.errors})
        found = (
            f"{_count(errors, 'error')} of {_count(kinds, 'kind')}, " if errors else "no error, "
        )
        return (
            f"verdict: {self.verdict.upper()}: {found}{_count(warnings, 'warning')}; "
            f"checked in {self.seconds:.1f} s"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for machines: plain JSON values, a stable code for every finding."""
        codes = [finding.code for finding in self.findings]
        return {
            "format": FORMAT,
            "dataset": str(self.root),
            "verdict": self.verdict,
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "counts": {code: codes.count(code) for code in dict.fromkeys(codes)},
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "facts": self.facts,
            "seconds": round(self.seconds, 3),
        }


def _plain(value: Any) -> str:
    if isinstance(value, dict) and not value:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(inner) for inner in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
