"""The vectors of an episode as its file has them: dims padded or cut, orientations repaired."""

import logging

import numpy as np

from convert import quaternion
from convert.features import check_dims
from convert.findings import refuse
from convert.lerobot.file import OnRead
from convert.lerobot.table import EpisodeRows, Times, check_row_count, read_episode
from convert.plan import Dims, Plan
from convert.row_times import check_rate
from convert.sources import Source
from episodes.reader import FloatArray

logger = logging.getLogger("act")


def read_vectors(
    plan: Plan, source: Source, on_read: OnRead
) -> tuple[dict[str, FloatArray], Times | None]:
    """Action, qpos, qvel and maybe effort of an episode, each (T, dims), by their name in the file.

    Beside them the rows' timestamps, (T,) in seconds.

    Raises DatasetError where rows or widths are not as planned.
    """
    optional = {"qvel": plan.velocity_key, "effort": plan.effort_key}
    keys = [*plan.qpos.keys, *plan.action.keys, *(key for key in optional.values() if key)]
    episode, names = source.episode, source.dataset.names(dict.fromkeys(keys))
    rows = read_episode(episode.table_path, episode.index, names, on_read)
    check_rate(episode, rows.times, plan.row_rate, source.dataset.fps, refuse)
    qpos = plan.qpos.fit(_joined(plan, source, plan.qpos, rows))
    action = plan.action.fit(_joined(plan, source, plan.action, rows))
    vectors = {"action": action, "qpos": qpos, "qvel": np.zeros_like(qpos)}
    for name, key in optional.items():
        if key is not None:
            vectors[name] = plan.qpos.fit(rows.vectors[key])
    return vectors, rows.times


def _joined(plan: Plan, source: Source, dims: Dims, rows: EpisodeRows) -> FloatArray:
    """The features of a vector side by side, (T, D); refused where D is not as planned."""
    episode = source.episode
    vectors = np.concatenate([rows.vectors[key] for key in dims.keys], axis=1)
    check_row_count(episode.table_path, episode.index, len(vectors), episode.length, refuse)
    check_dims(source.dataset, episode, dims.keys, dims.names, rows, refuse)
    return _orientations(plan, source, dims, vectors)


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
