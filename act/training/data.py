"""What a run is trained on: the episodes, their split, their statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from act.batches.split import split_episodes
from act.policies.statistics import norm_stats
from episodes.arrays import FloatArray
from episodes.episode_set import Episodes, open_episodes
from episodes.reading import AS_STORED, Reading


@dataclass(frozen=True)
class TrainingData:
    """The episodes of a run, and what follows from them alone."""

    episodes: Episodes
    train_episodes: list[int]
    val_episodes: list[int]
    stats: dict[str, FloatArray]


def open_data(
    paths: Sequence[Path], camera_names: Sequence[str], reading: Reading = AS_STORED
) -> TrainingData:
    """Read the episode files, all but their frames; raises DatasetError."""
    episodes = open_episodes(paths, camera_names, reading)
    train_episodes, val_episodes = split_episodes(len(paths))
    return TrainingData(episodes, train_episodes, val_episodes, norm_stats(episodes))
