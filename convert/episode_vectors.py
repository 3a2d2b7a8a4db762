"""The vectors of an episode as its file has them: dims padded or cut, orientations repaired."""

import logging

import numpy as np

from convert import quaternion
from convert.features import check_dims
from convert.findings import refuse
from convert.lerobot.table import EpisodeRows, Times, check_row_count, read_episode
from convert.plan import Dims, Plan
from convert.row_times import check_rate
from convert.sources import Source
from episodes.arrays import FloatArray
from episodes.input_file import OnRead

logger = logging.getLogger("act")


def read_vectors(
    plan: Plan, source: Source, on_read: OnRead
) -> tuple[dict[str, FloatArray], Times | None]:
    """Action, qpos, qvel and maybe effort and env_state of an episode, by their name in the file.

    Each is (T, dims).

    Beside them the rows' timestamps, (T,) in seconds.

    Raises DatasetError where rows or widths are not as planned.
    """
    optional = {"qvel": plan.velocity_key, "effort": plan.effort_key}
    keys = [key for dims in plan.vectors.values() for key in dims.keys]
    keys += [key for key in optional.values() if key]
    episode, names = source.episode, source.dataset.names(dict.fromkeys(keys))
    rows = read_episode(episode.table_path, episode.index, names, on_read)
    check_rate(episode, rows.times, plan.row_rate, source.dataset.fps, refuse)
    fitted = {
        name: dims.fit(_joined(plan, source, dims, rows)) for name, dims in plan.vectors.items()
    }
    # in the order in which the file has them, which shapes its bytes
    vectors = {"action": fitted.pop("action"), "qpos": fitted.pop("qpos")}
    vectors["qvel"] = np.zeros_like(vectors["qpos"])
    for name, key in optional.items():
        if key is not None:
            vectors[name] = plan.qpos.fit(rows.vectors[key])
    return vectors | fitted, rows.times


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
