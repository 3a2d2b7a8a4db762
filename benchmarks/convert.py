"""How fast conversion is, beside its ceilings, in one run: `python -m benchmarks.convert DATASET`.

bare     PyAV alone: the same frames decoded to RGB arrays by as many processes, and thrown away
read     our reader alone, as many processes, frames thrown away
disk     the same bytes written and synced by as many processes, from one array each, the same way
convert  the conversion to OUTPUT, with what its workers take to start

The rounds alternate, so that a machine whose speed drifts gives fair ratios.
"""

import argparse
import json
import logging
import mmap
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np

from convert.camera_frames import CameraReaders
from convert.episodes import convert
from convert.plan import Plan, make_plan
from episodes.writer import open_past_cache
from job.file_system import write_at
from job.machine import cpu_count
from lerobot_to_act import JobFlags, parse

Times = dict[str, list[float]]


def main() -> None:
    """Print the table; with --json also write it."""
    arguments = _arguments()
    words = ["--input", str(arguments.dataset), "--max_episodes", str(arguments.max_episodes)]
    flags = parse(["--run_name", "bench", "--task_name", "sim_bench", *words], {})
    logging.getLogger("act").setLevel(logging.ERROR)
    plan = make_plan(flags, arguments.output)
    count = min(cpu_count(), len(plan.sources))
    runs: dict[str, Callable[[], float]] = {
        "bare": lambda: _spread(_decode, plan, count),
        "read": lambda: _spread(_read, plan, count),
        "disk": lambda: _spread(_write, plan, count),
        "convert": lambda: _convert(flags, arguments.output),
    }
    times: Times = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            times[name].append(run())
    _report(plan, count, times, arguments.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--output", type=Path, default=Path("out/bench_convert"))
    parser.add_argument("--max_episodes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _spread(work: Callable[[Plan, list[int]], None], plan: Plan, count: int) -> float:
    """Seconds for `count` processes to do their share of the episodes, their start not counted."""
    parts = [part.tolist() for part in np.array_split(np.arange(len(plan.sources)), count)]
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.5] * count))  # every process is up and has imported
        started = time.perf_counter()
        list(pool.map(work, [plan] * count, parts))
        return time.perf_counter() - started


def _decode(plan: Plan, numbers: list[int]) -> None:
    for camera in plan.cameras:
        spans = [plan.sources[number].episode.videos[camera.key] for number in numbers]
        for path in dict.fromkeys(span.path for span in spans):
            here = [n for n, span in zip(numbers, spans, strict=True) if span.path == path]
            from_s = plan.sources[here[0]].episode.videos[camera.key].from_s
            _decode_file(path, from_s, sum(plan.sources[n].episode.length for n in here))


def _decode_file(path: Path, from_s: float, count: int) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        time_base = stream.time_base
        assert time_base is not None
        container.seek(round(from_s / time_base), stream=stream)
        for done, frame in enumerate(container.decode(stream), start=1):
            frame.to_ndarray(format="rgb24")
            if done == count:
                return


def _read(plan: Plan, numbers: list[int]) -> None:
    readers = CameraReaders()
    for number in numbers:
        for camera in plan.cameras:
            for _ in readers.frames(plan.sources[number], camera, None):
                pass
    readers.close()


def _write(plan: Plan, numbers: list[int]) -> None:
    camera = plan.cameras[0]
    frame = mmap.mmap(-1, camera.height * camera.width * 3)
    frame[:] = np.random.default_rng(0).bytes(len(frame))
    path = plan.folder / f"disk_{numbers[0]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        descriptor = open_past_cache(path, len(frame))
        for ts in range(plan.sources[number].episode.length * len(plan.cameras)):
            write_at(descriptor, memoryview(frame), ts * len(frame))
        os.fsync(descriptor)
        os.close(descriptor)
    path.unlink()


def _convert(flags: JobFlags, folder: Path) -> float:
    """Seconds of the whole conversion, with what its workers take to start."""
    shutil.rmtree(folder, ignore_errors=True)
    converted = convert(flags, folder)
    assert converted.frames_per_second is not None
    shutil.rmtree(folder)
    return _frames(converted.plan) / converted.frames_per_second


def _frames(plan: Plan) -> int:
    return plan.frame_count(range(len(plan.sources)))


def _report(plan: Plan, count: int, times: Times, json_path: Path | None) -> None:
    frames, medians = (
        _frames(plan),
        {n: statistics.median(t) for n, t in times.items()},
    )
    print(f"{platform.machine()}, {cpu_count()} cores, {count} processes, PyAV {av.__version__}")
    size = f"{plan.cameras[0].height}x{plan.cameras[0].width}"
    print(f"{frames} frames of {size}, {plan.datasets[0].root.name}")
    for name, seconds in medians.items():
        low, high = (f"{frames / f(times[name]):,.0f}" for f in (max, min))
        print(f"{name:18} {frames / seconds:8,.0f} frames/s   ({low} to {high})")
    ratios = {
        f"convert / {ceiling}": [
            other / ours for other, ours in zip(times[ceiling], times["convert"], strict=True)
        ]
        for ceiling in ("bare", "disk")
    }
    for name, values in ratios.items():
        print(
            f"{name:24} {statistics.median(values):.2f} of its ceiling, round by round "
            f"{', '.join(f'{value:.2f}' for value in values)}"
        )
    if json_path is not None:
        json_path.write_text(json.dumps({"frames": frames, "seconds": times, "ratios": ratios}))


if __name__ == "__main__":
    main()
