"""One step of training: rates, gradient, update. Nothing in it waits for the device."""

import contextlib

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from act.batches.batch import Batch
from act.training.schedule import lr_factor
from act.training.training_run import TrainingRun


def begin_step(run: TrainingRun) -> None:
    """Bring learning rates and weights of the loss to where the schedule has them."""
    flags, step = run.flags, run.progress.step
    factor = lr_factor(flags, step, flags.epochs * run.epoch_steps)
    rates = (flags.learning_rate, flags.lr_backbone)
    for group, rate in zip(run.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor
    run.policy.set_step(step)
    run.optimizer.zero_grad()


def add_gradient(run: TrainingRun, batch: Batch, part: int) -> dict[str, Tensor]:
    """Add a part of a step to the gradient; returns its losses, still on the device.

    Dropout is seeded by (seed, step), so a run can resume at any step without a generator's state.
    """
    entropy = [run.flags.seed, run.progress.step, run.group.rank, part]
    torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))
    network, alone = run.network, contextlib.nullcontext()
    spread = isinstance(network, DistributedDataParallel) and not batch.ends_step
    with network.no_sync() if spread else alone:  # type: ignore[operator]
        losses = network(batch)
        # the processes' gradients are averaged, and the losses of their parts add up
        (losses["loss"] * run.group.size).backward()
    return {name: loss.detach() for name, loss in losses.items()}


def update(run: TrainingRun, samples: int, losses: Tensor) -> None:
    """One optimizer update, and the progress that it is."""
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if run.flags.grad_clip:
        torch.nn.utils.clip_grads_with_norm_(parameters, run.flags.grad_clip, norm)
    with run.saver.whole():
        run.optimizer.step()
        run.policy.decay_uncomputed(run.optimizer.param_groups[0]["lr"], run.flags.weight_decay)
        run.progress.add_step(samples, losses, norm)
        if run.average is not None:
            run.average.update(run.progress.step)
