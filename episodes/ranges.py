"""Which episodes: ranges of their numbers."""

import re
from collections.abc import Sequence

RANGES = "episode numbers and half-open ranges, like 0:40,55"
_RANGE = re.compile(r"(\d{1,9})(?::(\d{1,9}))?")


def parse_ranges(text: str) -> tuple[range, ...]:
    """`0:40,55` as ranges: 0 to 39, and 55; `all` and `none` as ().

    Raises ValueError for anything else, with what was expected.
    """
    if text in ("all", "none"):
        return ()
    ranges = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first = int(match[1]) if match else 0
        end = int(match[2] or first + 1) if match else 0
        if end <= first:
            raise ValueError(RANGES)
        ranges.append(range(first, end))
    return tuple(ranges)


def as_ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as `parse_ranges` reads them."""
    parts: list[range] = []
    for number in numbers:
        if parts and parts[-1].stop == number:
            parts[-1] = range(parts[-1].start, number + 1)
        else:
            parts.append(range(number, number + 1))
    return ",".join(f"{p.start}:{p.stop}" if len(p) > 1 else str(p.start) for p in parts)


def chosen(number: int, only: Sequence[range], without: Sequence[range]) -> bool:
    """Whether an episode is asked for: in `only` (or that is empty) and not in `without`."""
    wanted = not only or any(number in part for part in only)
    return wanted and not any(number in part for part in without)
