"""The vectors of an episode as its file has them: dims padded or cut, orientations repaired."""

import logging

import numpy as np

from convert import quaternion
from convert.findings import refuse
from convert.lerobot.file import OnRead
from convert.lerobot.table import Times, check_row_count, read_episode
from convert.plan import Dims, Plan
from convert.row_times import check_rate
from convert.sources import Source
from episodes.reader import FloatArray
from job.errors import DatasetError

logger = logging.getLogger("act")


def read_vectors(
    plan: Plan, source: Source, on_read: OnRead
) -> tuple[dict[str, FloatArray], Times | None]:
    """Action, qpos, qvel and maybe effort of an episode, each (T, dims), by their name in the file.

    Beside them the rows' timestamps, (T,) in seconds.

    Raises DatasetError where rows or widths are not as planned.
    """
    optional = {"qvel": plan.velocity_key, "effort": plan.effort_key}
    keys = [plan.qpos.key, plan.action.key, *(key for key in optional.values() if key)]
    episode = source.episode
    read, times = read_episode(episode.table_path, episode.index, keys, on_read)
    check_rate(episode, times, plan.row_rate, source.dataset.fps, refuse)
    for dims in (plan.qpos, plan.action):
        _check_shape(source, dims, read[dims.key])
        read[dims.key] = _orientations(plan, source, dims, read[dims.key])
    qpos, action = plan.qpos.fit(read[plan.qpos.key]), plan.action.fit(read[plan.action.key])
    vectors = {"action": action, "qpos": qpos, "qvel": np.zeros_like(qpos)}
    for name, key in optional.items():
        if key is not None:
            vectors[name] = plan.qpos.fit(read[key])
    return vectors, times


def _check_shape(source: Source, dims: Dims, vectors: FloatArray) -> None:
    rows, width = vectors.shape
    episode = source.episode
    check_row_count(episode.table_path, episode.index, rows, episode.length, refuse)
    if width != len(dims.names):
        raise DatasetError(
            f"{episode.table_path}: {source} has {width} values in {dims.key!r}, expected "
            f"{len(dims.names)} as in the first episode; leave the episode out",
            code="vector-width",
        )


def _orientations(plan: Plan, source: Source, dims: Dims, vectors: FloatArray) -> FloatArray:
    """Repair the quaternions where that is asked for, else warn of what should be repaired."""
    if plan.fix_quaternions:
        return quaternion.fix(vectors, dims.quaternions, f"{dims.key} of {source}")
    for found in dims.quaternions:
        q = vectors[:, list(found.where)]
        flipped, off = len(quaternion.flips(q)), len(quaternion.off_unit(q))
        if flipped or off:
            logger.warning(
                "%s: quaternion %s of %s changes its sign %d times and is not of unit length in "
                "%d rows; --fix_quaternions repairs both",
                source,
                found.name,
                dims.key,
                flipped,
                off,
            )
    return vectors
