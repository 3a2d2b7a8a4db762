"""Which version of this project runs; imports nothing heavy."""

import os
import subprocess
from pathlib import Path

VERSION = "0.1.0"  # here and nowhere else: pyproject.toml reads it
COMMIT_VARIABLE = "LEROBOT_TO_ACT_COMMIT"  # the image has no .git; its build sets this

_CHECKOUT = Path(__file__).resolve().parent.parent


def commit() -> str | None:
    """The git commit of this code in hex, None where it is not known (an installed wheel)."""
    if given := os.environ.get(COMMIT_VARIABLE):
        return given
    if not (_CHECKOUT / ".git").exists():
        return None
    ask = ["git", "-C", str(_CHECKOUT), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(ask, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):  # no git here
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def shown_version() -> str:
    """The version as `--version` prints it."""
    known = commit()
    return f"lerobot-to-act {VERSION}" + (f" (commit {known[:12]})" if known else "")
