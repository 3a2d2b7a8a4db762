"""What the episodes of a dataset take of one video file, in frames of the file's rate."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class FileUse:
    """What an episode takes of a video file, in frames of the file's rate."""

    episode: int
    first: int
    rows: int  # frames in the time of its rows
    window: int | None  # as in VideoSpan

    @property
    def end(self) -> int:
        """The frame after those that are its own."""
        return self.first + (self.rows if self.window is None else min(self.rows, self.window))


class FileUses:
    """What all episodes of a dataset take of one video file, in frames of its rate."""

    def __init__(self, uses: Iterable[FileUse]) -> None:
        self._uses = sorted(uses, key=lambda use: use.first)
        self._firsts = [use.first for use in self._uses]
        # up to each, the one that ends last: windows that overlap may lie in each other
        self._longest = list[FileUse](accumulate(self._uses, _later))
        self.end = max(
            use.first + (use.rows if use.window is None else use.window) for use in self._uses
        )
        self.first = self._firsts[0]
        self.is_shared = self._uses[0].window is not None  # v3: metadata say where episodes lie

    def __len__(self) -> int:
        return len(self._uses)

    def next_first(self, first: int) -> int | None:
        """Where the next episode begins after that which begins at `first`."""
        at = bisect_right(self._firsts, first)
        return self._firsts[at] if at < len(self._firsts) else None

    def overlapping(self, use: FileUse) -> FileUse | None:
        """Another episode that takes a frame of this one's."""
        at = self._uses.index(use, bisect_left(self._firsts, use.first))
        before = self._longest[at - 1] if at else None
        after = self._uses[at + 1] if at + 1 < len(self._uses) else None
        if before is not None and before.end > use.first:
            return before
        return after if after is not None and after.first < use.end else None


def _later(one: FileUse, other: FileUse) -> FileUse:
    return max(one, other, key=lambda use: use.end)
