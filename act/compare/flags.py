"""The flags of `compare`."""

from dataclasses import dataclass
from pathlib import Path

from job.flags import flag
from job.run_flags import OutputFlags


@dataclass(frozen=True, kw_only=True)
class CompareFlags(OutputFlags):
    """The command `compare`."""

    title = "compare"

    to: Path | None = flag(
        "Folder for compare.html and compare.json; none = compare/ in the output.", None
    )
