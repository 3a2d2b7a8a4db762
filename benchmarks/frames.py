"""How fast samples come from each source of frames, and what they take on disk: one table.

    python -m benchmarks.frames DATASET [--cameras 1,3] [--lerobot PYTHON] [--json FILE]

For each number of cameras, in samples/s by the loader of a training, round by round in turn:
raw      episode files of raw frames, in the page cache
jpeg     episode files of JPEGs; beside it, the same JPEGs decoded by libjpeg-turbo alone
cached   the dataset's own videos, each frame of which was decoded once before
video    the same, where nothing is kept
lerobot  LeRobotDataset with the DataLoader that shuffles it, in the Python that `--lerobot` names
The samples are the same random ones, but for LeRobot's, and have an image of each camera, qpos and
a chunk of 100 actions. More cameras than the dataset has are further ones with the same video.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from act.batches.kept_frames import open_cache
from act.batches.loader import Pass
from act.processes.device import device_section
from act.training.setup import loader_threads
from benchmarks.workload import CHUNK, make_loader, numbers, seconds_each
from convert.episodes import convert
from convert.flags import ConversionFlags
from episodes.episode_set import Episodes, open_episodes
from episodes.frame_cache import FrameCache, kept_bytes
from episodes.frames import filmed_of, open_frames
from episodes.jpeg import decode_jpeg
from episodes.rows import read_row
from job.machine import cpu_count

_ROOT = Path(__file__).parent.parent
_MOST_BATCHES_S = 4000
_CPU = torch.device("cpu")


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    print(f"{device_section(_CPU).name}, {cpu_count()} cores, batch {asked.batch}")
    tables = []
    for cameras in asked.cameras:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            tables.append({"cameras": cameras} | _measured(cameras, Path(folder), asked))
        asked.json.write_text(json.dumps(tables, indent=2))
    print(f"\nall figures of every round: {asked.json}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="a LeRobot dataset v3 with videos")
    parser.add_argument("--cameras", type=numbers, default=(1, 3))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each source in a round")
    parser.add_argument("--episodes", default="all", help="which episodes, as --episodes")
    parser.add_argument("--lerobot", help="a Python with LeRobot, to measure that too")
    parser.add_argument("--folder", type=Path, help="where the episodes are written")
    parser.add_argument("--json", type=Path, default="benchmark_frames.json")
    return parser.parse_args()


def _measured(cameras: int, folder: Path, asked: argparse.Namespace) -> dict[str, object]:
    dataset = with_cameras(asked.dataset, cameras, folder / "dataset")
    files = {
        source: _converted(dataset, folder / source, source, asked)
        for source in ("raw", "jpeg", "video")
    }
    cached = folder / "cached"
    cached.mkdir()
    _fill(files["video"], cached)
    rates: dict[str, list[float]] = {}

    def add(name: str, rate: float) -> None:
        rates.setdefault(name, []).append(rate)

    for _ in range(asked.rounds):
        for source, episodes in files.items():
            add(source, _rate(episodes, asked))
        add("cached", _rate(files["video"], asked, cached))
        add("jpeg alone", jpeg_rate(files["jpeg"], asked.seconds) / cameras)
        if asked.lerobot:
            add("lerobot", _lerobot_rate(dataset, asked))
    frames = cameras * sum(files["raw"].lengths)
    sizes = {name: _bytes(folder / name) / frames for name in ("raw", "jpeg", "cached")}
    every = json.loads((dataset / "meta/info.json").read_text())["total_frames"]
    sizes["video"] = _bytes(dataset / "videos") / (cameras * every)
    _say(cameras, rates, sizes)
    return {"rates": rates, "bytes_per_frame": sizes}


def _say(cameras: int, rates: dict[str, list[float]], sizes: dict[str, float]) -> None:
    print(f"\n{cameras} cameras\n| source | samples/s, median (range) | kB a frame |")
    print("| --- | --- | --- |")
    for name, found in rates.items():
        size = f"{sizes[name] / 1e3:.1f}" if name in sizes else ""
        shown = f"{statistics.median(found):,.1f} ({min(found):,.1f} to {max(found):,.1f})"
        print(f"| {name} | {shown} | {size} |")
    pairs = [("cached", "raw"), ("jpeg", "jpeg alone"), ("video", "lerobot")]
    for one, other in [pair for pair in pairs if pair[1] in rates]:
        ratios = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
        print(f"{one} : {other} = {statistics.median(ratios):.2f} (median of the rounds)")


def with_cameras(dataset: Path, count: int, folder: Path) -> Path:
    """A dataset with the first camera of another one, `count` times under names of its own."""
    info = json.loads((dataset / "meta/info.json").read_text())
    images = [key for key, one in info["features"].items() if one["dtype"] == "video"]
    names = [f"observation.images.camera_{number}" for number in range(count)]
    shutil.copytree(dataset / "meta", folder / "meta")
    shutil.copytree(dataset / "data", folder / "data")
    shown = dict.fromkeys(names, info["features"][images[0]])
    kept = {key: one for key, one in info["features"].items() if key not in images}
    info["features"] = kept | shown
    (folder / "meta/info.json").write_text(json.dumps(info))
    for name in names:
        shutil.copytree(dataset / "videos" / images[0], folder / "videos" / name)
    stats = json.loads((dataset / "meta/stats.json").read_text())
    stats |= dict.fromkeys(names, stats[images[0]])
    (folder / "meta/stats.json").write_text(json.dumps(stats))
    for path in (folder / "meta/episodes").rglob("*.parquet"):
        pq.write_table(_renamed(pq.read_table(path), images, names), path)
    return folder


def _renamed(table: pa.Table, images: list[str], names: list[str]) -> pa.Table:
    """The list of episodes, with the columns of the first camera for each name."""
    columns = {}
    for column in table.column_names:
        parts = column.split("/")
        if len(parts) > 2 and parts[1] == images[0]:
            for name in names:
                columns["/".join([parts[0], name, *parts[2:]])] = table[column]
        elif not any(image in parts for image in images):
            columns[column] = table[column]
    return pa.table(columns)


def _converted(dataset: Path, folder: Path, source: str, asked: argparse.Namespace) -> Episodes:
    flags = ConversionFlags(
        input=(dataset,),
        output=folder,
        episodes=asked.episodes,
        state_dim=0,
        sim="true",
        image_storage="jpeg" if source == "jpeg" else "raw",
        frames=source,
    )
    paths = convert(flags, folder).paths
    for path in paths:  # into the page cache: the disk is not what is measured
        path.read_bytes()
    return open_episodes(paths)


def _fill(episodes: Episodes, folder: Path) -> None:
    """Decode every frame once."""
    cache = open_cache(episodes, folder, "1000", shown=False)
    with closing(open_frames(episodes, cache)) as source:
        out = np.empty((1, *source.shape), np.uint8)
        for episode, length in enumerate(episodes.lengths):
            for ts in range(length):
                source.copy_into(np.array([episode]), np.array([ts]), out)


def _rate(episodes: Episodes, asked: argparse.Namespace, folder: Path | None = None) -> float:
    """Samples/s of a loader."""
    cache: FrameCache | None = None
    if folder is not None:
        assert filmed_of(episodes)
        cache = open_cache(episodes, folder, "1000", shown=False)
    most = 64 + int(asked.seconds * _MOST_BATCHES_S)
    with make_loader(episodes, asked.batch, most, _CPU, kept=cache) as loader:
        batches = loader.batches(Pass(0, train=True))
        for _ in islice(batches, 2 * loader_threads() + 2):  # threads and files that are opened
            pass
        seconds = seconds_each(lambda: next(batches), 2)
        count = min(max(4, int(asked.seconds / seconds)), most // 2)
        return asked.batch / seconds_each(lambda: next(batches), count)


def jpeg_rate(episodes: Episodes, seconds: float) -> float:
    """JPEGs/s that libjpeg-turbo alone decodes, from memory, in as many threads as a loader has."""
    info = episodes.infos[0]
    rows = [read_row(info.path, episodes.camera_names[0], ts) for ts in range(min(64, info.length))]

    def decode(_: int) -> None:
        for row in rows:
            decode_jpeg(row, "")

    with ThreadPoolExecutor(loader_threads()) as pool:
        each = seconds_each(lambda: list(pool.map(decode, range(loader_threads()))), 1)
        count = max(1, int(seconds / each))
        each = seconds_each(lambda: list(pool.map(decode, range(loader_threads()))), count)
    return loader_threads() * len(rows) / each


def _lerobot_rate(dataset: Path, asked: argparse.Namespace) -> float:
    words = [asked.lerobot, str(_ROOT / "benchmarks/lerobot_loader.py"), str(dataset)]
    words += [str(asked.batch), str(CHUNK), str(asked.seconds)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"LeRobot's loader failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def _bytes(folder: Path) -> int:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return kept_bytes(folder) or sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    main()
