"""What the machine can do at most: copies in memory, and matrix products."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from act.training.setup import loader_threads
from benchmarks.workload import seconds_each
from episodes.episode_set import Episodes
from episodes.frames import open_frames


def all_frames(episodes: Episodes) -> NDArray[np.uint8]:
    """Every image in memory: (samples, C, H, W, 3)."""
    store = open_frames(episodes)
    frames = np.empty((sum(episodes.lengths), *store.shape), np.uint8)
    first = 0
    for episode, length in enumerate(episodes.lengths):
        chosen = np.full(length, episode)
        store.copy_into(chosen, np.arange(length), frames[first : first + length])
        first += length
    store.close()
    return frames


def frames_copy_rate(frames: NDArray[np.uint8], batch: int) -> float:
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

    return chosen.size / _seconds_of(copy, threads)


def batch_copy_rate(episodes: Episodes, batch: int) -> float:
    """Samples/s of copying one batch again and again, which the processor's caches may hold."""
    shape = (batch, len(episodes.camera_names), *episodes.image_size, 3)
    threads = loader_threads()
    sources = [np.full(shape, 1, np.uint8) for _ in range(threads)]
    targets = [np.full(shape, 2, np.uint8) for _ in range(threads)]
    repeats = max(2, 256 // batch)

    def copy(thread: int) -> None:
        for _ in range(repeats):
            np.copyto(targets[thread], sources[thread])

    return threads * repeats * batch / _seconds_of(copy, threads)


def _seconds_of(work: Callable[[int], None], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        return seconds_each(lambda: list(pool.map(work, range(threads))), 1)


def matmul_rate(device: torch.device, precision: str) -> float:
    """FLOP/s of large matrix products in that precision."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    size = 8192 if device.type == "cuda" else 2048
    one = torch.randn(size, size, device=device, dtype=dtype)

    def product() -> None:
        one @ one

    product()
    return 2 * size**3 / min(seconds_each(product, 5, device) for _ in range(3))
