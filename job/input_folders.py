"""Where a job may write: neither in its input, nor around it."""

from collections.abc import Sequence
from pathlib import Path

from job.errors import UsageError


def refuse_inside(
    output: Path, inputs: Sequence[Path], names: tuple[str, str] = ("--output", "--input")
) -> None:
    """The input is never written to: raise UsageError for an output that is an input or in one.

    names: the flags that named them
    """
    place = output.resolve()
    for folder in (path.resolve() for path in inputs):
        if place.is_relative_to(folder):
            raise UsageError(
                f"{names[0]} {output} is inside {names[1]} {folder}, expected another folder, as "
                f"the input is never written to",
                code="output-inside-input",
            )


def refuse_holding(written: Path, inputs: Sequence[Path]) -> None:
    """Raise UsageError for an input that is a folder which is written to, or in one."""
    place = written.resolve()
    for folder in (path.resolve() for path in inputs):
        if folder.is_relative_to(place):
            raise UsageError(
                f"--input {folder} is inside {written}, where this job writes, expected another "
                f"folder, as the input is never written to",
                code="output-inside-input",
            )
