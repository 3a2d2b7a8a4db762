"""LeRobot datasets without cameras: a point that goes to its episode's goal, which rows may name.

The action is the next state, a third of the way to the goal: the state alone does not say which.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ENV_STATE = "observation.environment_state"
LENGTHS = (12, 9, 14, 11, 10)
FPS = 20
STEP = 0.3  # of the way that is left


def goals() -> NDArray[np.float32]:
    """The goal of each episode, (episodes, 2)."""
    return np.random.default_rng(0).uniform(-2, 2, (len(LENGTHS), 2)).astype(np.float32)


def way(episode: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The states and actions of an episode, each (T, 2)."""
    state = np.random.default_rng(100 + episode).uniform(-1, 1, 2).astype(np.float32)
    states, actions = [], []
    for _ in range(LENGTHS[episode]):
        states.append(state)
        state = state + np.float32(STEP) * (goals()[episode] - state)
        actions.append(state)
    return np.stack(states), np.stack(actions)


def write_states(root: Path, *, env_state: bool, version: str = "v2.1") -> Path:
    """Write the dataset; with `env_state` its rows name the goal and a constant."""
    tables, start = [], 0
    for episode, length in enumerate(LENGTHS):
        states, actions = way(episode)
        columns = {
            "observation.state": list(states),
            "action": list(actions),
            "timestamp": np.arange(length, dtype=np.float32) / FPS,
            "frame_index": np.arange(length),
            "episode_index": np.full(length, episode),
            "index": np.arange(length) + start,
            "task_index": np.zeros(length, np.int64),
        }
        if env_state:
            goal = np.append(goals()[episode], np.float32(7))
            columns[ENV_STATE] = list(np.tile(goal, (length, 1)))
        tables.append(pa.table({name: pa.array(values) for name, values in columns.items()}))
        start += length
    _write_info(root, env_state=env_state, version=version, frames=start)
    if version == "v2.1":
        for episode, table in enumerate(tables):
            _write(root / f"data/chunk-000/episode_{episode:06d}.parquet", table)
        rows = [
            {"episode_index": e, "tasks": ["reach"], "length": t} for e, t in enumerate(LENGTHS)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "meta/episodes.jsonl").write_text(lines)
    else:
        _write(root / "data/chunk-000/file-000.parquet", pa.concat_tables(tables))
        listed = [
            {"episode_index": e, "tasks": ["reach"], "length": t}
            | {"data/chunk_index": 0, "data/file_index": 0}
            for e, t in enumerate(LENGTHS)
        ]
        path = root / "meta/episodes/chunk-000/file-000.parquet"
        _write(path, pa.Table.from_pylist(listed))
    return root


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_info(root: Path, *, env_state: bool, version: str, frames: int) -> None:
    point: dict[str, Any] = {"dtype": "float32", "shape": [2], "names": ["x", "y"]}
    features = {"observation.state": point, "action": point}
    if env_state:
        goal = {"dtype": "float32", "shape": [3], "names": ["goal_x", "goal_y", "size"]}
        features[ENV_STATE] = goal
    v2 = version == "v2.1"
    v2_path = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    v3_path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    info = {
        "codebase_version": version,
        "robot_type": "point",
        "total_episodes": len(LENGTHS),
        "total_frames": frames,
        "chunks_size": 1000,
        "fps": FPS,
        "features": features,
        "data_path": v2_path if v2 else v3_path,
        "video_path": None,
    }
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))


def add_env_state(root: Path, width: int = 3) -> None:
    """Give a dataset with cameras an environment state: row numbers, of one episode to the next."""
    info = json.loads((root / "meta/info.json").read_text())
    info["features"][ENV_STATE] = {"dtype": "float32", "shape": [width], "names": None}
    (root / "meta/info.json").write_text(json.dumps(info))
    for path in sorted((root / "data").rglob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        rows = np.arange(len(table) * width, dtype=np.float32).reshape(-1, width)
        pq.write_table(table.append_column(ENV_STATE, pa.array(list(rows))), path)
