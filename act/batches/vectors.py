"""The small half of a batch: qpos, environment state and chunks of actions, normalised.

B batch   K chunk   Q qpos dims   E environment state dims   A action dims
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from act.batches.order import Order, first_action
from episodes.arrays import FloatArray
from episodes.episode_set import Episodes

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Vectors:
    """The small half of a batch: everything but the images, normalised."""

    qpos: FloatArray  # (B, Q)
    action: FloatArray  # (B, K, A)
    is_pad: BoolArray  # (B, K)
    env_state: FloatArray | None  # (B, E)


class VectorStore:
    """The qpos and actions of all episodes one after the other, normalised once."""

    def __init__(self, episodes: Episodes, stats: dict[str, FloatArray], chunk_size: int) -> None:
        self._ends = np.cumsum(episodes.lengths)
        self._firsts = self._ends - episodes.lengths
        self._episodes = episodes
        self._chunk = np.arange(chunk_size)
        self._qpos = _normalised("qpos", episodes.qpos, stats)
        env_state = episodes.env_state
        self._env_state = _normalised("env_state", env_state, stats) if env_state else None
        # padding is zeros before it is normalised, as upstream has it: the row behind all others
        padding = np.zeros((1, episodes.infos[0].action_dim), np.float32)
        self._action = _normalised("action", [*episodes.action, padding], stats)

    def gather(self, order: Order) -> Vectors:
        """The qpos at each sample's time step and the chunk of actions that answers it."""
        episode = order.episode
        first = self._firsts[episode]
        steps = (first + first_action(self._episodes, order))[:, None] + self._chunk
        is_pad = steps >= self._ends[episode][:, None]
        rows = np.where(is_pad, len(self._action) - 1, steps)
        now = first + order.start_ts
        env_state = None if self._env_state is None else self._env_state[now]
        return Vectors(self._qpos[now], self._action[rows], is_pad, env_state)


def _normalised(
    name: str, vectors: Sequence[FloatArray], stats: dict[str, FloatArray]
) -> FloatArray:
    """The vectors of all episodes one after the other, by their mean and std."""
    return (np.concatenate(vectors) - stats[f"{name}_mean"]) / stats[f"{name}_std"]
