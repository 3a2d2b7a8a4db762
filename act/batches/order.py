"""Which time steps an epoch visits, in which order.

Everything random here is a pure function of (seed, epoch), so a run can resume at any epoch and
any number of processes sees the same order. B batch. Source of the rules: upstream's utils.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from act.batches.shares import Shares
from episodes.arrays import IntArray

if TYPE_CHECKING:  # a policy that is loaded on a robot needs no h5py
    from episodes.episode_set import Episodes


class Purpose(IntEnum):
    """What a stream of random numbers is for, so that no two uses share one."""

    TRAIN_ORDER = 0
    VAL_ORDER = 1
    TRAIN_LATENT = 2
    VAL_LATENT = 3
    AUGMENTATION = 4
    BATCH_NORM = 5


def rng(seed: int, epoch: int, purpose: Purpose) -> np.random.Generator:
    """The random numbers of one epoch for one purpose."""
    return np.random.default_rng([seed, epoch, purpose])


@dataclass(frozen=True)
class Order:
    """Samples in order, of an epoch or a part of it: which episode, from which time step."""

    episode: IntArray  # (B,)
    start_ts: IntArray  # (B,)


def epoch_order(
    chosen: Sequence[int],
    lengths: Sequence[int],
    seed: int,
    epoch: int,
    purpose: Purpose,
    each: int = 1,
    shares: Shares | None = None,
) -> Order:
    """Random time steps of the chosen episodes, shuffled.

    each: of an episode, upstream's is 1
    shares: of datasets in the samples; None: each episode counts alike
    """
    random = rng(seed, epoch, purpose)
    if shares is None:
        episode = random.permutation(np.repeat(np.asarray(chosen, dtype=np.int64), each))
    else:
        episode = shares.draw(chosen, len(chosen) * each, epoch, random)
    return Order(episode, random.integers(0, np.asarray(lengths, dtype=np.int64)[episode]))


def first_action(episodes: "Episodes", order: Order) -> IntArray:
    """The time step whose action answers each sample's observation first: (B,).

    With recordings of real robots (`sim` False) upstream starts one step earlier.
    """
    earlier = np.asarray([not episodes.is_sim(episode) for episode in order.episode])
    return np.maximum(0, order.start_ts - earlier)
