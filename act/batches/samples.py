"""Episodes to samples: the split, the statistics, and which time steps an epoch visits.

Everything random here is a pure function of (seed, epoch), so a run can go on from any epoch and
any number of processes sees the same order. N episodes, T time steps, K chunk, Q qpos and A action
dims, B batch. Source of the rules: upstream's utils.py and imitate_episodes.py.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from act.batches.augmentation import Augmentation
from episodes.reader import EpisodeInfo, FloatArray, read_info, read_vectors
from job.errors import DatasetError
from job.machine import memory_bytes

logger = logging.getLogger("act")

TRAIN_SHARE = 0.8
SPLIT_SEED = 1  # upstream's, whatever --seed says
MIN_STD = 1e-2
_VECTOR_COPIES = 3

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


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


def split_episodes(count: int) -> tuple[list[int], list[int]]:
    """Episode numbers to train and to validate on, as upstream shuffles and cuts them."""
    if count == 1:
        logger.warning(
            "ONE EPISODE: it is trained on and validated on, so the validation loss says nothing "
            "about new situations; record at least two"
        )
        return [0], [0]
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(count)
    train_count = int(TRAIN_SHARE * count)
    return shuffled[:train_count].tolist(), shuffled[train_count:].tolist()


@dataclass(frozen=True)
class Episodes:
    """All episodes of a run: the vectors in memory, the frames in their files."""

    infos: tuple[EpisodeInfo, ...]
    qpos: tuple[FloatArray, ...]  # each (T, Q)
    action: tuple[FloatArray, ...]  # each (T, A)
    camera_names: tuple[str, ...]

    @property
    def image_size(self) -> tuple[int, int]:
        """H, W of every camera."""
        return self.infos[0].image_sizes[self.camera_names[0]]

    @property
    def lengths(self) -> list[int]:
        """Time steps of each episode."""
        return [info.length for info in self.infos]


def open_episodes(paths: Sequence[Path], camera_names: Sequence[str] = ()) -> Episodes:
    """Read what training needs of the episode files, all but the frames.

    camera_names: cameras to use, in order; none = all in the first file
    Raises DatasetError where files disagree, or a camera is not there.
    """
    infos = tuple(read_info(path) for path in paths)
    names = tuple(camera_names) or tuple(infos[0].image_sizes)
    for info in infos:
        _check_like_first(info, infos[0], names)
    _check_room(infos)
    vectors = [read_vectors(path) for path in paths]
    return Episodes(infos, tuple(q for q, _ in vectors), tuple(a for _, a in vectors), names)


def _check_room(infos: Sequence[EpisodeInfo]) -> None:
    """Refuse vectors that do not fit the memory, before they take it.

    While they are normalised they are there three times: as read, joined, and in float32 arithmetic
    (`VectorStore`). A quarter is left for all else.
    """
    needed = sum(4 * info.length * (info.qpos_dim + info.action_dim) for info in infos)
    if _VECTOR_COPIES * needed > memory_bytes() * 3 // 4:
        raise DatasetError(
            f"{infos[0].path.parent}: qpos and action of {len(infos)} episodes take "
            f"{_VECTOR_COPIES * needed / 1e9:.0f} GB while they are normalised, found "
            f"{memory_bytes() / 1e9:.0f} GB of memory; give the container more, or use fewer "
            f"episodes"
        )


def _check_like_first(info: EpisodeInfo, first: EpisodeInfo, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in info.image_sizes]
    if missing or not names:
        raise DatasetError(
            f"{info.path}: camera {missing} is not in the file, which has "
            f"{list(info.image_sizes)}; choose among those with --camera_names"
        )
    sizes = {name: info.image_sizes[name] for name in names}
    wanted = first.image_sizes[names[0]]
    if any(size != wanted for size in sizes.values()):
        raise DatasetError(
            f"{info.path}: images are {sizes}, expected {wanted} in every camera and episode, as "
            f"the network joins the cameras along the width; choose cameras with --camera_names"
        )
    found = (info.qpos_dim, info.action_dim)
    if found != (first.qpos_dim, first.action_dim):
        raise DatasetError(
            f"{info.path}: qpos and action have {found} dims, expected "
            f"{(first.qpos_dim, first.action_dim)} as in {first.path.name}; do not mix robots"
        )


def norm_stats(episodes: Episodes) -> dict[str, FloatArray]:
    """Mean and unbiased std per dim over all episodes, train and val, std at least 0.01.

    returns: action_mean, action_std (A,); qpos_mean, qpos_std (Q,); example_qpos (T, Q), float32,
    which is what upstream pickles as dataset_stats.pkl
    """
    stats: dict[str, FloatArray] = {}
    for name, vectors in (("action", episodes.action), ("qpos", episodes.qpos)):
        joined = torch.from_numpy(np.concatenate(vectors))
        std = joined.std(dim=0) if len(joined) > 1 else torch.zeros(joined.shape[1])
        stats[f"{name}_mean"] = joined.mean(dim=0).numpy()
        stats[f"{name}_std"] = std.clip(min=MIN_STD).numpy()
        if not np.isfinite(stats[f"{name}_std"]).all():
            raise DatasetError(
                f"{episodes.infos[0].path.parent}: the standard deviation of {name} is "
                f"{stats[f'{name}_std'].tolist()}, expected finite numbers; some values are too "
                f"large for float32 arithmetic; leave their episodes out"
            )
    stats["example_qpos"] = episodes.qpos[-1]
    return stats


@dataclass(frozen=True)
class Order:
    """Samples in order, of an epoch or a part of it: which episode, from which time step."""

    episode: IntArray  # (B,)
    start_ts: IntArray  # (B,)


def epoch_order(
    chosen: Sequence[int], lengths: Sequence[int], seed: int, epoch: int, purpose: Purpose
) -> Order:
    """One random time step of each chosen episode, the episodes shuffled."""
    random = rng(seed, epoch, purpose)
    episode = random.permutation(np.asarray(chosen, dtype=np.int64))
    return Order(episode, random.integers(0, np.asarray(lengths, dtype=np.int64)[episode]))


@dataclass(frozen=True)
class Part:
    """What one process computes at once of one step: the whole step, where it is alone."""

    order: Order  # never empty: with nothing to do, a sample that counts for nothing
    eps: FloatArray  # (B, latent) for the latent sample
    share: FloatArray  # (2,): 1 / samples and 1 / valid time steps of the step; 0 counts nothing
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
    augmentation: Augmentation = field(default_factory=Augmentation)

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
        order = epoch_order(chosen, self.episodes.lengths, self.seed, epoch, orders)
        count = len(order.episode)
        noise = rng(self.seed, epoch, latents)
        eps = noise.standard_normal((count, self.latent_dim), np.float32)
        augment = self._augment(epoch, count) if train else None
        valid = self._valid_steps(order)
        for first in range(done, count, self.batch_size):
            step = np.arange(first, min(first + self.batch_size, count))
            share = np.array([1 / len(step), 1 / valid[step].sum()], np.float32)
            mine = step[self.rank :: self.processes]
            if not len(mine):
                mine, share = step[:1], np.zeros(2, np.float32)
            pieces = np.array_split(mine, min(self.accumulate if train else 1, len(mine)))
            for place, piece in enumerate(pieces, start=1):
                yield Part(
                    Order(order.episode[piece], order.start_ts[piece]),
                    eps[piece],
                    share,
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


def first_action(episodes: Episodes, order: Order) -> IntArray:
    """The time step whose action answers each sample's observation first: (B,).

    Recorders of real robots stored actions one step late, so upstream starts one step earlier
    there (`sim` False).
    """
    late = np.asarray([not episodes.infos[episode].sim for episode in order.episode])
    return np.maximum(0, order.start_ts - late)


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


def padding_share(episodes: Episodes, chosen: Sequence[int], chunk_size: int) -> float:
    """The share of a chunk's steps that are padding, on average over all start steps."""
    lengths = np.asarray([episodes.lengths[e] for e in chosen], dtype=np.float64)
    short = np.minimum(lengths, chunk_size)
    valid = short * (short + 1) / 2 / lengths + chunk_size * (lengths - short) / lengths
    return float(1 - valid.mean() / chunk_size)


def describe(stats: dict[str, FloatArray]) -> dict[str, Any]:
    """The statistics as JSON, so that nobody needs the pickle."""
    return {name: values.tolist() for name, values in stats.items() if name != "example_qpos"}
