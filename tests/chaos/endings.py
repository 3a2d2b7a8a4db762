"""Steps that end about when the grace of a signal does: the job and its listener end it, or both.

The process must end with 75 and its reason, and there must be a whole state to resume from. One
process alone saves what its last whole step left. Of several, each has a part of the losses, which
cannot be put together while one is in a step: what is there then is the last regular state, so
these runs write one as often as they can. (Before the first regular state there is none, and such
a run starts from its beginning.)
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from act.training.state import parse_state, read_state
from tests.chaos.small_job import Lost, Results, check_files, end_of, start
from tests.support.jobs import WHOLE_END
from tests.support.paths import SIGNALLED
from tests.support.processes import wait_for

GRACE_S = 2.0  # in place of 12: what matters is the time before and after its end
STUCK_CALL = 5  # of add_gradient
_ALONE: dict[str, Any] = {"state_interval_minutes": 30}
_PAIR: dict[str, Any] = {
    "processes": 2,
    "batch_size": 2,
    "num_epochs": 5,
    "state_interval_minutes": 0.001,
}


def endings(after_s: Sequence[float], processes: int) -> Results:
    """Stop jobs in steps that end so many seconds after the grace; gives what went wrong."""
    for seconds in after_s:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "output"
            try:
                _stop(output, GRACE_S + seconds, _ALONE if processes == 1 else _PAIR)
                _check(output, STUCK_CALL - 1 if processes == 1 else 1)
                yield None
            except Exception as lost:
                yield f"{processes} processes, a step of {seconds:+.2f} s: {lost}"


def _stop(output: Path, stuck_s: float, flags: dict[str, Any]) -> None:
    stuck = output.with_name("stuck")
    environment = WHOLE_END | {
        "PYTHONPATH": str(SIGNALLED),
        "SIGNAL_AT": "act.training.step:add_gradient",
        "SIGNAL_CALL": str(STUCK_CALL),
        "SIGNAL_RANK": "0",
        "SIGNAL_SENT": str(stuck),
        "SIGNAL_STUCK_S": str(stuck_s),
        "SIGNAL_GRACE_S": str(GRACE_S),
    }
    process = start(output, environment, **flags)
    wait_for(stuck.exists)
    process.terminate()
    shown = end_of(process, (75,), "a signal in a long step")
    if "error: SIGTERM received" not in shown:
        raise Lost(f"the reason is not shown\n{shown}")
    if "terminate called" in shown:
        raise Lost(shown)


def _check(output: Path, first_step: int) -> None:
    """There is a whole state, of `first_step` at the earliest."""
    check_files(output)
    content = read_state(output / "checkpoints/test")
    if content is None:
        raise Lost("no state")
    step = parse_state(content, output)["progress"]["step"]
    if step < first_step:
        raise Lost(f"the state is of step {step}")
