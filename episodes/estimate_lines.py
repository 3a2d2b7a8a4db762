"""Estimates as sentences, one line each: what the check and the plan of a training print."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pydantic takes a moment to import, in every worker of a conversion
    from job.sections.estimates import ChunkLength, Estimates, IdleEnds, Jumps, Lag

_SHOWN = 3  # dims that jump


def lines(estimates: "Estimates") -> dict[str, str]:
    """Each estimate as a sentence, by its name."""
    return {
        "lag": _lag(estimates.lag),
        "chunk": _chunk(estimates.chunk),
        "jumps": _jumps(estimates.jumps),
        "idle": _idle(estimates.idle),
    }


def _lag(lag: "Lag") -> str:
    here = f"here a chunk starts with action[{'t' if lag.sim else 't-1'}]"
    if lag.steps is None:
        return f"unknown how far the state follows the action: {lag.unknown}; {here}"
    found = f"the state follows the action by {_steps(lag.steps)}"
    if lag.steps < 0:
        found = f"the action follows the state by {_steps(-lag.steps)}"
    ms = "" if lag.ms is None else f"{abs(lag.ms):.0f} ms, "
    own = f"{lag.lowest_steps} to {lag.highest_steps}"
    if lag.lowest_steps == lag.highest_steps:
        own = f"{lag.lowest_steps}"
    source = f"{ms}{own} in {_count(lag.dims, 'dim')}, correlation {lag.correlation:.2f}"
    return f"{found} ({source}): {_fit(lag)}; {here}"


def _fit(lag: "Lag") -> str:
    if lag.fits_sim_false:
        return (
            "with --sim true and with the shift of --sim auto a chunk starts with an action still "
            "to come"
        )
    if lag.fits_sim_true:
        return (
            "--sim true fits, with the shift of --sim auto a chunk starts with an action that the "
            "state already shows"
        )
    return (
        "neither --sim true nor the shift of --sim auto fits, a chunk starts with an action that "
        "the state already shows"
    )


def _chunk(chunk: "ChunkLength") -> str:
    here = f"here a chunk has {_count(chunk.chunk_size, 'step')}"
    if not chunk.dims:
        return f"no length suggested, no dim of the action moves; {here}"
    changes = _suggested(chunk.changes_steps, chunk.changes_s)
    action = _suggested(chunk.action_steps, chunk.action_s)
    return (
        f"suggested: {changes}, where the autocorrelation of the action's changes falls below 0.5, "
        f"or {action}, where that of the action does (as LeRobot's visualizer), median of "
        f"{_count(chunk.dims, 'dim')}; {here}"
    )


def _suggested(steps: int | None, seconds: float | None) -> str:
    if steps is None:
        return "more than half an episode"
    return _steps(steps) + ("" if seconds is None else f" ({seconds:.2g} s)")


def _jumps(jumps: "Jumps") -> str:
    ranges = f"{jumps.state_range:g}"
    if jumps.action_range != jumps.state_range:
        ranges = f"{ranges} in the state, {jumps.action_range:g} in the action"
    if not jumps.dims:
        return f"no dim by more than a gripper's range ({ranges})"
    shown = [
        f"{dim.vector} {dim.name} {_count(dim.jumps, 'time')}, by up to {dim.largest:.3g} (episode "
        f"{dim.episode}, step {dim.step})"
        for dim in jumps.dims[:_SHOWN]
    ]
    more = len(jumps.dims) - len(shown)
    rest = f" and {_count(more, 'other dim')}" if more else ""
    return f"by more than a gripper's range ({ranges}): {'; '.join(shown)}{rest}"


def _idle(idle: "IdleEnds") -> str:
    if idle.start_share is None or idle.end_share is None:
        return "unknown, no dim of state or action moves"
    most = ""
    if idle.longest:
        most = f", at most {_count(idle.longest, 'frame')} (episode {idle.longest_episode})"
    return (
        f"{idle.start_share:.1%} of the frames at the start of the episodes, {idle.end_share:.1%} "
        f"at the end{most}"
    )


def _steps(steps: float) -> str:
    return f"{steps:g} step{'' if steps == 1 else 's'}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
