"""docs/check.md, made from the table of codes in job/codes.py."""

from collections.abc import Mapping

from job.codes import BUG, DATASET, WARNINGS
from job.errors import (
    EXIT_BUG,
    AlreadyDone,
    DivergedError,
    Interrupted,
    OutputError,
    UsageError,
)

_START = """# Codes

Each error and each warning has a code. It stays when the wording of the message changes, so
programs should read the code: in `check --json`, and as `code` in the manifest. This page is
generated from `job/codes.py`.

## Errors in a dataset

`check` reports them, and a job that meets one ends with exit code 3. `--only_whole_episodes` leaves
out the episodes that have one.
"""
_WARNINGS = """
## Warnings about a dataset

The conversion and the training continue. `check` exits with 0 when there is nothing worse.
"""
_OTHERS = """
## Other codes of a job

[resume-and-faults.md](resume-and-faults.md#exit-codes) explains the exit codes.
"""


def page() -> str:
    """docs/check.md: what can be wrong with a dataset, then what else can end a job."""
    kinds = (UsageError, OutputError, DivergedError, Interrupted, AlreadyDone)
    others = [*((kind.exit_code, kind.codes) for kind in kinds), (EXIT_BUG, BUG)]
    rows = [
        f"| `{code}` | {exit_code} | {meaning} |\n"
        for exit_code, codes in others
        for code, meaning in codes.items()
    ]
    ends = "\n| code | exit code | meaning |\n| --- | --- | --- |\n" + "".join(rows)
    return _START + _table(DATASET) + _WARNINGS + _table(WARNINGS) + _OTHERS + ends


def _table(codes: Mapping[str, str]) -> str:
    rows = "".join(f"| `{code}` | {meaning} |\n" for code, meaning in codes.items())
    return "\n| code | meaning |\n| --- | --- |\n" + rows
