"""A closer look at one checkpoint: inputs spoiled, attention, distance from training."""

import numpy as np
from numpy.typing import NDArray

from act.evaluate.attention import Attended, attended
from act.evaluate.budget import Budget
from act.evaluate.distance import distance
from act.evaluate.errors import Scale
from act.evaluate.evaluation import Looked
from act.evaluate.look import Seen, fitting_count, look, observations
from act.evaluate.predictions import Asker
from act.load.torch_backend import TorchBackend

_DRAWN = 2  # observations whose attention is drawn


def look_closer(asker: Asker, scale: Scale, budget: Budget) -> Looked:
    """All of it, on as many observations as the time allows; nothing where that is too short."""
    cameras = len(asker.contract.cameras)
    count = fitting_count(cameras, asker.seconds_each(budget), budget.left_s)
    if not count:
        return Looked()
    seen = observations(asker, count)
    at = _attended(asker, seen)
    return Looked(
        look(asker, scale, seen, at.shares() if at else None), distance(asker), _arrays(at)
    )


def _attended(asker: Asker, seen: Seen) -> Attended | None:
    """Of a few observations: the largest attention weights take much memory."""
    if not isinstance(asker.backend, TorchBackend):
        return None
    few = np.unique(np.linspace(0, len(seen.state) - 1, 8).astype(int))
    images = None if seen.images is None else seen.images[few]
    env_state = None if seen.env_state is None else seen.env_state[few]
    return attended(asker.backend, seen.state[few], images, env_state)


def _arrays(at: Attended | None) -> dict[str, NDArray[np.generic]]:
    """attention_I (N, h, w) and attended_I (N, H, W, 3) of each camera I, for the report."""
    if at is None or at.images is None:
        return {}
    maps, found = at.maps(), dict[str, NDArray[np.generic]]()
    shown = np.linspace(0, len(maps) - 1, _DRAWN + 2).astype(int)[1:-1]
    for camera in range(len(at.cameras)):
        found[f"attention_{camera}"] = maps[shown, camera].astype(np.float32)
        found[f"attended_{camera}"] = at.images[shown, camera]
    return found
