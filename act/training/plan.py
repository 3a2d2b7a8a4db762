"""What is reported of a training run: before it to the user, after it to the manifest."""

import logging
import math
from collections.abc import Iterator, Mapping

from act.batches.shares import Shares
from act.processes.device import device_section
from act.processes.precision import precision_reason
from act.training.memory import step_bytes, what_to_lower
from act.training.training_run import TrainingRun
from episodes.episode_set import Episodes
from episodes.estimate_lines import lines
from episodes.estimates import estimate_episodes
from episodes.padding import padding_share
from job.machine import memory_bytes
from job.sections.training import Training
from job.words import counted

logger = logging.getLogger("act")


def training_section(run: TrainingRun) -> Training:
    """The training section of the manifest, as it stands."""
    rows = run.metrics.rows
    return Training(
        epochs=run.flags.epochs,
        epochs_done=len(rows),
        continued_from_step=run.resumed_from_step,
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


def report_plan(run: TrainingRun) -> None:
    """Print what will happen; what the data say about it goes to the manifest as well."""
    if not run.group.is_first:
        return
    estimates = estimate_episodes(run.data.episodes, run.policy.chunk_size)
    run.manifest.set("estimates", estimates)
    for what, text in _plan(run, lines(estimates)):
        logger.info("%-10s %s", what, text)
    if run.effective_batch < run.batch_size:
        logger.warning(
            "a batch of %d is more than an epoch has: %s of %s, so a step has %d",
            run.batch_size,
            counted(run.flags.samples_per_episode, "sample"),
            counted(len(run.data.train_episodes), "training episode"),
            run.effective_batch,
        )
    needed, there = step_bytes(run), memory_bytes()
    if run.device.type == "cpu" and needed > there:
        logger.warning(
            "a step takes about %.1f GB of memory, found %.1f GB: the kernel would kill the job; "
            "in another run, lower %s, or raise --accumulate",
            needed / 1e9,
            there / 1e9,
            what_to_lower(run.data.episodes),
        )


def _plan(run: TrainingRun, said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each line with its name; `said` by the data, of the lag, the chunk, jumps and idle frames."""
    flags, episodes, info = run.flags, run.data.episodes, run.data.episodes.infos[0]
    lengths = episodes.lengths
    shortest, longest, frames = min(lengths), max(lengths), sum(lengths)
    epoch_steps = run.epoch_steps
    samples = flags.epochs * run.samples_an_epoch
    parameters = sum(parameter.numel() for parameter in run.policy.parameters())
    padding = padding_share([lengths[e] for e in run.data.train_episodes], run.policy.chunk_size)
    disk = (3 + bool(run.average) + len(run.snapshots)) * parameters * 4 / 1e9
    yield (
        "episodes",
        f"{len(lengths)} of {shortest} to {longest} frames, {frames} in all",
    )
    yield (
        "split",
        f"{len(run.data.train_episodes)} to train on, {len(run.data.val_episodes)} to validate on",
    )
    yield "cameras", _cameras(episodes)
    env_state = f", env_state {info.env_state_dim}" if episodes.env_state else ""
    yield "dims", f"qpos {info.qpos_dim}, action {info.action_dim}{env_state}"
    yield "chunk", f"{run.policy.chunk_size} steps, on average {padding:.0%} of them padding"
    yield "", said["chunk"]
    for what in ("lag", "jumps", "idle"):
        yield what, said[what]
    yield "batch", f"{run.effective_batch} samples a step ({flags.batch_mode}, {_processes(run)})"
    length = f"{flags.epochs} epochs of {epoch_steps} steps, {flags.epochs * epoch_steps} steps"
    yield "length", f"{length}, {samples} samples"
    yield "", f"one sample is one frame of an episode: {samples / frames:.2g} passes over all"
    if run.data.shares is not None:
        yield from _shares(run, run.data.shares, samples)
    yield "policy", f"{flags.policy_class}, {parameters / 1e6:.1f} M parameters"
    if not run.has_norms and episodes.camera_names:
        yield "", "no backbone weights: its frozen batch norm has the statistics of some frames"
    if run.average is not None:
        yield "", f"averaged weights are kept beside it (--ema {flags.ema})"
    yield "device", f"{run.device}, {device_section(run.device).name}"
    yield "precision", precision_reason(flags, run.device)
    if run.resumed_from_step is not None:
        yield "resume", f"from epoch {run.progress.epoch}, step {run.progress.step}"
    if run.device.type == "cpu":
        yield "memory", f"a step takes about {step_bytes(run) / 1e9:.1f} GB"
    yield "disk", f"checkpoints will take about {disk:.1f} GB"


def _shares(run: TrainingRun, shares: Shares, samples: int) -> Iterator[tuple[str, str]]:
    """What each dataset counts: a line each."""
    for number, weight in enumerate(shares.weights):
        mine = [one for one in run.data.train_episodes if shares.dataset[one] == number]
        passes = samples * weight / sum(run.data.episodes.lengths[one] for one in mine)
        yield (
            "" if number else "datasets",
            f"{weight:.1%} of the samples from {counted(len(mine), 'training episode')} of "
            f"{_folder(run, shares, number)}: {passes:.2g} passes",
        )


def _folder(run: TrainingRun, shares: Shares, number: int) -> str:
    dataset = run.manifest.content.dataset
    episode = shares.dataset.index(number)
    return "" if dataset is None else str(dataset.episodes[episode].dataset)


def _cameras(episodes: Episodes) -> str:
    if not episodes.camera_names:
        return f"none: the policy sees qpos{' and env_state' if episodes.env_state else ' alone'}"
    height, width = episodes.image_size
    return f"{', '.join(episodes.camera_names)}; {height}x{width}"


def _processes(run: TrainingRun) -> str:
    return "1 process" if run.group.size == 1 else f"{run.group.size} processes"
