"""The YAML of our examples: blocks of maps and lists, with scalars and maps on one line in them.

A parser of all YAML would be one more package for two files. What it does not know it refuses.
"""

import json
import re
from typing import Any

Lines = list[tuple[int, str]]  # how far each is indented, and what it says

_COMMENT = re.compile(r"(^|\s)#.*")
_ENTRY = re.compile(r"([\w./-]+):(?: +(.*))?")
_WORD = re.compile(r"\"[^\"]*\"|[^\s\[\]{},:\"]+")


def documents(text: str) -> list[Any]:
    """The documents of a file, as `yaml.safe_load_all` gives them."""
    return [_block(_lines(part)) for part in re.split(r"^---$", text, flags=re.MULTILINE)]


def _lines(text: str) -> Lines:
    plain = [_COMMENT.sub("", line).rstrip() for line in text.splitlines()]
    return [(len(line) - len(line.lstrip()), line.strip()) for line in plain if line]


def _block(lines: Lines) -> Any:
    """The map or list that all of these lines are; a single line may be a value."""
    starts = [number for number, (indent, _) in enumerate(lines) if indent == lines[0][0]]
    parts = [lines[a:b] for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    if lines[0][1].startswith("- "):
        return [_block([(part[0][0] + 2, part[0][1][2:]), *part[1:]]) for part in parts]
    if not _ENTRY.fullmatch(lines[0][1]):
        assert len(lines) == 1, lines
        return _value(lines[0][1])
    return dict(map(_entry, parts))


def _entry(lines: Lines) -> tuple[str, Any]:
    found = _ENTRY.fullmatch(lines[0][1])
    assert found, lines[0]
    if found[2] is None:
        return found[1], _block(lines[1:])
    assert len(lines) == 1, lines
    return found[1], _value(found[2])


def _value(text: str) -> Any:
    """A scalar, or a map or list on one line, which is JSON but for the quotes."""
    if text[0] in "[{":
        return json.loads(_WORD.sub(lambda found: json.dumps(_scalar(found[0])), text))
    return _scalar(text)


def _scalar(text: str) -> Any:
    if text in ("true", "false") or text.isdigit() or text.startswith('"'):
        return json.loads(text)
    return text
