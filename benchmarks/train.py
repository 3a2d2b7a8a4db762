"""How fast training is, beside its ceilings and the plain path, in one run: one command, one table.

    python -m benchmarks.train [--cameras 1,3] [--batch 8,64] [--size 480x640] [--json FILE]

For each number of cameras and batch, in samples/s, ours and plain in turn so that a machine whose
speed drifts gives fair ratios:
loader   batches made and thrown away; its ceilings are copies by as many threads: of such frames
         from memory, and of one batch again and again, which the caches may hold
step     forward, backward and update on data that is there; its ceiling is the rate of matrix
         products (the share reached of it is the model FLOP utilisation)
both     the loader feeding the steps, both started in that round, with the share of the time spent
         waiting for data; its ceiling is the step alone
plain    what upstream does (benchmarks/plain.py), of each
"""

import argparse
import json
import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from act.batches.batch import Batch
from act.batches.loader import Pass
from act.processes.data_parallel import computation
from act.processes.device import choose_device, device_section
from act.processes.group import Group
from act.training.setup import make_policy
from benchmarks.ceilings import all_frames, batch_copy_rate, frames_copy_rate, matmul_rate
from benchmarks.plain import plain_loader
from benchmarks.plain_process import PlainProcess
from benchmarks.workload import (
    CHUNK,
    make_config,
    make_loader,
    numbers,
    seconds_each,
    step,
    wait_for,
    write_episodes,
)
from episodes.episode_set import Episodes, open_episodes
from episodes.folder import find_episodes
from job.machine import cpu_count, keep_freed_memory


