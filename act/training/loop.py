"""The verb: episode files in; checkpoints, statistics, curves and metrics out.

Upstream's imitate_episodes in order: split, statistics, then per epoch validate, keep the best,
train. Where batches come from, and how they get to the device, is the loader's business.
"""

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from act.batches.loader import Batch, Pass
from act.batches.order import Order
from act.policies.act import ACTPolicy
from act.policies.frozen_norms import set_statistics
from act.policies.weights import copy_weights, read_backbone, save_weights
from act.processes.compilation import check_compiler
from act.processes.computation import losses
from act.processes.device import choose_device
from act.processes.group import Ask, Group
from act.processes.precision import resolved_precision
from act.training.checkpoints import LAST, epoch_path, run_files
from act.training.curves import draw_curves
from act.training.flags import TrainingFlags
from act.training.metrics import Row
from act.training.plan import describe_training, say_plan
from act.training.run_folder import check_folder
from act.training.schedule import kl_factor, lr_factor
from act.training.setup import Run, prepare
from act.training.state import State
from job import signals
from job.errors import DivergedError, Interrupted, JobError, OutputError, first_line
from job.manifest import Manifest
from job.progress import progress_bar

logger = logging.getLogger("act")

CURVES_EPOCHS = 100
_SIGNS_OF_NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


def check_ready(config: TrainingFlags, folder: Path) -> bool:
    """Refuse what would stop training, before hours of conversion; True where it has ended."""
    if check_folder(config, folder):
        return True
    device = choose_device(config.device)
    resolved_precision(config, device)
    check_compiler(config, device)
    read_backbone(config.backbone_weights)
    return False


def train(
    config: TrainingFlags,
    paths: Sequence[Path],
    folder: Path,
    manifest: Manifest,
    group: Group | None = None,
) -> None:
    """Train on the episode files `paths` from where a run before stopped; all goes to `folder`.

    group: the processes that share the work; None: this one alone

    Raises DatasetError for the files, OutputError for the folder, DivergedError when a loss is not
    finite, Interrupted on a signal or when another process is lost; what was written before stays.
    """
    with _memory_errors(config, manifest):
        run = prepare(config, paths, folder, manifest, group or Group())
        say_plan(run)
        _set_norms(run)
        try:
            with run.loader, signals.last_word(partial(_save_in_time, run)):
                for epoch in _progress(run):
                    _epoch(run, epoch)
                _save(run, beside=False)
            _finish(run)
        except BaseException as error:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                # an interruption has saved, and weights that diverged are not to be gone on with
                _save_in_time(run, not isinstance(error, Interrupted | DivergedError))
            with contextlib.suppress(JobError):
                _leave(run)
            raise
        _leave(run)
    logger.info(
        "done       best validation loss %.4f at epoch %s; results in %s",
        run.best.loss, run.best.epoch, run.folder,
    )  # fmt: skip


def _set_norms(run: Run) -> None:
    """Give the frozen batch norms of a backbone that starts at random their statistics."""
    if not run.is_normed:
        seed = run.config.seed
        set_statistics(run.policy, run.episodes, run.train_episodes, seed, run.device)
        run.group.share(run.policy.buffers())  # GPUs of another kind round otherwise


@contextlib.contextmanager
def _memory_errors(config: TrainingFlags, manifest: Manifest) -> Iterator[None]:
    """Running out of memory is told with what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not out_of_memory and not any(sign in text for sign in _SIGNS_OF_NO_MEMORY):
            raise
        raise OutputError(
            f"out of memory while training with batch {config.batch_size}, {_images(manifest)} "
            f"({first_line(error)}); under another --run_name, lower --batch_size, --image_size "
            f"or the number of cameras, or raise --accumulate; on a GPU also try --data_cache none",
            code="memory",
        ) from error


def _images(manifest: Manifest) -> str:
    policy = manifest.get("policy")
    if policy is None:
        return "before it began"
    image = policy.inputs.image
    return f"{len(image.camera_names)} cameras, {image.height}x{image.width}"


def _epoch(run: Run, epoch: int) -> None:
    """Validate, keep the best, train: upstream's order, so the best weights are as validated."""
    progress = run.progress
    if not progress.val:
        val = validate(run, epoch)
        with run.saver.whole():
            run.best.offer(epoch, val["loss"], run.policy.state_dict())
            progress.val = val
        run.best.write_in_turn()
    row = _train_epoch(run, epoch)
    if run.group.is_first and epoch in run.snapshots:
        save_weights(
            epoch_path(run.folder, epoch, run.config.seed), copy_weights(run.policy.state_dict())
        )
    with run.saver.whole():
        run.metrics.add(row)
        progress.next_epoch()
    if not run.group.is_first:
        return
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
    record = _Record(f"validation of epoch {epoch}")
    for batch in run.loader.batches(Pass(epoch, train=False)):
        _heed(run)
        record.add(batch, losses(run.network, batch))
    return record.means(run)


