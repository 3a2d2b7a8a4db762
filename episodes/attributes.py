"""Attributes of an episode file as recorders write them: text, bytes, JSON, arrays of these."""

import json
import math
import re
from typing import Any

import h5py
import numpy as np

from job.errors import DatasetError

_QUOTED = re.compile(r"""(["'])(.*?)\1""")  # the names in Python's way of writing a list
_TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def names_in(file: h5py.File, attribute: str) -> tuple[str, ...] | None:
    """The names that an attribute lists; None where there is none, or it holds no text."""
    texts = [_text(value) for value in _values(file, attribute)]
    if not texts or None in texts:
        return None
    found = [text.strip() for text in texts if text is not None]
    return tuple(_listed(found[0]) if len(found) == 1 else found)


def truth_in(file: h5py.File, attribute: str) -> bool:
    """Whether an attribute is true; False where there is none.

    Raises DatasetError where it is neither: the text "False" must not count as true.
    """
    values = _values(file, attribute)
    if not values:
        return False
    text = _text(values[0])
    shown = str(values[0]) if text is None else text
    if len(values) > 1 or shown.strip().lower() not in _TRUTHS:
        raise _refusal(file, attribute, shown, "true or false, or 1 or 0")
    return _TRUTHS[shown.strip().lower()]


def rate_in(file: h5py.File, attribute: str) -> float | None:
    """The number above 0 that an attribute holds; None where there is none.

    Raises DatasetError for anything else.
    """
    values = _values(file, attribute)
    if not values:
        return None
    shown = _text(values[0]) or values[0]
    try:
        found = float(shown)
    except (TypeError, ValueError):
        found = math.nan
    if not (math.isfinite(found) and found > 0):
        raise _refusal(file, attribute, str(shown), "a number above 0")
    return found


def _refusal(file: h5py.File, attribute: str, found: str, expected: str) -> DatasetError:
    return DatasetError(
        f"{file.filename}: the attribute {attribute} is {found!r}, expected {expected}; set it "
        f"anew in the file",
        code="episode-content",
    )


def _values(file: h5py.File, attribute: str) -> list[Any]:
    value = file.attrs.get(attribute)
    if value is None or isinstance(value, h5py.Empty):
        return []
    return list(np.asarray(value).ravel())


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value) if isinstance(value, str) else None


def _listed(text: str) -> list[str]:
    """The names in one text: a JSON list, a list as Python writes it, or separated by commas."""
    if not text.startswith(("[", "(")):
        return [name for part in text.split(",") if (name := part.strip())]
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = [match[2] for match in _QUOTED.finditer(text)]
    return [name for name in names if isinstance(name, str)]
