"""Errors of predicted chunks against the demonstrated ones.

N queries   K chunk   A action dims
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from act.evaluate.bootstrap import interval
from act.evaluate.held_out import BoolArray
from episodes.arrays import FloatArray
from job.sections.evaluation import ChunkErrors, DimErrors

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """What errors are divided by, and what dims are called."""

    std: Array  # (A,), of the training statistics
    names: tuple[str | None, ...]


@dataclass(frozen=True)
class EpisodeErrors:
    """Sums over the queries of one episode; time steps past its end do not count."""

    absolute: Array  # (K, A), in the dataset's units
    squared: Array  # (K, A)
    count: Array  # (K,), queries whose chunk has this position

    def in_std(self, scale: Scale) -> float:
        """The mean absolute error in standard deviations."""
        return float((self.absolute / scale.std).sum() / (self.count.sum() * len(scale.std)))


def episode_errors(
    predicted: FloatArray, demonstrated: FloatArray, valid: BoolArray
) -> EpisodeErrors:
    """The errors of chunks (N, K, A); valid: (N, K), which time steps are in the episode."""
    error = np.abs(predicted.astype(np.float64) - demonstrated) * valid[..., None]
    return EpisodeErrors(
        error.sum(axis=0), (error**2).sum(axis=0), valid.sum(axis=0).astype(np.float64)
    )


def chunk_errors(episodes: Sequence[EpisodeErrors], scale: Scale) -> ChunkErrors:
    """The section of some episodes' errors."""
    absolute = sum((one.absolute for one in episodes), np.zeros(1))
    squared = sum((one.squared for one in episodes), np.zeros(1))
    count = sum((one.count for one in episodes), np.zeros(1))
    by_episode = np.array([one.in_std(scale) for one in episodes])
    by_position = (absolute / scale.std).mean(axis=1) / np.maximum(count, 1)
    total = count.sum()
    return ChunkErrors(
        mae_in_std=interval(by_episode),
        mse_in_std=float((squared / scale.std**2).sum() / (total * len(scale.std))),
        by_episode=by_episode.tolist(),
        by_position=by_position[count > 0].tolist(),
        dims=dim_errors(absolute.sum(axis=0) / total, squared.sum(axis=0) / total, scale),
    )


def dim_errors(absolute: Array, squared: Array, scale: Scale) -> list[DimErrors]:
    """The section of each dim; absolute, squared: mean errors (A,) in the dataset's units."""
    return [
        DimErrors(name=name, mae=float(mae), mse=float(mse), mae_in_std=float(mae / std))
        for name, mae, mse, std in zip(scale.names, absolute, squared, scale.std, strict=True)
    ]
