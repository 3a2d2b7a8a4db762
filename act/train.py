"""The verb: episode files in; checkpoints, statistics, curves and metrics out.

Upstream's imitate_episodes in order: split, statistics, then per epoch validate, keep the best,
train. Where batches come from is the loader's business, on which device they are used the policy's.
"""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from act.checkpoint import (
    LAST,
    copy_weights,
    epoch_path,
    read_backbone,
    run_files,
    save_weights,
)
from act.compute import check_compiler, losses
from act.config import Config
from act.curves import draw_curves
from act.dataset import Order
from act.describe import describe_training, say_plan
from act.device import choose_device
from act.errors import DivergedError, JobError, OutputError, UsageError
from act.group import Group
from act.loader import Batch, Pass
from act.manifest import Manifest
from act.metrics import Row
from act.policy import ACTPolicy
from act.progress import progress_bar
from act.schedule import kl_factor, lr_factor
from act.setup import Run, prepare

logger = logging.getLogger("act")

CURVES_EPOCHS = 100


def check_ready(config: Config, folder: Path) -> None:
    """Refuse what would stop training, before hours of conversion."""
    _check_unfinished(folder)
    choose_device(config.device)
    check_compiler(config)
    read_backbone(config.backbone_weights)


def train(
    config: Config,
    paths: Sequence[Path],
    folder: Path,
    manifest: Manifest,
    group: Group | None = None,
) -> None:
    """Train on the episode files `paths` and leave everything in `folder`.

    group: the processes that share the work; None: this one alone

    Raises DatasetError for the files, OutputError for the folder, DivergedError when a loss is not
    finite, Interrupted on a signal or when another process is lost; what was written before stays.
    """
    with _memory_errors(config):
        run = prepare(config, paths, folder, manifest, group or Group())
        say_plan(run)
        try:
            with run.loader:
                for epoch in _progress(run):
                    _train_one_epoch(run, epoch)
                    if _is_stuck(run, epoch):
                        break
            _finish(run)
        except BaseException:
            with contextlib.suppress(JobError):  # the first error is the one to tell
                _leave(run)
            raise
        _leave(run)
    logger.info(
        "done       best validation loss %.4f at epoch %s; results in %s",
        run.best.loss, run.best.epoch, run.folder,
    )  # fmt: skip


def _check_unfinished(folder: Path) -> None:
    """A trained policy is never overwritten; what an unfinished run left is."""
    last = folder / LAST
    if last.exists():
        raise UsageError(
            f"{last}: a finished run is here, which is not overwritten; choose another "
            f"--run_name, or move it away"
        )


@contextlib.contextmanager
def _memory_errors(config: Config) -> Iterator[None]:
    """Running out of memory is told with what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not (out_of_memory or "can't allocate memory" in text):
            raise
        raise OutputError(
            f"out of memory while training with batch {config.batch_size} "
            f"({text.splitlines()[0] if text else 'no details'}); lower --batch_size, "
            f"--image_size, --dim_feedforward or the number of cameras"
        ) from error


def _train_one_epoch(run: Run, epoch: int) -> None:
    """Validate, keep the best, train: upstream's order, so the best weights are as validated."""
    val = validate(run, epoch)
    run.best.offer(epoch, val["loss"], run.policy.state_dict())
    run.metrics.add(_train_epoch(run, epoch, val))
    if not run.group.is_first:
        return
    if epoch in run.snapshots:
        path = epoch_path(run.folder, epoch, run.config.seed)
        save_weights(path, copy_weights(run.policy.state_dict()))
    if epoch % CURVES_EPOCHS == 0:
        draw_curves(run.folder, run.metrics.rows, run.config.seed)
    if (epoch + 1) % run.config.save_interval == 0:
        _leave(run)
        run.manifest.write()


@torch.inference_mode()
def validate(run: Run, epoch: int) -> dict[str, float]:
    """Mean of the batches' losses in eval mode; the latent is sampled, as upstream."""
    run.policy.eval()
    _weigh_kl(run, 1.0)  # else the best loss would be one from the warm-up
    record = _Record()
    for batch in run.loader.batches(Pass(epoch, train=False)):
        run.group.check_stop()
        record.add(batch, losses(run.network, batch))
    return record.means(run, epoch, "validation")


def _train_epoch(run: Run, epoch: int, val: dict[str, float]) -> Row:
    run.policy.train()
    record, norms = _Record(), []
    started = waited = time.monotonic()
    wait_s = 0.0
    part = 0  # of the step
    for batch in run.loader.batches(Pass(epoch, train=True)):
        wait_s += time.monotonic() - waited
        if part == 0:
            run.group.check_stop()
            _begin_step(run)
        record.add(batch, _add_gradient(run, batch, part))
        part += 1
        if batch.ends_step:
            norms.append(_update(run))
            run.samples += batch.step_samples
            part = 0
        waited = time.monotonic()
    means = record.means(run, epoch, "training")
    return Row(
        epoch=epoch,
        step=run.step,
        samples=run.samples,
        train=means,
        val=val,
        lr=run.optimizer.param_groups[0]["lr"],
        grad_norm=float(torch.stack(norms).mean()),
        wait_s=round(wait_s, 4),
        compute_s=round(time.monotonic() - started - wait_s, 4),
    )


