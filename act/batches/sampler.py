"""Which samples make up each step, and who computes them.

B batch   C cameras
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from act.batches.augmentation import Augmentation
from act.batches.order import Order, Purpose, epoch_order, first_action, rng
from act.batches.shares import Shares
from episodes.arrays import FloatArray, IntArray
from episodes.episode_set import Episodes


@dataclass(frozen=True)
class Part:
    """What one process computes at once of one step: the whole step, where it is alone."""

    order: Order  # never empty: with nothing to do, a sample that counts for nothing
    eps: FloatArray  # (B, latent) for the latent sample
    # (2,): 1 / samples and 1 / valid time steps of the step; 0 where nothing counts
    loss_weights: FloatArray
    augment: FloatArray | None  # (B, C, 7), see act/batches/augmentation.py
    step_samples: int  # of all processes
    ends_step: bool  # of this process; the parts of a step that is accumulated follow each other


@dataclass(frozen=True)
class Sampler:
    """Which samples make up each step, on which process: a pure function of (seed, epoch).

    A step has the same samples, noise and changes of images whatever the number of processes.
    """

    episodes: Episodes
    seed: int
    chunk_size: int
    latent_dim: int
    batch_size: int  # of a step, all processes together
    rank: int = 0
    processes: int = 1
    accumulate: int = 1
    samples_per_episode: int = 1  # of an epoch of training; validation takes one
    augmentation: Augmentation = field(default_factory=Augmentation)
    shares: Shares | None = None  # of datasets in the samples of training

    def parts(
        self, chosen: Sequence[int], epoch: int, train: bool, done: int = 0
    ) -> Iterator[Part]:
        """What this process computes in one pass over the chosen episodes, in order.

        done: samples of the pass that were computed before, by any number of processes
        """
        orders, latents = (
            (Purpose.TRAIN_ORDER, Purpose.TRAIN_LATENT)
            if train
            else (Purpose.VAL_ORDER, Purpose.VAL_LATENT)
        )
        each = self.samples_per_episode if train else 1
        shares = self.shares if train else None
        order = epoch_order(chosen, self.episodes.lengths, self.seed, epoch, orders, each, shares)
        count = len(order.episode)
        noise = rng(self.seed, epoch, latents)
        eps = noise.standard_normal((count, self.latent_dim), np.float32)
        augment = self._augment(epoch, count) if train else None
        valid = self._valid_steps(order)
        for first in range(done, count, self.batch_size):
            step = np.arange(first, min(first + self.batch_size, count))
            loss_weights = np.array([1 / len(step), 1 / valid[step].sum()], np.float32)
            mine = step[self.rank :: self.processes]
            if not len(mine):
                mine, loss_weights = step[:1], np.zeros(2, np.float32)
            pieces = np.array_split(mine, min(self.accumulate if train else 1, len(mine)))
            for place, piece in enumerate(pieces, start=1):
                yield Part(
                    Order(order.episode[piece], order.start_ts[piece]),
                    eps[piece],
                    loss_weights,
                    None if augment is None else augment[piece],
                    step_samples=len(step),
                    ends_step=place == len(pieces),
                )

    def _augment(self, epoch: int, count: int) -> FloatArray | None:
        if not self.augmentation.is_active:
            return None
        random = rng(self.seed, epoch, Purpose.AUGMENTATION)
        return self.augmentation.draw(random, count, len(self.episodes.camera_names))

    def _valid_steps(self, order: Order) -> IntArray:
        """How many steps of each sample's chunk are not padding."""
        lengths = np.asarray(self.episodes.lengths, np.int64)[order.episode]
        return np.minimum(self.chunk_size, lengths - first_action(self.episodes, order))