def _train_epoch(run: Run, epoch: int) -> Row:
    run.policy.train()
    progress = run.progress
    record = _Record(f"training of epoch {epoch}", tuple(progress.val), progress.losses)
    started = waited = time.monotonic()
    wait_s = 0.0
    part = 0  # of the step
    for batch in run.loader.batches(Pass(epoch, train=True, done=progress.epoch_samples)):
        wait_s += time.monotonic() - waited
        if part == 0:
            _heed(run, record)
            _begin_step(run)
        record.add(batch, _add_gradient(run, batch, part))
        part += 1
        if batch.ends_step:
            _update(run, batch.step_samples, record.last)
            part = 0
        waited = time.monotonic()
    means, norm = record.means(run), _mean_norm(run)
    return Row(
        epoch=epoch,
        step=progress.step,
        samples=progress.samples,
        train=means,
        val=progress.val,
        lr=run.optimizer.param_groups[0]["lr"],
        grad_norm=norm,
        wait_s=round(wait_s, 4),
        compute_s=round(time.monotonic() - started - wait_s, 4),
    )


def _mean_norm(run: Run) -> float:
    """The gradients' mean norm in this epoch; raises DivergedError when it is not finite."""
    norm = float(torch.stack(run.progress.norms).mean())
    if not math.isfinite(norm):
        raise DivergedError(
            f"training of epoch {run.progress.epoch}: the gradient's norm is {norm}, expected a "
            f"finite one; lower --learning_rate or set --grad_clip; the checkpoints written before "
            f"are intact",
            code="diverged",
        )
    return norm


def _heed(run: Run, record: "_Record | None" = None) -> None:
    """Save the state when it is time, or when the run was asked to end: then raise Interrupted."""
    ask = run.group.poll(run.saver.is_due)
    if ask is Ask.NOTHING:
        return
    if record is not None:  # a state that had diverged would be of no use
        record.check(run)
        if run.progress.norms:
            _mean_norm(run)
    _save(run, beside=ask is Ask.SAVE)
    if ask is Ask.STOP:
        _leave(run)
        run.group.wait()  # torchrun would end the one that writes as soon as another has left
        raise run.group.interruption()


def _save(run: Run, beside: bool) -> None:
    """Save the state, at the same step on every process."""
    losses = _stacked(run.progress.losses)
    run.saver.save(partial(_state, run, run.group.sum(losses)), beside)


def _save_in_time(run: Run, in_time: bool) -> None:
    """Save what the last whole step left, by a process that does not get to its next one."""
    progress = run.progress
    if not in_time:
        return
    if run.group.size > 1:  # the losses are spread; but a state may be half written
        run.saver.settle()
    elif _are_finite(progress.losses) and _are_finite(progress.norms):
        run.saver.save(lambda: _state(run, _stacked(progress.losses)), beside=False)


def _are_finite(values: Sequence[Tensor]) -> bool:
    return bool(torch.isfinite(_stacked(values)).all())


def _stacked(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(values)) if values else torch.zeros(0)


def _state(run: Run, losses: Tensor) -> State:
    progress, best = run.progress, run.best
    return State(
        epoch=progress.epoch,
        epoch_samples=progress.epoch_samples,
        step=progress.step,
        samples=progress.samples,
        val=progress.val,
        losses=losses.cpu(),
        norms=_stacked(progress.norms).cpu(),
        metrics=run.metrics.text,
        best_epoch=best.epoch,
        best_loss=best.loss,
        best_weights=best.weights,
        policy=run.policy.state_dict(),
        optimizer=run.optimizer.state_dict(),
    )


