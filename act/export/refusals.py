"""How `import` refuses a policy that this project's network cannot be."""

from pathlib import Path

from job.errors import UsageError


def not_ours(folder: Path, what: str, code: str) -> UsageError:
    """The error to raise. what: what was found and what was expected"""
    return UsageError(
        f"{folder}: {what}, as this project's network has nothing else; run this policy with "
        f"LeRobot",
        code=code,
    )
