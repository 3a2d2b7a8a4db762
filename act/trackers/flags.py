"""The flags of trackers."""

from dataclasses import dataclass

from act.trackers.kinds import known_trackers
from job.flags import Flags, flag


@dataclass(frozen=True, kw_only=True)
class TrackerFlags(Flags):
    """Who else gets a run's numbers and curves."""

    title = "while it trains"

    tracker: tuple[str, ...] = flag(
        "Trackers that get losses: tensorboard, wandb, mlflow, trackio; auto = none.",
        (),
        check=known_trackers,
        same_run=True,
    )
