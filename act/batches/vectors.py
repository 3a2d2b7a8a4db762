"""The small half of a batch: qpos and chunks of actions, normalised.

B batch   K chunk   Q qpos dims   A action dims
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from act.batches.order import Order, first_action
from episodes.episode_set import Episodes
from episodes.reader import FloatArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Vectors:
    """The small half of a batch: everything but the images, normalised."""

    qpos: FloatArray  # (B, Q)
    action: FloatArray  # (B, K, A)
    is_pad: BoolArray  # (B, K)


class VectorStore:
    """The qpos and actions of all episodes one after the other, normalised once."""

    def __init__(self, episodes: Episodes, stats: dict[str, FloatArray], chunk_size: int) -> None:
        self._ends = np.cumsum(episodes.lengths)
        self._firsts = self._ends - episodes.lengths
        self._episodes = episodes
        self._chunk = np.arange(chunk_size)
        self._qpos = (np.concatenate(episodes.qpos) - stats["qpos_mean"]) / stats["qpos_std"]
        # padding is zeros before it is normalised, as upstream has it: the row behind all others
        padding = np.zeros((1, episodes.infos[0].action_dim), np.float32)
        action = np.concatenate([*episodes.action, padding])
        self._action = (action - stats["action_mean"]) / stats["action_std"]

    def gather(self, order: Order) -> Vectors:
        """The qpos at each sample's time step and the chunk of actions that answers it."""
        episode = order.episode
        first = self._firsts[episode]
        steps = (first + first_action(self._episodes, order))[:, None] + self._chunk
        is_pad = steps >= self._ends[episode][:, None]
        rows = np.where(is_pad, len(self._action) - 1, steps)
        return Vectors(self._qpos[first + order.start_ts], self._action[rows], is_pad)