def _begin_step(run: Run) -> None:
    """Bring learning rates and the KL weight to where the schedule has them."""
    config = run.config
    factor = lr_factor(config, run.progress.step, config.epochs * run.epoch_steps)
    rates = (config.learning_rate, config.lr_backbone)
    for group, rate in zip(run.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor
    _weigh_kl(run, kl_factor(config, run.progress.step))
    run.optimizer.zero_grad()


def _weigh_kl(run: Run, factor: float) -> None:
    if run.config.kl_warmup and isinstance(run.policy, ACTPolicy):
        run.policy.kl_weight.fill_(run.config.kl_weight * factor)


def _add_gradient(run: Run, batch: Batch, part: int) -> dict[str, Tensor]:
    """Add a part of a step to the gradient; returns its losses, still on the device.

    Dropout is seeded by (seed, step), so a run can go on from any step without a generator's state.
    """
    entropy = [run.config.seed, run.progress.step, run.group.rank, part]
    torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))
    network, alone = run.network, contextlib.nullcontext()
    spread = isinstance(network, DistributedDataParallel) and not batch.ends_step
    with network.no_sync() if spread else alone:  # type: ignore[operator]
        found = losses(network, batch)
        # the processes' gradients are averaged, and the losses of their parts add up
        (found["loss"] * run.group.size).backward()
    return {name: loss.detach() for name, loss in found.items()}


def _update(run: Run, samples: int, losses: Tensor) -> None:
    """One optimizer update, and the progress that it is; nothing is read from the device."""
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if run.config.grad_clip:
        torch.nn.utils.clip_grads_with_norm_(parameters, run.config.grad_clip, norm)
    progress = run.progress
    with run.saver.whole():
        run.optimizer.step()
        run.policy.decay_uncomputed(run.optimizer.param_groups[0]["lr"], run.config.weight_decay)
        progress.step += 1
        progress.samples += samples
        progress.epoch_samples += samples
        progress.losses.append(losses)
        progress.norms.append(norm)


class _Record:
    """The losses of a pass, kept on the device: they are read once, when it has ended.

    So a loss that is not finite is noticed up to an epoch late, before any weights are saved of it.
    """

    def __init__(
        self, phase: str, names: tuple[str, ...] = (), before: Sequence[Tensor] = ()
    ) -> None:
        """before: the losses of the steps that a run before has done of the pass"""
        self._phase = phase
        self._names = names
        self._steps = list(before)
        self._orders: list[Order | None] = [None] * len(self._steps)
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

    @property
    def last(self) -> Tensor:
        """The losses of the last step."""
        return self._steps[-1]

    def means(self, run: Run) -> dict[str, float]:
        """Upstream's mean: of the batches' means, a smaller last batch counting like the others."""
        values = self.check(run)
        return dict(zip(self._names, values.mean(dim=0).tolist(), strict=True))

    def check(self, run: Run) -> Tensor:
        """The losses of the steps, all processes together; raises DivergedError."""
        values = run.group.sum(_stacked(self._steps)).cpu()
        for step, found in enumerate(values):
            if not torch.isfinite(found).all():
                self._refuse(run, step, found)
        return values

    def _refuse(self, run: Run, step: int, found: Tensor) -> NoReturn:
        shown = ", ".join(
            f"{name} {value:g}" for name, value in zip(self._names, found.tolist(), strict=True)
        )
        order = self._orders[step]
        episodes = sorted(set(order.episode.tolist())) if order is not None else []
        names = ", ".join(run.episodes.infos[e].path.name for e in episodes)
        raise DivergedError(
            f"{self._phase}, batch {step}: {shown}, expected finite losses; look at its episodes "
            f"({names or 'of a job before'}), or lower --learning_rate; the checkpoints written "
            f"before are intact",
            code="diverged",
        )


def _is_stuck(run: Run) -> bool:
    """Whether `--early_stopping` ends the run here."""
    patience, best, done = run.config.early_stopping, run.best.epoch, run.progress.epoch - 1
    stuck = bool(patience) and best is not None and done - best >= patience
    if stuck:
        logger.info("early stop  no better validation loss in the last %d epochs", patience)
    return stuck


def _finish(run: Run) -> None:
    """What upstream leaves at the end: the best weights twice, the curves, the last weights."""
    if not run.group.is_first:
        return
    assert run.best.epoch is not None
    run.metrics.flush()
    run.best.copy_to(epoch_path(run.folder, run.best.epoch, run.config.seed))
    draw_curves(run.folder, run.metrics.rows, run.config.seed)
    save_weights(run.folder / LAST, copy_weights(run.policy.state_dict()))
    run.manifest.afterwards(run.saver.remove)  # which marks the run as finished


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
    """The epochs that are left."""
    first, epochs = run.progress.epoch, run.config.epochs
    with progress_bar(epochs, "train", "epoch", first, shown=run.group.is_first) as bar:
        while run.progress.epoch < epochs and not _is_stuck(run):
            yield run.progress.epoch
            row = run.metrics.rows[-1]
            losses = {"loss": f"{row.train['loss']:.4f}", "val": f"{row.val['loss']:.4f}"}
            bar.set_postfix(losses, refresh=False)
            bar.update()