def _begin_step(run: Run) -> None:
    """Bring learning rates and the KL weight to where the schedule has them."""
    config = run.config
    factor = lr_factor(config, run.step, config.epochs * run.epoch_steps)
    rates = (config.learning_rate, config.lr_backbone)
    for group, rate in zip(run.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor
    _weigh_kl(run, kl_factor(config, run.step))
    run.optimizer.zero_grad()


def _weigh_kl(run: Run, factor: float) -> None:
    if run.config.kl_warmup and isinstance(run.policy, ACTPolicy):
        run.policy.kl_weight.fill_(run.config.kl_weight * factor)


def _add_gradient(run: Run, batch: Batch, part: int) -> dict[str, Tensor]:
    """Add a part of a step to the gradient; returns its losses, still on the device.

    Dropout is seeded by (seed, step), so a run can go on from any step without a generator's state.
    """
    entropy = [run.config.seed, run.step, run.group.rank, part]
    torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))
    network, alone = run.network, contextlib.nullcontext()
    spread = isinstance(network, DistributedDataParallel) and not batch.ends_step
    with network.no_sync() if spread else alone:  # type: ignore[operator]
        found = losses(network, batch)
        # the processes' gradients are averaged, and the losses of their parts add up
        (found["loss"] * run.group.size).backward()
    return {name: loss.detach() for name, loss in found.items()}


def _update(run: Run) -> Tensor:
    """One optimizer update; returns the norm that the gradient had, still on the device."""
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if run.config.grad_clip:
        torch.nn.utils.clip_grads_with_norm_(parameters, run.config.grad_clip, norm)
    run.optimizer.step()
    run.policy.decay_uncomputed(run.optimizer.param_groups[0]["lr"], run.config.weight_decay)
    run.step += 1
    return norm


class _Record:
    """The losses of a pass, kept on the device: they are read once, when it has ended.

    So a loss that is not finite is noticed up to an epoch late, before anything is saved of it.
    """

    def __init__(self) -> None:
        self._steps: list[Tensor] = []
        self._orders: list[Order] = []
        self._names: tuple[str, ...] = ()
        self._continues = False

    def add(self, batch: Batch, found: dict[str, Tensor]) -> None:
        """Take what a part adds to its step."""
        self._names = tuple(found)
        values = torch.stack(tuple(found.values()))
        if self._continues:
            self._steps[-1] = self._steps[-1] + values
        else:
            self._steps.append(values)
            self._orders.append(batch.order)
        self._continues = not batch.ends_step

    def means(self, run: Run, epoch: int, phase: str) -> dict[str, float]:
        """Upstream's mean: of the batches' means, a smaller last batch counting like the others."""
        values = run.group.sum(torch.stack(self._steps)).cpu()
        for step, found in enumerate(values):
            if not torch.isfinite(found).all():
                self._refuse(run, epoch, phase, step, found)
        return dict(zip(self._names, values.mean(dim=0).tolist(), strict=True))

    def _refuse(self, run: Run, epoch: int, phase: str, step: int, found: Tensor) -> NoReturn:
        shown = ", ".join(
            f"{name} {value:g}" for name, value in zip(self._names, found.tolist(), strict=True)
        )
        episodes = sorted(set(self._orders[step].episode.tolist()))
        names = ", ".join(run.episodes.infos[e].path.name for e in episodes)
        raise DivergedError(
            f"{phase} of epoch {epoch}, step {step}: {shown}, expected finite losses; the batch is "
            f"of {names}; look at those episodes, or lower --learning_rate; the checkpoints "
            f"written before are intact"
        )


def _is_stuck(run: Run, epoch: int) -> bool:
    """Whether `--early_stopping` ends the run here."""
    patience = run.config.early_stopping
    stuck = bool(patience) and run.best.epoch is not None and epoch - run.best.epoch >= patience
    if stuck:
        logger.info("early stop  no better validation loss in the last %d epochs", patience)
    return stuck


def _finish(run: Run) -> None:
    """What upstream leaves at the end: the best weights twice, the curves, the last weights."""
    if not run.group.is_first:
        return
    assert run.best.epoch is not None
    run.best.copy_to(epoch_path(run.folder, run.best.epoch, run.config.seed))
    draw_curves(run.folder, run.metrics.rows, run.config.seed)
    # last of all: it marks the run as finished
    save_weights(run.folder / LAST, copy_weights(run.policy.state_dict()))


def _leave(run: Run) -> None:
    """Put everything so far on disk and into the manifest, however the run ends."""
    if not run.group.is_first:
        return
    run.metrics.flush()
    run.best.flush()
    for path in run_files(run.folder):
        run.manifest.add_artifact(path)
    run.manifest.set("training", describe_training(run))


def _progress(run: Run) -> Iterator[int]:
    with progress_bar(run.config.epochs, "train", "epoch", shown=run.group.is_first) as bar:
        for epoch in range(run.config.epochs):
            yield epoch
            row = run.metrics.rows[-1]
            losses = {"loss": f"{row.train['loss']:.4f}", "val": f"{row.val['loss']:.4f}"}
            bar.set_postfix(losses, refresh=False)
            bar.update()
