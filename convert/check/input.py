"""What is found of an input as a whole, not of one of its datasets."""

from convert.findings import Finding, warning
from convert.flags import DataFlags
from convert.input_kind import unread_folders


def findings_of_input(flags: DataFlags) -> list[Finding]:
    """Warnings of an input of LeRobot datasets, for the report on the first one."""
    return unread_folders(flags.folders) + _shift(flags)


def _shift(flags: DataFlags) -> list[Finding]:
    """LeRobot stores action[t] with observation[t], so that sim=False must be known."""
    if flags.sim != "auto" or flags.is_sim:
        return []
    what = (
        f"--sim auto writes sim=False for the task {flags.task_name!r}, so ACT trains on "
        f"action[t-1], upstream's shift for real robots; --sim true trains on action[t]"
    )
    return [warning("sim-shift", flags.folders[0], what)]
