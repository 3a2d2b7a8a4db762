"""The verb: episode files in; checkpoints, statistics, curves and metrics out.

Upstream's imitate_episodes in order: split, statistics, then per epoch validate, keep the best,
train. Where batches come from is the loader's business, on which device they are used the policy's.
"""

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from act import stop
from act.checkpoint import (
    LAST,
    copy_weights,
    epoch_path,
    read_backbone,
    run_files,
    save_weights,
)
from act.config import Config
from act.curves import draw_curves
from act.describe import describe_training, say_plan
from act.device import choose_device
from act.errors import DivergedError, JobError, OutputError, UsageError
from act.loader import Batch
from act.manifest import Manifest
from act.metrics import Row
from act.progress import progress_bar
from act.setup import WEIGHT_DECAY, Run, prepare

logger = logging.getLogger("act")

CURVES_EPOCHS = 100


def check_ready(config: Config, folder: Path) -> None:
    """Refuse what would stop training, before hours of conversion."""
    _check_unfinished(folder)
    choose_device(config.device)
    read_backbone(config.backbone_weights)


def train(config: Config, paths: Sequence[Path], folder: Path, manifest: Manifest) -> None:
    """Train on the episode files `paths` and leave everything in `folder`.

    Raises DatasetError for the files, OutputError for the folder, DivergedError when a loss is not
    finite, Interrupted on a signal; what was written before stays.
    """
    with _memory_errors(config):
        run = prepare(config, paths, folder, manifest)
        say_plan(run)
        try:
            with run.loader:
                for epoch in _progress(run):
                    _train_one_epoch(run, epoch)
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
    batches = []
    for batch in run.loader.batches(run.val_episodes, epoch, train=False):
        stop.check()
        losses = _losses(run, batch)
        _check_finite(run, epoch, batch, losses, "validation")
        batches.append(losses)
    return _means(batches)


def _train_epoch(run: Run, epoch: int, val: dict[str, float]) -> Row:
    run.policy.train()
    batches, norms = [], []
    started = waited = time.monotonic()
    wait_s = 0.0
    for batch in run.loader.batches(run.train_episodes, epoch, train=True):
        wait_s += time.monotonic() - waited
        stop.check()
        losses, norm = train_step(run, epoch, batch)
        batches.append(losses)
        norms.append(norm)
        waited = time.monotonic()
    means = _means(batches)
    return Row(
        epoch=epoch,
        step=run.step,
        samples=run.samples,
        train=means,
        val=val,
        lr=run.config.learning_rate,
        grad_norm=float(torch.stack(norms).mean()),
        wait_s=round(wait_s, 4),
        compute_s=round(time.monotonic() - started - wait_s, 4),
    )


def train_step(run: Run, epoch: int, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
    """One optimizer update; returns the losses and the norm of the gradient, still on the device.

    Dropout is seeded by (seed, step), so a run can go on from any step without a generator's state.
    """
    seed = np.random.SeedSequence([run.config.seed, run.step]).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(seed))
    losses = _losses(run, batch)
    _check_finite(run, epoch, batch, losses, "training")  # before the update spoils the weights
    run.optimizer.zero_grad()
    losses["loss"].backward()
    gradients = [p.grad for p in run.policy.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    run.optimizer.step()
    run.policy.decay_uncomputed(run.config.learning_rate, WEIGHT_DECAY)
    run.step += 1
    run.samples += len(batch.order.episode)
    return {name: loss.detach() for name, loss in losses.items()}, norm


def _losses(run: Run, batch: Batch) -> dict[str, Tensor]:
    on_device = batch.to(run.device)
    return run.policy.losses(
        on_device.qpos, on_device.image, on_device.action, on_device.is_pad, on_device.eps
    )


def _check_finite(
    run: Run, epoch: int, batch: Batch, losses: dict[str, Tensor], phase: str
) -> None:
    if math.isfinite(losses["loss"].item()):
        return
    found = ", ".join(f"{name} {value.item():g}" for name, value in losses.items())
    names = [run.episodes.infos[e].path.name for e in sorted(set(batch.order.episode.tolist()))]
    raise DivergedError(
        f"{phase} of epoch {epoch}, step {run.step}: {found}, expected finite losses; the batch is "
        f"of {', '.join(names)}; look at those episodes, or lower --learning_rate; the checkpoints "
        f"written before are intact"
    )


def _means(batches: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """Upstream's mean: of the batches' means, a smaller last batch counting like the others."""
    return {
        name: float(torch.stack([losses[name] for losses in batches]).mean()) for name in batches[0]
    }


def _finish(run: Run) -> None:
    """What upstream leaves at the end: the best weights twice, the curves, the last weights."""
    assert run.best.epoch is not None
    run.best.copy_to(epoch_path(run.folder, run.best.epoch, run.config.seed))
    draw_curves(run.folder, run.metrics.rows, run.config.seed)
    # last of all: it marks the run as finished
    save_weights(run.folder / LAST, copy_weights(run.policy.state_dict()))


def _leave(run: Run) -> None:
    """Put everything so far on disk and into the manifest, however the run ends."""
    run.metrics.flush()
    run.best.flush()
    for path in run_files(run.folder):
        run.manifest.add_artifact(path)
    run.manifest.set("training", describe_training(run))


def _progress(run: Run) -> Iterator[int]:
    with progress_bar(run.config.epochs, "train", "epoch") as bar:
        for epoch in range(run.config.epochs):
            yield epoch
            row = run.metrics.rows[-1]
            losses = {"loss": f"{row.train['loss']:.4f}", "val": f"{row.val['loss']:.4f}"}
            bar.set_postfix(losses, refresh=False)
            bar.update()
