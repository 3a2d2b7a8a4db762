"""The memory that a step takes, and what to lower where there is not enough."""

import contextlib
from collections.abc import Iterator

import torch

from act.training.training_run import TrainingRun
from episodes.episode_set import Episodes
from job.errors import OutputError, first_line
from job.machine import local_processes

# What a step on the CPU takes in fp32: batches of 8 with one and three cameras of 480x640 came to
# 4.2 and 10.2 GB (benchmarks/train.py); with bf16 it is a fifth less.
_PARAMETER_BYTES = 16  # itself, its gradient and two moments
_PIXEL_BYTES = 1220  # of the images of a step: kept for the backward pass
_SIGNS_OF_NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


def step_bytes(run: TrainingRun) -> int:
    """Memory that a training step on the CPU takes on this machine, roughly."""
    height, width = run.data.episodes.image_size
    samples = -(-run.effective_batch // (run.group.size * run.flags.accumulate))
    pixels = samples * len(run.data.episodes.camera_names) * height * width
    parameters = sum(parameter.numel() for parameter in run.policy.parameters())
    return local_processes() * (_PARAMETER_BYTES * parameters + _PIXEL_BYTES * pixels)


@contextlib.contextmanager
def out_of_memory_errors(batch_size: int, episodes: Episodes | None = None) -> Iterator[None]:
    """Running out of memory becomes one line with what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not out_of_memory and not any(sign in text for sign in _SIGNS_OF_NO_MEMORY):
            raise
        raise OutputError(
            f"out of memory while training with batch {batch_size}, {_images(episodes)} "
            f"({first_line(error)}); in another run, lower --batch_size, --image_size or "
            f"the number of cameras, or raise --accumulate; on a GPU also try --data_cache none",
            code="memory",
        ) from error


def _images(episodes: Episodes | None) -> str:
    if episodes is None:
        return "before the episodes were read"
    height, width = episodes.image_size
    return f"{len(episodes.camera_names)} cameras, {height}x{width}"
