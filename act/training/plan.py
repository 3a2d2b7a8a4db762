"""What is said of a training run: before it to the user, after it to the manifest."""

import logging
import math
from collections.abc import Iterator

from act.processes.device import describe_device
from act.training.setup import Run
from episodes.padding import padding_share
from job.machine import local_processes, memory_bytes
from job.sections.training import Training

logger = logging.getLogger("act")

# What a step on the CPU takes in fp32: batches of 8 with one and three cameras of 480x640 came to
# 4.2 and 10.2 GB (benchmarks/train.py); with bf16 it is a fifth less.
_PARAMETER_BYTES = 16  # itself, its gradient and two moments
_PIXEL_BYTES = 1220  # of the images of a step: what the way back needs


def describe_training(run: Run) -> Training:
    """The training section of the manifest, as it stands."""
    rows = run.metrics.rows
    return Training(
        epochs=run.config.epochs,
        epochs_done=len(rows),
        continued_from_step=run.continued_from,
        steps=run.progress.step,
        samples=run.progress.samples,
        effective_batch=run.effective_batch,
        best_epoch=run.best.epoch,
        best_val_loss=run.best.loss if math.isfinite(run.best.loss) else None,
        last_train=rows[-1].train if rows else None,
        last_val=rows[-1].val if rows else None,
        samples_per_second=round(run.metrics.samples_per_second, 3),
        data_wait_share=round(run.metrics.wait_share, 4),
    )


def say_plan(run: Run) -> None:
    """Print what will happen."""
    for what, text in _plan(run):
        logger.info("%-10s %s", what, text)
    if run.effective_batch < run.batch_size:
        logger.warning(
            "a batch of %d is more than the %d training episodes, and an epoch takes one sample "
            "of each: every step has %d",
            run.batch_size,
            len(run.train_episodes),
            run.effective_batch,
        )
    needed, there = step_bytes(run), memory_bytes()
    if run.device.type == "cpu" and needed > there:
        logger.warning(
            "a step takes about %.1f GB of memory, found %.1f GB: the kernel would kill the job; "
            "under another --run_name, lower --batch_size, --image_size or the number of cameras, "
            "or raise --accumulate",
            needed / 1e9,
            there / 1e9,
        )


def step_bytes(run: Run) -> int:
    """Memory that a training step on the CPU takes on this machine, roughly."""
    height, width = run.episodes.image_size
    samples = -(-run.effective_batch // (run.group.size * run.config.accumulate))
    pixels = samples * len(run.episodes.camera_names) * height * width
    parameters = sum(parameter.numel() for parameter in run.policy.parameters())
    return local_processes() * (_PARAMETER_BYTES * parameters + _PIXEL_BYTES * pixels)


def _plan(run: Run) -> Iterator[tuple[str, str]]:
    config, episodes, info = run.config, run.episodes, run.episodes.infos[0]
    lengths, (height, width) = episodes.lengths, episodes.image_size
    shortest, longest, frames = min(lengths), max(lengths), sum(lengths)
    epoch_steps = run.epoch_steps
    samples = config.epochs * len(run.train_episodes)
    parameters = sum(parameter.numel() for parameter in run.policy.parameters())
    padding = padding_share([lengths[e] for e in run.train_episodes], run.chunk_size)
    disk = (3 + len(run.snapshots)) * parameters * 4 / 1e9
    yield (
        "episodes",
        f"{len(lengths)} of {shortest} to {longest} frames, {frames} in all",
    )
    yield "split", f"{len(run.train_episodes)} to train on, {len(run.val_episodes)} to validate on"
    yield "cameras", f"{', '.join(episodes.camera_names)}; {height}x{width}"
    yield "dims", f"qpos {info.qpos_dim}, action {info.action_dim}"
    yield "chunk", f"{run.chunk_size} steps, on average {padding:.0%} of them padding"
    yield "batch", f"{run.effective_batch} samples a step ({config.batch_mode}, {_processes(run)})"
    length = f"{config.epochs} epochs of {epoch_steps} steps, {config.epochs * epoch_steps} steps"
    yield "length", f"{length}, {samples} samples"
    yield "", f"one sample is one frame of an episode: {samples / frames:.2g} passes over all"
    yield "policy", f"{config.policy_class}, {parameters / 1e6:.1f} M parameters"
    if run.manifest.get("policy").network.batch_norm == "frames":
        yield "", "no backbone weights: its frozen batch norm has the statistics of some frames"
    yield "device", f"{run.device}, {describe_device(run.device).name}"
    if run.continued_from is not None:
        yield "continue", f"from epoch {run.progress.epoch}, step {run.progress.step}"
    if run.device.type == "cpu":
        yield "memory", f"a step takes about {step_bytes(run) / 1e9:.1f} GB"
    yield "disk", f"checkpoints will take about {disk:.1f} GB"


def _processes(run: Run) -> str:
    return "1 process" if run.group.size == 1 else f"{run.group.size} processes"
