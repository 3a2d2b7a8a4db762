"""Bounds of values: each returns what was expected, or None when the value is fine."""

import math
import re
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], str | None]  # what was expected, or None when the value is fine

_MOST = 10**9  # of whole numbers: steps, seconds; what is beyond overflows somewhere
_LONGEST_NAME = 200  # file systems take 255 bytes, and other names are made of it
_FILE_NAME = re.compile(r"[A-Za-z0-9._-]+")
_MAX_SEED = 2**32 - 1


def usual_number(value: float) -> str | None:
    """A number that is finite, and no integer so large that it overflows somewhere."""
    if isinstance(value, int):
        return None if value <= _MOST else f"{_MOST} or less"
    return None if math.isfinite(value) else "a finite number"


def at_least(low: float) -> Check:
    """A usual number of `low` or more."""
    return lambda value: usual_number(value) or (None if value >= low else f"{low} or more")


def above(low: float) -> Check:
    """A usual number above `low`."""
    return lambda value: usual_number(value) or (None if value > low else f"above {low}")


def between(low: int, high: int) -> Check:
    """A number of `low` to `high`, both included."""
    return lambda value: None if low <= value <= high else f"{low} to {high}"


def fraction(value: float) -> str | None:
    """A part of a whole that is not all of it."""
    return None if 0 <= value < 1 else "0 or more and below 1"


def percent(value: int) -> str | None:
    """A whole number of percent, not 0."""
    return None if 1 <= value <= 100 else "1 to 100"


def seed(value: int) -> str | None:
    """A seed of NumPy."""
    return None if 0 <= value <= _MAX_SEED else f"0 to {_MAX_SEED}"


def file_name(value: str) -> str | None:
    """A name that every file system takes."""
    if _FILE_NAME.fullmatch(value) and value.strip(".") and len(value) <= _LONGEST_NAME:
        return None
    return f"letters, digits, '.', '_' and '-' only, not dots alone, at most {_LONGEST_NAME}"


def some_text(value: str) -> str | None:
    """A text that is not blank."""
    return None if value.strip() and value.isprintable() else "a name"


def distinct(value: tuple[str, ...]) -> str | None:
    """Names that differ."""
    return None if all(value) and len(set(value)) == len(value) else "names that differ"


def link_names(value: tuple[str, ...]) -> str | None:
    """Names that differ and that HDF5 takes as links."""
    fine = all(re.fullmatch(r"[^/\0]+", name) and name.strip(".") for name in value)
    return distinct(value) if fine else "names without '/', as HDF5 links need"
