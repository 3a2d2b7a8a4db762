"""The command line of `simulate RUN`."""

from dataclasses import dataclass

from act.simulate.flags import SimulateFlags
from job.target_command import TargetCommand


@dataclass(frozen=True, kw_only=True)
class SimulateCommand(SimulateFlags):
    """The flags of `simulate`, and what it simulates."""

    run: str = ""  # its name, or a path


SIMULATE = TargetCommand(
    "simulate",
    SimulateCommand,
    "How often a run's policy succeeds in a simulator, with intervals: "
    "simulation_<env>.json, upstream's result file and videos in the run's folder.",
    "--env aloha_transfer_cube|aloha_insertion|module:factory [FLAG VALUE …]",
    "Exit codes: 0 done, 2 a wrong command, 4 output, disk or memory, 75 interrupted.",
    shown="Name of a run below --output, or the path of its folder or of a .ckpt in it.",
    limits_threads=False,  # each of its processes takes one
)
