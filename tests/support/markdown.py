"""What stands in a page of documentation: code blocks, links, headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code; `reason` says why it is not run, where somebody wrote that."""

    language: str
    text: str
    reason: str | None

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


@dataclass(frozen=True)
class Page:
    """One page, by its file."""

    path: Path

    @property
    def text(self) -> str:
        """The page as it stands."""
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The page without its blocks of code."""
        return _BLOCK.sub("", self.text)

    @property
    def blocks(self) -> list[Block]:
        """Its fenced blocks, in order."""
        return [
            Block(found["language"], found["text"], found["reason"])
            for found in _BLOCK.finditer(self.text)
        ]

    @property
    def anchors(self) -> set[str]:
        """What a link may name after `#`, as GitHub makes it from the headings."""
        return {_slug(heading) for heading in _HEADING.findall(self.prose)}

    def links(self) -> Iterator[tuple[Path, str]]:
        """Each link to a file of the repository: the file, and the anchor or ''."""
        for found in _LINK.finditer(self.prose):
            target, _, anchor = (found[1] or found[2]).partition("#")
            if not target.startswith(("http:", "https:", "mailto:")):
                yield (self.path.parent / target if target else self.path), anchor


def _slug(heading: str) -> str:
    words = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return words.replace(" ", "-")
