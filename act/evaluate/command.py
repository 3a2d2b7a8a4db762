"""The command line of `evaluate RUN`."""

from act.evaluate.flags import EvaluateFlags
from job.target_command import TargetCommand

EVALUATE = TargetCommand(
    "evaluate",
    EvaluateFlags,
    "A verdict on a run without a robot: its checkpoints on episodes that were held out.",
    "[FLAG VALUE …]",
    "Exit codes: 0 evaluated, 2 a wrong command, 3 the dataset is not there or broken, 4 the "
    "folder cannot be written to, 6 the verdict is no and --fail_on no was given, 75 interrupted.",
)
