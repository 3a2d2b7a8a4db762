"""How fast training is, beside its ceilings and the plain path, in one run: one command, one table.

    python -m benchmarks.train [--cameras 1,3] [--batch 8,64] [--size 480x640] [--json FILE]

For each number of cameras and batch, in samples/s, ours and plain in turn so that a machine whose
speed drifts gives fair ratios:
loader   batches made and thrown away; its ceilings are copies by as many threads: of such frames
         from memory, and of one batch again and again, which the caches may hold
step     forward, backward and update on data that is there; its ceiling is the rate of matrix
         products (the share reached of it is the model FLOP utilisation)
both     the loader feeding the steps, once, with the share of the time spent waiting for data
plain    what upstream does (benchmarks/plain.py)
"""

import argparse
import contextlib
import json
import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from act.command_line import parse
from act.compute import computation, losses
from act.config import Config
from act.dataset import (
    Episodes,
    Order,
    Purpose,
    Sampler,
    epoch_order,
    norm_stats,
    open_episodes,
)
from act.device import choose_device, describe_device
from act.episode_writer import write_episode
from act.frames import FrameStore
from act.group import Group
from act.loader import Batch, Loader, Pass
from act.machine import cpu_count, keep_freed_memory
from act.setup import LATENT_DIM, loader_threads, make_policy
from benchmarks.plain import PlainItems, make_plain

CHUNK, DIMS = 100, 14


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
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    found = describe_device(device)
    print(f"{found['name']}, {cpu_count()} cores, torch {torch.__version__}, "
          f"{asked.size[0]}x{asked.size[1]}, hidden {asked.hidden_dim}, "
          f"feed-forward {asked.dim_feedforward}, chunk {CHUNK}")  # fmt: skip
    cases = []
    for cameras in asked.cameras:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            episodes = write_episodes(Path(folder), cameras, asked)
            for batch in asked.batch:
                loads = _measure_loaders(episodes, batch, asked, device)
                for precision in asked.precision:
                    case = Case(cameras, batch, precision, dict(loads))
                    _measure_steps(case, episodes, asked, device)
                    _say(case, device, asked.plain_precision)
                    cases.append(case)
    rows = [vars(case) for case in cases]
    asked.json.write_text(json.dumps({"device": found, "rows": rows}, indent=2))
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
    parser.add_argument("--steps", type=int, default=2, help="in each round")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where the frames are written")
    parser.add_argument("--json", type=Path, default="benchmark_train.json")
    return parser.parse_args()


def numbers(text: str, between: str = ",") -> tuple[int, ...]:
    """`8,64` or, between other signs, `480x640`."""
    return tuple(int(number) for number in text.split(between))


def write_episodes(folder: Path, cameras: int, asked: argparse.Namespace) -> Episodes:
    """Episodes of random frames, in the page cache."""
    random, names = np.random.default_rng(0), [f"camera_{c}" for c in range(cameras)]
    paths = []
    for episode in range(asked.episodes):
        shapes = dict.fromkeys(names, (asked.length, *asked.size))
        vectors = {
            name: random.standard_normal((asked.length, DIMS), np.float32)
            for name in ("action", "qpos", "qvel")
        }
        paths.append(folder / f"episode_{episode}.hdf5")
        attributes = {"sim": True, "camera_names": names}
        with write_episode(paths[-1], vectors, shapes, attributes) as writer:
            for name in names:
                for ts in range(asked.length):
                    writer.write_frame(
                        name, ts, random.integers(0, 256, (*asked.size, 3), np.uint8)
                    )
    for path in paths:  # into the page cache: the disk is not what is measured
        path.read_bytes()
    return open_episodes(paths)


