"""A warning of a job about what it runs on: one line, with a code that stays."""

import logging

from job.codes import JOB_WARNINGS

logger = logging.getLogger("act")


def warn(code: str, message: str) -> None:
    """Show a warning, which the manifest keeps; `code` stands in `job/codes.py`."""
    if code not in JOB_WARNINGS:
        raise ValueError(f"{code!r} is no code of a job's warning in job/codes.py")
    logger.warning("%s: %s", code, message)
