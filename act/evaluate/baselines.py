"""What would be predicted without looking at an image: a policy has to be better than that.

N queries   K chunk   Q state dims   A action dims
"""

from collections.abc import Sequence

import numpy as np

from act.evaluate.errors import Scale
from act.evaluate.held_out import Demonstration
from episodes.arrays import FloatArray, IntArray
from job.sections.contract import Contract
from job.sections.evaluation import Baseline


def baseline_chunks(
    demonstrated: Demonstration,
    ts: IntArray,
    size: int,
    *,
    matched: Sequence[int] | None,
    mean: FloatArray,
    lag_steps: int | None,
) -> dict[Baseline, FloatArray]:
    """The chunks (N, K, A) that each baseline predicts; one that cannot be is left out.

    matched: the dim of the state for each dim of an action; None: they do not match
    mean: the mean action (A,) of training; lag_steps: None or below 1: not known, or none
    """
    first = demonstrated.first(ts)
    before = demonstrated.action[np.maximum(0, first - 1)]  # what was executed last
    found: dict[Baseline, FloatArray] = {
        "repeat": _held(before, size),
        "mean": _held(np.broadcast_to(mean, before.shape), size),
    }
    if matched is not None:
        found["hold"] = _held(demonstrated.state[ts][:, list(matched)], size)
    if lag_steps is not None and lag_steps > 0:
        late = np.maximum(0, first[:, None] + np.arange(size) - lag_steps)
        found["shifted"] = demonstrated.action[np.minimum(late, len(demonstrated.action) - 1)]
    return found


def _held(actions: FloatArray, size: int) -> FloatArray:
    """(N, A) -> (N, K, A): one action for the whole chunk."""
    return np.repeat(actions[:, None], size, axis=1)


def matched_dims(contract: Contract, scale: Scale) -> tuple[int, ...] | None:
    """The dim of the state that each dim of an action moves: of one name, else in one place.

    None where neither fits.
    """
    state = [dim.name for dim in contract.state.dims if not dim.padding]
    places = {name: place for place, name in enumerate(state) if name is not None}
    if len(places) == len(state) and all(name in places for name in scale.names):
        return tuple(places[name] for name in scale.names if name is not None)
    return tuple(range(len(state))) if len(state) == len(scale.names) else None
