"""What a run is trained on: the episodes, their split, their statistics."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from act.batches.shares import Shares, shares_by_temperature
from act.batches.split import split_episodes
from act.policies.statistics import norm_stats
from act.training.flags import TrainingFlags
from episodes.arrays import FloatArray
from episodes.episode_set import Episodes, open_episodes
from episodes.reading import AS_STORED, Reading
from job.errors import UsageError
from job.sections.data import Dataset
from job.sections.training import DatasetShare, Split


@dataclass(frozen=True)
class TrainingData:
    """The episodes of a run, and what follows from them alone."""

    episodes: Episodes
    train_episodes: list[int]
    val_episodes: list[int]
    stats: dict[str, FloatArray]
    shares: Shares | None = None  # of datasets in the samples; None: each episode counts alike


def dataset_shares(flags: TrainingFlags, data: TrainingData, dataset: Dataset) -> Shares | None:
    """What `--dataset_weights` or `--dataset_temperature` come to; raises UsageError."""
    if not flags.dataset_weights and not flags.dataset_temperature:
        return None
    folders = list(dict.fromkeys(episode.dataset for episode in dataset.episodes))
    numbers = tuple(folders.index(episode.dataset) for episode in dataset.episodes)
    trained = Counter(numbers[episode] for episode in data.train_episodes)
    counts = [trained[number] for number in range(len(folders))]
    if flags.dataset_weights and len(flags.dataset_weights) != len(folders):
        raise UsageError(
            f"--dataset_weights {','.join(flags.dataset_weights)}: {len(folders)} datasets are "
            f"given ({', '.join(map(str, folders))}), expected a number for each, in this order",
            code="flag-value",
        )
    if 0 in counts:
        raise UsageError(
            f"{folders[counts.index(0)]}: none of its episodes is trained on, expected one at "
            f"least of each dataset that has a share; choose other --episodes or --val_episodes",
            code="flags-conflict",
        )
    weights = [float(one) for one in flags.dataset_weights]
    if weights:
        return Shares(tuple(one / sum(weights) for one in weights), numbers)
    return Shares(shares_by_temperature(counts, flags.dataset_temperature), numbers)


def split_section(data: TrainingData, dataset: Dataset | None) -> Split:
    """The manifest's split section."""
    split = Split(train=data.train_episodes, val=data.val_episodes)
    if data.shares is None or dataset is None:
        return split
    shares = []
    for number, share in enumerate(data.shares.weights):
        mine = [one for one in data.train_episodes if data.shares.dataset[one] == number]
        folder = dataset.episodes[data.shares.dataset.index(number)].dataset
        shares.append(DatasetShare(dataset=folder, share=share, episodes=len(mine)))
    return split.model_copy(update={"shares": shares})


def open_data(
    paths: Sequence[Path],
    camera_names: Sequence[str],
    reading: Reading = AS_STORED,
    validated: str = "auto",
) -> TrainingData:
    """Read the episode files, all but their frames; raises DatasetError, and UsageError.

    validated: `--val_episodes`
    """
    episodes = open_episodes(paths, camera_names, reading)
    train_episodes, val_episodes = split_episodes(len(paths), validated)
    return TrainingData(episodes, train_episodes, val_episodes, norm_stats(episodes))
