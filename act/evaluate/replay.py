"""Open-loop replay: an episode is executed as a robot would, on the recorded observations.

T time steps   K chunk   A action dims
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from act.evaluate.bootstrap import interval
from act.evaluate.errors import Array, Scale, dim_errors
from act.evaluate.grippers import Events, count_events
from act.load.execution import Execution, OpenLoop, TemporalEnsembling
from episodes.arrays import FloatArray
from job.sections.evaluation import Replay


@dataclass(frozen=True)
class Way:
    """A way of executing chunks."""

    horizon: int | None  # None: temporal ensembling
    weight: float | None = None

    def execution(self) -> Execution:
        """As `load_policy` executes them."""
        if self.horizon is not None:
            return OpenLoop(self.horizon)
        assert self.weight is not None
        return TemporalEnsembling(self.weight)


@dataclass(frozen=True)
class Replayed:
    """An episode: what was executed, and what was demonstrated for the same time steps."""

    executed: FloatArray  # (T, A)
    demonstrated: FloatArray  # (T, A)


Replays = dict[Way, list[Replayed]]  # the episodes, in each way of execution


def ways(chunk_size: int, stride: int, weight: float) -> list[Way]:
    """Those that can be replayed where the policy was asked at every `stride`-th time step.

    A chunk, half and a quarter of one, every step, and temporal ensembling; weight: of the last
    """
    horizons = dict.fromkeys((chunk_size, chunk_size // 2, chunk_size // 4, 1))
    found = [Way(horizon) for horizon in horizons if horizon and horizon % stride == 0]
    return [*found, Way(None, weight)] if stride == 1 else found


def executed(way: Way, chunks: FloatArray, stride: int, length: int) -> FloatArray:
    """What is executed (T, A) of the chunks (N, K, A) of every `stride`-th time step."""
    execution = way.execution()
    return np.stack([execution.step(lambda: chunks[t // stride]) for t in range(length)])  # noqa: B023


def replay_section(
    way: Way, episodes: Sequence[Replayed], scale: Scale, grippers: Events | None
) -> Replay:
    """The section of a way of execution."""
    errors = [np.abs(one.executed.astype(np.float64) - one.demonstrated) for one in episodes]
    together = np.concatenate(errors)
    return Replay(
        mode="temporal_ensembling" if way.horizon is None else "open_loop",
        horizon=way.horizon,
        ensembling_weight=way.weight,
        mae_in_std=interval(np.array([(error / scale.std).mean() for error in errors])),
        dims=dim_errors(together.mean(axis=0), (together**2).mean(axis=0), scale),
        jump_in_std=_mean([_jumps(one.executed, way.horizon, scale) for one in episodes]),
        demonstrated_step_in_std=_mean([_steps(one.demonstrated, scale) for one in episodes]) or 0,
        jerk_ratio=_jerk_ratio(episodes, scale),
        grippers=None if grippers is None else count_events(episodes, grippers),
    )


def _steps(actions: FloatArray, scale: Scale) -> Array:
    """How far each action is from the one before, (T - 1,), the mean of dims."""
    steps: Array = (np.abs(np.diff(actions.astype(np.float64), axis=0)) / scale.std).mean(axis=1)
    return steps


def _jumps(actions: FloatArray, horizon: int | None, scale: Scale) -> Array:
    """The steps from the last action of a chunk to the first of the next one."""
    return _steps(actions, scale)[horizon - 1 :: horizon] if horizon else np.zeros(0)


def _mean(parts: Sequence[Array]) -> float | None:
    together = np.concatenate(parts)
    return float(together.mean()) if len(together) else None


def _jerk_ratio(episodes: Sequence[Replayed], scale: Scale) -> float:
    found, expected = (
        sum(_jerk(one, scale) for one in side)
        for side in zip(*((one.executed, one.demonstrated) for one in episodes), strict=True)
    )
    return found / expected if expected else 1.0 if not found else float(_MOST)


_MOST = 1000  # of a ratio whose other side does not move at all


def _jerk(actions: FloatArray, scale: Scale) -> float:
    """The sum of absolute third differences, in standard deviations."""
    return float((np.abs(np.diff(actions.astype(np.float64), 3, axis=0)) / scale.std).sum())
