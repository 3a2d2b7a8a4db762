"""docs/check.md, made from the table of codes in job/codes.py."""

from collections.abc import Mapping

from job.codes import BUG, DATASET, FINDINGS, JOB_WARNINGS, WARNINGS
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
_ESTIMATES = """
## What the data say

`check` and the plan of a job estimate four things over the chosen episodes, from state and action
alone. `check --json` has them in `facts` (where state and action can be read), the manifest in
[estimates](manifest.md#estimates), with the same names. They are figures to judge by: nothing in a
job depends on them.

* `lag`: by how many steps the state follows the action, the peak of the cross-correlation of their
  changes over lags of up to a second. Dims are matched by name, else by position where the widths
  agree; those without a clear correlation are left out.
  [formats.md](formats.md#the-action-shift) says which `--sim` fits. It is unknown, with the reason,
  where nothing moves or no peak is clear: too few steps, periodic motion, actions that are speeds.
* `chunk`: the lag at which the autocorrelation falls below 0.5, median over the dims that move: of
  the changes of the action, and of the action itself, which LeRobot's visualizer suggests as the
  length of a chunk. Upstream trains with 100 steps at 50 fps, more than either here.
* `jumps`: dims that change by more than a gripper's range from one step to the next. A gripper may
  close at once; an angle that wraps, or a glitch, is more.
* `idle`: the share of frames at the start and at the end of episodes in which no dim moves by more
  than 2 % of its range.

On 2026-11-27, with `check --sim true --state_dim 0`; no dim jumps, `--sim true` fits the first two:

| dataset | lag | chunk | idle at the end |
| --- | --- | --- | --- |
| `aloha_sim_cube50_v30`, 50 fps | 1.5 steps, 30 ms | 17 and 44 steps | 0.8 % |
| `tests/data/aloha_sim_v30`, 10 fps | 0.3 steps, 27 ms | 4 and 8 steps | 0.0 % |
| `tests/data/lerobot`, made-up motion | unknown | 2 to 3 steps | 0.0 % |
"""
_JOB_WARNINGS = """
## Warnings about the machine

The job continues. The message and the manifest say what is weaker there.
"""
_FINDINGS = """
## What a report finds

[report.md](report.md#what-the-curves-and-errors-show) has the thresholds.
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
    warnings = _WARNINGS + _table(WARNINGS) + _JOB_WARNINGS + _table(JOB_WARNINGS)
    found = _FINDINGS + _table(FINDINGS)
    return _START + _table(DATASET) + warnings + _ESTIMATES + found + _OTHERS + ends


def _table(codes: Mapping[str, str]) -> str:
    rows = "".join(f"| `{code}` | {meaning} |\n" for code, meaning in codes.items())
    return "\n| code | meaning |\n| --- | --- |\n" + rows