@dataclass
class Case:
    """One row of the table: what is measured, and the rates of every round."""

    cameras: int
    batch: int
    precision: str
    rates: dict[str, list[float]] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, rate: float) -> None:
        self.rates.setdefault(name, []).append(rate)

    def median(self, name: str) -> float:
        return statistics.median(self.rates[name])

    def ratio(self, name: str, other: str) -> float:
        pairs = zip(self.rates[name], self.rates[other], strict=True)
        return statistics.median(one / two for one, two in pairs)


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    device = choose_device(asked.device)
    if asked.steps is None:
        asked.steps = 2 if device.type == "cpu" else 50
    found = device_section(device)
    print(
        f"{found.name}, {cpu_count()} cores, torch {torch.__version__}, "
        f"hidden {asked.hidden_dim}, feed-forward {asked.dim_feedforward}, "
        f"chunk {CHUNK}"
    )
    rows = []
    for episodes in _workloads(asked):
        paths = [info.path for info in episodes.infos]
        for batch in asked.batch:
            loads = _measure_loaders(episodes, batch, asked)
            for precision in asked.precision:
                case = Case(len(episodes.camera_names), batch, precision, dict(loads))
                case = _measured_apart(case, paths, asked)
                _say(case, episodes, device, asked)
                rows.append(vars(case))
                asked.json.write_text(
                    json.dumps({"device": found.model_dump(), "rows": rows}, indent=2)
                )
    print(f"\nall figures of every round: {asked.json}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=numbers, default=(1, 3))
    parser.add_argument("--batch", type=numbers, default=(8, 64))
    parser.add_argument("--size", type=lambda text: numbers(text, "x"), default=(480, 640))
    parser.add_argument("--precision", type=lambda text: text.split(","), default=["auto", "bf16"])
    parser.add_argument("--plain_precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    parser.add_argument("--hidden_dim", type=int, default=512)
    parser.add_argument("--dim_feedforward", type=int, default=3200)
    parser.add_argument("--compile", choices=("on", "off"), default="off")
    parser.add_argument("--data_cache", choices=("gpu", "none"), default="none")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="in each round; CPU 2, GPU 50 (plain 20)")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where the random frames are written")
    parser.add_argument("--dataset_dir", type=Path, help="episodes to use, not random ones")
    parser.add_argument("--json", type=Path, default="benchmark_train.json")
    return parser.parse_args()


def _workloads(asked: argparse.Namespace) -> Iterator[Episodes]:
    """Episodes in the page cache: the disk is not what is measured."""
    if asked.dataset_dir is not None:
        paths = find_episodes(asked.dataset_dir)
        for path in paths:
            path.read_bytes()
        yield open_episodes(paths)
        return
    for cameras in asked.cameras:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            yield write_episodes(Path(folder), cameras, asked)


def _measure_loaders(
    episodes: Episodes, batch: int, asked: argparse.Namespace
) -> dict[str, list[float]]:
    names = ("loader", "frames copy", "copy", "plain loader")
    rates: dict[str, list[float]] = {name: [] for name in names}
    count = max(4, 512 // batch)
    frames = all_frames(episodes)
    for _ in range(asked.rounds):
        with make_loader(episodes, batch, count + 4, torch.device("cpu")) as loader:
            made = loader.batches(Pass(0, train=True))
            list(islice(made, 4))  # its buffers are there
            started = time.perf_counter()
            samples = sum(len(one.qpos) for one in islice(made, count))
            rates["loader"].append(samples / (time.perf_counter() - started))
        rates["frames copy"].append(frames_copy_rate(frames, batch))
        rates["copy"].append(batch_copy_rate(episodes, batch))
        plain = plain_loader(episodes, batch, max(2, 48 // batch), CHUNK)
        started = time.perf_counter()
        samples = sum(len(one[0]) for one in plain)
        rates["plain loader"].append(samples / (time.perf_counter() - started))
    return rates


def _measured_apart(case: Case, paths: list[Path], asked: argparse.Namespace) -> Case:
    """Measure the steps in a process of their own: its peak of memory is this case's alone."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measure_steps, case, paths, asked).result()
        except BrokenProcessPool:
            return case


def _measure_steps(case: Case, paths: list[Path], asked: argparse.Namespace) -> Case:
    device, episodes = choose_device(asked.device), open_episodes(paths)
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    policy, _ = make_policy(flags := make_config(asked, case.precision), episodes)
    policy.to(device)
    network = computation(flags, policy, device, Group())
    optimizer = torch.optim.AdamW(
        policy.parameter_groups(1e-5, 1e-5), weight_decay=1e-4, fused=True
    )
    with make_loader(episodes, case.batch, 1, device) as loader:
        resident = next(loader.batches(Pass(0, train=True)))

    def ours() -> None:
        step(network, optimizer, resident)

    def both() -> tuple[float, float]:
        """Seconds of `both_steps` steps, and of those the ones spent waiting for data."""
        cached = asked.data_cache == "gpu"
        waits: list[float] = []
        with make_loader(episodes, case.batch, both_steps, device, cached=cached) as loader:
            wait_for(device)
            started = time.perf_counter()
            for batch in _timed(islice(loader.batches(Pass(0, train=True)), both_steps), waits):
                step(network, optimizer, batch)
            wait_for(device)
            return time.perf_counter() - started, sum(waits)

    # on a GPU many more batches than the loader has in the making
    both_steps = asked.steps if device.type == "cpu" else 4 * asked.steps
    plain_steps = min(asked.steps, 20)
    plain_config = replace(make_config(asked, asked.plain_precision), compile="off")
    waits = []
    with PlainProcess(plain_config, paths, case.batch, device) as plain:
        for _ in range(1 if device.type == "cpu" else 5):  # so that it is warm, graphs recorded
            ours()
        for _ in range(asked.rounds):
            case.add("step", case.batch / seconds_each(ours, asked.steps, device))
            case.add("plain step", case.batch / plain.step_seconds(plain_steps))
            took, waited = both()
            case.add("both", case.batch * both_steps / took)
            case.add("plain both", case.batch / plain.both_seconds(plain_steps))
            waits.append(waited / took)
    case.extra["host_peak_bytes"] = _peak_bytes()
    if device.type == "cuda":
        case.extra["device_peak_bytes"] = torch.cuda.max_memory_allocated(device)
    case.extra["wait_share"] = statistics.median(waits)
    with FlopCounterMode(display=False) as counter:
        network(resident)["loss"].backward()
    case.extra["flops_per_sample"] = counter.get_total_flops() / case.batch
    case.extra["matmul_flops"] = matmul_rate(device, case.precision)
    return case


def _timed(batches: Iterator[Batch], waits: list[float]) -> Iterator[Batch]:
    while True:
        started = time.perf_counter()
        batch = next(batches, None)
        waits.append(time.perf_counter() - started)
        if batch is None:
            return
        yield batch


def _peak_bytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0


def _say(case: Case, episodes: Episodes, device: torch.device, asked: argparse.Namespace) -> None:
    height, width = episodes.image_size
    print(f"\ncameras: {case.cameras} of {height}x{width}, batch {case.batch}, {case.precision}")
    extra, rate, plain = case.extra, case.median, asked.plain_precision
    if not extra:
        print("  its process was killed, most likely for memory: no figures", flush=True)
        return
    extra["utilisation"] = extra["flops_per_sample"] * rate("step") / extra["matmul_flops"]
    memory = f"host {extra['host_peak_bytes'] / 1e9:.1f} GB"
    if device.type == "cuda":
        memory += f", device {extra['device_peak_bytes'] / 1e9:.1f} GB"
    lines = {
        "loader": (
            f"{rate('loader'):,.0f} samples/s, {case.ratio('loader', 'plain loader'):.0f} x plain "
            f"({rate('plain loader'):,.0f}), {case.ratio('loader', 'frames copy'):.2f} of copying "
            f"those frames from memory ({rate('frames copy'):,.0f}), "
            f"{case.ratio('loader', 'copy'):.2f} of copying one batch ({rate('copy'):,.0f})"
        ),
        "step": (
            f"{rate('step'):,.2f} samples/s, {case.ratio('step', 'plain step'):.2f} x plain in "
            f"{plain} ({rate('plain step'):,.2f}), {extra['utilisation']:.0%} of "
            f"{extra['matmul_flops'] / 1e12:.2f} TFLOP/s"
        ),
        "both": (
            f"{rate('both'):,.2f} samples/s, {case.ratio('both', 'plain both'):.2f} x plain in "
            f"{plain} ({rate('plain both'):,.2f}), {case.ratio('both', 'step'):.2f} of the step "
            f"alone, {extra['wait_share']:.1%} of the time waiting for data"
        ),
        "memory": memory,
    }
    for name, text in lines.items():
        print(f"  {name:8} {text}", flush=True)


if __name__ == "__main__":
    main()
