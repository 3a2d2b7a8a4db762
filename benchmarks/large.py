"""Whether many long episodes train from their videos with flat memory: one command, one table.

    python -m benchmarks.large [--episodes 50,500] [--steps 600] [--cameras 3] [--size 96x128]

For each number of episodes a LeRobot dataset v2.1 is made (H.264, a key frame in two, as LeRobot
records), checked and trained on for one epoch with `--frames video`: the seconds of the check and
until the first epoch has trained a step, and the memory of the largest process of each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from job.machine import cpu_count
from job.output_names import CHECKPOINTS, STATUS

_ROOT = Path(__file__).parent.parent
_FPS, _DIMS, _RUN = 30, 14, "large"
_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_TRAINING = (
    "--num_epochs 1 --batch_size 8 --chunk_size 50 --hidden_dim 128 --dim_feedforward 256 "
    "--backbone_weights none --device cpu --state_dim 0 --frames video --report off "
    "--eval_after_train off"
)


def main() -> None:
    """Make, run and print."""
    asked = _arguments()
    print(f"{cpu_count()} cores; {asked.steps} steps, {asked.cameras} cameras of {asked.size}")
    print("| episodes | frames | raw, GB | check, s | its MB | to the first step, s | job, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for episodes in map(int, asked.episodes.split(",")):
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            _measure(episodes, Path(folder), asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", default="50,500")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--cameras", type=int, default=3)
    parser.add_argument("--size", default="96x128")
    parser.add_argument("--folder", type=Path, help="where the datasets are made")
    return parser.parse_args()


def _measure(episodes: int, folder: Path, asked: argparse.Namespace) -> None:
    dataset, output = folder / "dataset", folder / "output"
    height, width = map(int, asked.size.split("x"))
    write_dataset(dataset, episodes, asked.steps, asked.cameras, (height, width))
    log = folder / "log"
    check_s, check_mb = _run(["check", str(dataset), "--state_dim", "0"], log)
    words = ["--input", str(dataset), "--output", str(output), "--run_name", _RUN]
    words += ["--task_name", "sim_large", *_TRAINING.split()]
    status = output / CHECKPOINTS / _RUN / STATUS
    step_s, job_mb = _run(words, log, lambda: _has_stepped(status))
    frames = episodes * asked.steps * asked.cameras
    raw_gb = frames * height * width * 3 / 1e9
    cells = [episodes, frames, f"{raw_gb:.1f}", f"{check_s:.0f}", f"{check_mb:.0f}"]
    cells += [f"{step_s:.0f}", f"{job_mb:.0f}"]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _has_stepped(status: Path) -> bool:
    try:
        training = json.loads(status.read_text())["training"]
        return training is not None and training["stepped_at"] is not None
    except (OSError, ValueError):
        return False


def _run(
    words: list[str], log: Path, is_reached: Callable[[], bool] = lambda: False
) -> tuple[float, float]:
    """Seconds until the place is reached, else to the end; and the MB of the largest process."""
    started, reached_s = time.monotonic(), 0.0
    python = os.environ.get("PYTHON_EXEC", sys.executable)  # as torchrun
    command = [python, str(_ROOT / "entrypoint.py"), *words]
    with log.open("wb") as file:
        child = subprocess.Popen(command, stdout=file, stderr=file)
    while True:
        ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        if not reached_s and (ended or is_reached()):
            reached_s = time.monotonic() - started
        if ended:
            break
        time.sleep(0.05)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{log.read_text()}")
    return reached_s, usage.ru_maxrss / 1e3


def write_dataset(
    root: Path, episodes: int, steps: int, cameras: int, size: tuple[int, int]
) -> None:
    """A dataset whose pictures and rows are all different."""
    keys = [f"observation.images.camera_{number}" for number in range(cameras)]
    for folder in ("meta", "data/chunk-000", *(f"videos/chunk-000/{key}" for key in keys)):
        (root / folder).mkdir(parents=True)
    tasks = [(root, number, steps, keys, size) for number in range(episodes)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write_episode, tasks, chunksize=4))
    rows = [
        {"episode_index": number, "tasks": ["t"], "length": steps} for number in range(episodes)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "meta/episodes.jsonl").write_text(lines)
    (root / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "t"}\n')
    vector = {
        "dtype": "float32",
        "shape": [_DIMS],
        "names": [f"joint_{dim}" for dim in range(_DIMS)],
    }
    video = {"dtype": "video", "shape": [*size, 3], "names": ["height", "width", "channels"]}
    info = {
        "codebase_version": "v2.1",
        "robot_type": "made",
        "fps": _FPS,
        "total_episodes": episodes,
        "total_frames": episodes * steps,
        "chunks_size": max(1000, episodes),
        "data_path": _DATA,
        "video_path": _VIDEO,
        "features": {"observation.state": vector, "action": vector} | dict.fromkeys(keys, video),
    }
    (root / "meta/info.json").write_text(json.dumps(info))


def _write_episode(task: tuple[Path, int, int, list[str], tuple[int, int]]) -> None:
    root, number, steps, keys, (height, width) = task
    random = np.random.default_rng(number)
    state = np.cumsum(random.standard_normal((steps, _DIMS)), 0).astype(np.float32) / 10
    vectors = pa.list_(pa.float32(), _DIMS)
    columns = {
        "observation.state": pa.array(list(state), vectors),
        "action": pa.array(list(np.roll(state, -1, axis=0)), vectors),
        "timestamp": pa.array((np.arange(steps) / _FPS).astype(np.float32)),
        "frame_index": pa.array(np.arange(steps)),
        "episode_index": pa.array(np.full(steps, number)),
        "index": pa.array(np.arange(steps) + number * steps),
        "task_index": pa.array(np.zeros(steps, np.int64)),
    }
    name = f"episode_{number:06d}"
    pq.write_table(pa.table(columns), root / f"data/chunk-000/{name}.parquet")
    for key in keys:
        picture = random.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        picture = picture.repeat(8, 0).repeat(8, 1)
        _encode(root / f"videos/chunk-000/{key}/{name}.mp4", picture, steps)


def _encode(path: Path, picture: np.ndarray[Any, np.dtype[np.uint8]], steps: int) -> None:
    """A video of a picture that moves along."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=_FPS, options={"preset": "ultrafast"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 2
        for ts in range(steps):
            moved = np.roll(picture, ts % picture.shape[1], axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, "rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
