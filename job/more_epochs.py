"""Whether a finished run can be given more epochs, as if it had been longer from the start."""

from typing import Literal


def flag_against_more_epochs(
    lr_schedule: str, has_state: bool
) -> Literal["lr_schedule", "keep_state", None]:
    """The flag that forbids it; None where nothing does.

    lr_schedule: one that is not constant ended with the run
    has_state: whether the run's state is still there
    """
    if lr_schedule != "constant":
        return "lr_schedule"
    return None if has_state else "keep_state"
