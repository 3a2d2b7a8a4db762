"""What the benchmarks of training measure: episodes, flags, a loader, a step, and their clock."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from act.batches.batch import Batch
from act.batches.loader import Loader, Pass
from act.batches.sampler import Sampler
from act.policies.act import LATENT_DIM
from act.policies.statistics import norm_stats
from act.training.setup import loader_threads
from episodes.episode_set import Episodes, open_episodes
from episodes.frame_cache import FrameCache
from episodes.writer import write_episode
from lerobot_to_act import JobFlags, parse

CHUNK, DIMS = 100, 14


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


def make_config(asked: argparse.Namespace, precision: str) -> JobFlags:
    """The flags of a run with that network."""
    flags = ["--precision", precision, "--compile", asked.compile, "--backbone_weights", "none"]
    flags += ["--hidden_dim", str(asked.hidden_dim)]
    flags += ["--dim_feedforward", str(asked.dim_feedforward)]
    return parse(["--run_name", "bench", "--task_name", "bench", *flags], {})


def make_loader(
    episodes: Episodes,
    batch: int,
    count: int,
    device: torch.device,
    cached: bool = False,
    kept: FrameCache | None = None,
) -> Loader:
    """A loader whose one pass has at least `count` batches; cached, kept: as `Loader` has it."""
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
        kept=kept,
    )


def step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
    """Forward, backward, update."""
    optimizer.zero_grad()
    loss = network(batch)["loss"]
    loss.backward()
    optimizer.step()
    return loss


def seconds_each(
    work: Callable[[], object], count: int, device: torch.device | None = None
) -> float:
    """Seconds of one of `count` calls of `work`."""
    wait_for(device)
    started = time.perf_counter()
    for _ in range(count):
        work()
    wait_for(device)
    return (time.perf_counter() - started) / count


def wait_for(device: torch.device | None) -> None:
    """Wait for what a GPU was given to do."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
