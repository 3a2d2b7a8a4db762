"""The memory that a step takes, and what to lower where there is not enough."""

import contextlib
from collections.abc import Iterator

import torch

from act.training.flags import TrainingFlags
from act.training.training_run import TrainingRun
from episodes.episode_set import Episodes
from job.errors import OutputError, first_line
from job.machine import local_processes, resident_bytes

# What a step on the CPU takes in fp32: batches of 8 with one and three cameras of 480x640 came to
# 4.2 and 10.2 GB (benchmarks/train.py); with bf16 it is a fifth less.
_PARAMETER_BYTES = 16  # itself, its gradient and two moments
_PIXEL_BYTES = 1220  # of the images of a step: kept for the backward pass
# Without images the whole process is counted: chunks of 100 in batches of 4, 32 and 64 came to 2.4,
# 3.5 and 5.0 GB with upstream's sizes. Libraries are what is in use when the plan is made: the same
# ones took 450 MB on one machine and 830 on another, whose kernel maps more of their files at once.
_KEPT_BYTES = 20  # of a parameter: gradient, two moments, best weights, and those being written
_AVERAGE_BYTES = 4  # of a parameter, with --ema
_TOKEN_VALUES = 20, 4  # kept of a token by a layer: in hidden, and in feed-forward widths
_SIGNS_OF_NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


def step_bytes(run: TrainingRun) -> int:
    """Memory that a training step on the CPU takes on this machine, roughly."""
    samples = -(-run.effective_batch // (run.group.size * run.flags.accumulate))
    parameters = sum(parameter.numel() for parameter in run.policy.parameters())
    averaged = 0 if run.average is None else _AVERAGE_BYTES * parameters
    episodes = run.data.episodes
    if episodes.camera_names:
        height, width = episodes.image_size
        pixels = samples * len(episodes.camera_names) * height * width
        needed = _PARAMETER_BYTES * parameters + _PIXEL_BYTES * pixels
    else:
        kept = resident_bytes() + _KEPT_BYTES * parameters
        needed = kept + samples * _chunk_bytes(run.flags, run.policy.chunk_size)
    return local_processes() * (needed + averaged)


def _chunk_bytes(flags: TrainingFlags, chunk_size: int) -> int:
    """What a sample without images keeps for the backward pass: its tokens are its actions."""
    computed = 1 if flags.decoder_output == "first" else flags.dec_layers
    of_hidden, of_feedforward = _TOKEN_VALUES
    values = of_hidden * flags.hidden_dim + of_feedforward * flags.dim_feedforward
    return 4 * chunk_size * (flags.enc_layers + computed) * values


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
            f"({first_line(error)}); in another run, lower {what_to_lower(episodes)}, or raise "
            f"--accumulate{_on_gpu(episodes)}",
            code="memory",
        ) from error


def what_to_lower(episodes: Episodes | None) -> str:
    """The flags that a smaller step takes; episodes: None = before they were read."""
    if episodes is not None and not episodes.camera_names:
        return "--batch_size or --chunk_size"
    return "--batch_size, --image_size or the number of cameras"


def _on_gpu(episodes: Episodes | None) -> str:
    cached = episodes is None or episodes.camera_names
    return "; on a GPU also try --data_cache none" if cached else ""


def _images(episodes: Episodes | None) -> str:
    if episodes is None:
        return "before the episodes were read"
    if not episodes.camera_names:
        return "no cameras"
    height, width = episodes.image_size
    return f"{len(episodes.camera_names)} cameras, {height}x{width}"
