"""Words of messages."""

import difflib
from collections.abc import Sequence


def counted(count: int, what: str) -> str:
    """A number of things, `what` being one of them: 1 episode, 2,000 episodes."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def nearest(word: str, known: Sequence[str], what: str = "flag") -> str:
    """What is to be added to an error: the nearest of what is known, if one is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; the nearest {what} is {near[0]}" if near else ""
