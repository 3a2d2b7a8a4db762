"""Chooses the checkpoint that `load_policy` is to use, how to execute it, and says why."""

from collections.abc import Sequence

from job.sections.contract import Contract
from job.sections.evaluation import CheckpointErrors, Recommendation, Replay

_WORSE = 1.1  # times the lowest error: a longer horizon may cost so much
_MUCH = 0.67  # of that horizon's error: ensembling has to be so much better


def choose_checkpoint(checkpoints: Sequence[CheckpointErrors]) -> CheckpointErrors:
    """Of those that cannot be told from the lowest: averaged weights, else the latest epoch.

    Rates in simulation rise long after errors have stopped to fall, and those of neighbouring
    checkpoints differ by chance, which averages do less. Where episodes are too few for an
    interval, the lowest.
    """
    lowest = checkpoints[0]
    if lowest.errors.mae_in_std.low is None:
        return lowest
    alike = [one for one in checkpoints if not one.distinguishable]
    return max(
        alike, key=lambda one: (one.name == "average", -1 if one.epoch is None else one.epoch)
    )


def choose_way(replays: Sequence[Replay]) -> Replay:
    """The longest horizon in open loop whose error is at most a tenth above the lowest of them, or
    ensembling where its error is a third lower still.

    Recorded observations favour short horizons and ensembling, as they are never off course: so
    neither is chosen for a small gain.
    """
    open_loop = [one for one in replays if one.horizon is not None]
    lowest = min(one.mae_in_std.mean for one in open_loop)
    near = [one for one in open_loop if one.mae_in_std.mean <= _WORSE * lowest]
    longest = max(near, key=lambda one: one.horizon or 0)
    much_better = _MUCH * longest.mae_in_std.mean
    ensembled = [one for one in replays if one.horizon is None]
    return next((one for one in ensembled if one.mae_in_std.mean < much_better), longest)


def recommendation(
    checkpoints: Sequence[CheckpointErrors],
    best: CheckpointErrors,
    replays: Sequence[Replay],
    way: Replay,
    contract: Contract,
) -> Recommendation:
    """The section: of `best` among the checkpoints, executed in this way among those replayed."""
    shown = "with temporal ensembling"
    if way.horizon is not None:
        shown = f"with {way.horizon} actions of each chunk"
    return Recommendation(
        checkpoint=best.name,
        file=best.file,
        mode=way.mode,
        horizon=way.horizon or contract.action.chunk_size,
        ensembling_weight=contract.execution.ensembling_weight,
        reason=f"error {best.errors.mae_in_std.mean:.3f} of a standard deviation over whole "
        f"chunks, {_why_checkpoint(checkpoints, best)}; {way.mae_in_std.mean:.3f} in replay "
        f"{shown}, {_why_way(replays, way)}",
    )


def _why_checkpoint(checkpoints: Sequence[CheckpointErrors], chosen: CheckpointErrors) -> str:
    if len(checkpoints) == 1:
        return "the only checkpoint that was evaluated"
    if checkpoints[0].errors.mae_in_std.low is None:
        return "the lowest, though so few episodes cannot tell checkpoints apart"
    alike = sum(not one.distinguishable for one in checkpoints)
    if alike == 1:
        return "lower than that of every other checkpoint"
    which = "the averaged weights" if chosen.name == "average" else "the latest"
    return f"{which} of {alike} checkpoints that cannot be told from the lowest"


def _why_way(replays: Sequence[Replay], chosen: Replay) -> str:
    if len(replays) == 1:
        return "the only way that was tried"
    if chosen.horizon is None:
        return "at least a third lower than in open loop"
    return "the longest horizon whose error is at most a tenth above the lowest"