def make_loader(
    episodes: Episodes, batch: int, count: int, device: torch.device, cached: bool = False
) -> Loader:
    """A loader whose one pass has at least `count` batches."""
    chosen = list(range(len(episodes.infos)))
    chosen *= -(-count * batch // len(chosen))
    sampler = Sampler(episodes, 0, chunk_size=CHUNK, latent_dim=LATENT_DIM, batch_size=batch)
    return Loader(
        sampler,
        norm_stats(episodes),
        [(Pass(0, train=True), chosen)],
        threads=loader_threads(),
        device=device,
        cached=cached,
    )


def _measure_loaders(
    episodes: Episodes, batch: int, asked: argparse.Namespace, device: torch.device
) -> dict[str, list[float]]:
    names = ("loader", "frames copy", "copy", "plain loader")
    rates: dict[str, list[float]] = {name: [] for name in names}
    count = max(4, 512 // batch)
    frames = _all_frames(episodes)
    for _ in range(asked.rounds):
        with make_loader(episodes, batch, count + 4, torch.device("cpu")) as loader:
            made = loader.batches(Pass(0, train=True))
            list(islice(made, 4))  # its buffers are there
            started = time.perf_counter()
            samples = sum(len(one.qpos) for one in islice(made, count))
            rates["loader"].append(samples / (time.perf_counter() - started))
        rates["frames copy"].append(_frames_copy_rate(frames, batch))
        rates["copy"].append(_copy_rate(episodes, batch))
        rates["plain loader"].append(_plain_loader_rate(episodes, batch))
    return rates


def _plain_loader_rate(episodes: Episodes, batch: int) -> float:
    """Samples/s of one epoch of upstream's loader: a process of its own, started for each epoch."""
    chosen = list(range(len(episodes.infos))) * 6
    order = epoch_order(chosen, episodes.lengths, 0, 0, Purpose.TRAIN_ORDER)
    items = PlainItems(episodes, norm_stats(episodes), order, CHUNK)
    loader = DataLoader(items, batch, num_workers=1, prefetch_factor=1)
    started = time.perf_counter()
    count = sum(len(one[0]) for one in loader)
    return count / (time.perf_counter() - started)


def _all_frames(episodes: Episodes) -> NDArray[np.uint8]:
    """Every image in memory: (samples, C, H, W, 3)."""
    store = FrameStore(episodes)
    frames = np.empty((sum(episodes.lengths), *store.shape), np.uint8)
    first = 0
    for episode, length in enumerate(episodes.lengths):
        order = Order(np.full(length, episode), np.arange(length))
        store.copy_into(order, frames[first : first + length])
        first += length
    store.close()
    return frames


def _frames_copy_rate(frames: NDArray[np.uint8], batch: int) -> float:
    """Samples/s of copying frames in random order from memory into a loader's number of batches."""
    threads = loader_threads()
    repeats = max(2, 512 // batch // threads)
    targets = [np.full((batch, *frames.shape[1:]), 2, np.uint8) for _ in range(2 * threads)]
    chosen = np.random.default_rng(0).integers(0, len(frames), (threads, repeats, batch))

    def copy(thread: int) -> None:
        for repeat, samples in enumerate(chosen[thread].tolist()):
            target = targets[thread + threads * (repeat % 2)]
            for place, sample in enumerate(samples):
                np.copyto(target[place], frames[sample])

    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(copy, range(threads)))
        return chosen.size / (time.perf_counter() - started)


def _copy_rate(episodes: Episodes, batch: int) -> float:
    """Samples/s of copying images of that size from memory to memory by as many threads."""
    height, width = episodes.image_size
    shape = (batch, len(episodes.camera_names), height, width, 3)
    threads = loader_threads()
    sources = [np.full(shape, 1, np.uint8) for _ in range(threads)]
    targets = [np.full(shape, 2, np.uint8) for _ in range(threads)]
    repeats = max(2, 256 // batch)

    def copy(thread: int) -> None:
        for _ in range(repeats):
            np.copyto(targets[thread], sources[thread])

    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(copy, range(threads)))
        return threads * repeats * batch / (time.perf_counter() - started)


def make_config(asked: argparse.Namespace, precision: str) -> Config:
    """The flags of a run with that network."""
    flags = ["--precision", precision, "--compile", asked.compile, "--backbone_weights", "none"]
    flags += ["--hidden_dim", str(asked.hidden_dim)]
    flags += ["--dim_feedforward", str(asked.dim_feedforward)]
    return parse(["--run_name", "bench", "--task_name", "bench", *flags], {})


def _measure_steps(
    case: Case, episodes: Episodes, asked: argparse.Namespace, device: torch.device
) -> None:
    _forget_peaks(device)
    config = make_config(asked, case.precision)
    policy, _ = make_policy(config, episodes)
    policy.to(device)
    network = computation(config, policy, device, Group())
    optimizer = torch.optim.AdamW(
        policy.parameter_groups(1e-5, 1e-5), weight_decay=1e-4, fused=True
    )
    with (
        _PlainProcess(case, episodes, asked, device) as plain,
        make_loader(episodes, case.batch, 1, device) as loader,
    ):
        batch = next(loader.batches(Pass(0, train=True)))

        def ours() -> None:
            step(network, optimizer, batch)

        ours()
        for _ in range(asked.rounds):
            case.add("step", case.batch / _seconds(ours, asked.steps, device))
            case.add("plain step", case.batch / plain.seconds(asked.steps))
        with FlopCounterMode(display=False) as counter:
            losses(network, batch)["loss"].backward()
        case.extra["flops_per_sample"] = counter.get_total_flops() / case.batch
    case.extra["matmul_flops"] = _matmul_rate(device, case.precision)
    _measure_both(case, episodes, asked, device, network, optimizer)
    case.extra["host_peak_bytes"] = _peak_bytes()
    if device.type == "cuda":
        case.extra["device_peak_bytes"] = torch.cuda.max_memory_allocated(device)


class _PlainProcess:
    """The plain path's steps, in a process of its own: its memory is handled as upstream's is."""

    def __init__(
        self, case: Case, episodes: Episodes, asked: argparse.Namespace, device: torch.device
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        paths = [info.path for info in episodes.infos]
        self._process = context.Process(
            target=_serve_plain, args=(theirs, paths, case.batch, asked, device), daemon=True
        )
        self._process.start()
        theirs.close()

    def seconds(self, steps: int) -> float:
        """Seconds of one step."""
        self._pipe.send(steps)
        found: float = self._pipe.recv()
        return found

    def __enter__(self) -> Self:
        self.seconds(1)  # so that it is warm
        return self

    def __exit__(self, *exc: object) -> None:
        self._pipe.close()
        self._process.join()


def _serve_plain(
    pipe: Connection, paths: list[Path], size: int, asked: argparse.Namespace, device: torch.device
) -> None:
    episodes = open_episodes(paths)
    config = replace(make_config(asked, asked.plain_precision), compile="off")
    policy = make_plain(make_policy(config, episodes)[0]).to(device)
    network = computation(config, policy, device, Group())
    optimizer = torch.optim.AdamW(
        [p.requires_grad_(True) for p in policy.parameters()], weight_decay=1e-4, foreach=False
    )
    with make_loader(episodes, size, 1, device) as loader:
        batch = next(loader.batches(Pass(0, train=True)))
        image = batch.image.permute(0, 1, 4, 2, 3) / 255.0
        batch = replace(batch, image=image.contiguous())
        with contextlib.suppress(EOFError):
            while steps := pipe.recv():
                pipe.send(_seconds(lambda: step(network, optimizer, batch), steps, device))


def step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
    """Forward, backward, update."""
    optimizer.zero_grad()
    loss = losses(network, batch)["loss"]
    loss.backward()
    optimizer.step()
    return loss


def _seconds(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Seconds of one step."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return (time.perf_counter() - started) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _measure_both(
    case: Case,
    episodes: Episodes,
    asked: argparse.Namespace,
    device: torch.device,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    count = asked.steps * asked.rounds
    if device.type == "cuda":  # more batches than the loader has in the making
        count = max(count, 200)
    with make_loader(
        episodes, case.batch, count + 1, device, cached=asked.data_cache == "gpu"
    ) as loader:
        made = loader.batches(Pass(0, train=True))
        step(network, optimizer, next(made))
        _wait(device)
        waits: list[float] = []
        started = time.perf_counter()
        for batch in _timed(islice(made, count), waits):
            step(network, optimizer, batch)
        _wait(device)
        waited, took = sum(waits), time.perf_counter() - started
    case.rates["both"] = [count * case.batch / took]
    case.extra["wait_share"] = waited / took


def _timed(batches: Iterator[Batch], waits: list[float]) -> Iterator[Batch]:
    while True:
        started = time.perf_counter()
        batch = next(batches, None)
        waits.append(time.perf_counter() - started)
        if batch is None:
            return
        yield batch


def _matmul_rate(device: torch.device, precision: str) -> float:
    """FLOP/s of large matrix products in that precision."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    size = 8192 if device.type == "cuda" else 2048
    one = torch.randn(size, size, device=device, dtype=dtype)

    def product() -> None:
        one @ one

    product()
    return 2 * size**3 / min(_seconds(product, 5, device) for _ in range(3))


def _forget_peaks(device: torch.device) -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts from here
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_bytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) << 10 if found else 0


def _say(case: Case, device: torch.device, plain: str) -> None:
    extra, rate = case.extra, case.median
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
            f"{rate('both'):,.2f} samples/s, {extra['wait_share']:.1%} of the time waiting for data"
        ),
        "memory": memory,
    }
    print(f"\n{case.cameras} cameras, batch {case.batch}, {case.precision}")
    for name, text in lines.items():
        print(f"  {name:8} {text}", flush=True)


if __name__ == "__main__":
    main()
