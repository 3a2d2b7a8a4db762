"""Words of messages."""


def counted(count: int, what: str) -> str:
    """A number of things, `what` being one of them: 1 episode, 2,000 episodes."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")
