"""The training loop: from episode files to checkpoints, statistics, curves and metrics.

Upstream's imitate_episodes in order: split, statistics, then per epoch validate, keep the best,
train. Where batches come from, and how they get to the device, is the loader's business.
"""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from act.batches.device_jpegs import check_decoder
from act.batches.loader import Pass
from act.policies.frozen_norms import set_statistics
from act.policies.weights import copy_weights, read_backbone, save_weights
from act.processes.compilation import check_compiler
from act.processes.device import choose_device
from act.processes.group import Group
from act.processes.precision import resolved_precision, warn_if_emulated
from act.trackers.kinds import check_installed
from act.training.ancestor import read_start
from act.training.checkpoints import epoch_path
from act.training.data import open_data
from act.training.flags import TrainingFlags
from act.training.losses import LossRecord, mean_norm
from act.training.memory import out_of_memory_errors
from act.training.metrics import Row, tracked
from act.training.plan import report_plan
from act.training.rates import Measuring
from act.training.results import (
    draw_losses,
    list_artifacts,
    save_average,
    save_last_step,
    save_or_stop,
    save_state,
    write_results,
)
from act.training.run_folder import check_folder
from act.training.setup import prepare
from act.training.status import training_status
from act.training.step import add_gradient, begin_step, update
from act.training.training_run import TrainingRun
from job import signals
from job.errors import DivergedError, Interrupted, JobError
from job.manifest import Manifest
from job.output_names import STATE
from job.progress import progress_bar
from job.sections.data import Conversion, Dataset

logger = logging.getLogger("act")

CURVES_EPOCHS = 100
AVERAGE_EPOCHS = 10  # between validations of the averaged weights, each of which costs another one


def check_ready(flags: TrainingFlags, folder: Path) -> bool:
    """Refuse what would stop training, before hours of conversion; True where it has ended."""
    if check_folder(flags, folder):
        return True
    check_installed(flags.tracker)
    device = choose_device(flags.device)
    warn_if_emulated(resolved_precision(flags, device), device)
    check_compiler(flags, device)
    check_decoder(flags.jpeg_decoder, device)
    read_backbone(flags.backbone)
    if flags.init_weights and not (folder / STATE).exists():
        read_start(flags, folder.parent.parent)
    return False


def train(
    flags: TrainingFlags,
    paths: Sequence[Path],
    folder: Path,
    manifest: Manifest,
    group: Group | None = None,
    dataset: Dataset | None = None,
    conversion: Conversion | None = None,
    measuring: Measuring | None = None,
) -> None:
    """Train on the episode files `paths` from where an earlier job stopped; all goes to `folder`.

    group: the processes that share the work; None: this one alone
    dataset, conversion, measuring: as for `prepare`

    Raises DatasetError for the files, OutputError for the folder, DivergedError when a loss is not
    finite, Interrupted on a signal or when another process is lost; what was written before stays.
    """
    with out_of_memory_errors(flags.batch_size):
        data = open_data(paths, flags.camera_names, flags.reading, flags.val_episodes)
    with out_of_memory_errors(flags.batch_size, data.episodes):
        run = prepare(
            flags, data, folder, manifest, group or Group(), dataset, conversion, measuring
        )
        if measuring is not None and measuring.check is not None:
            measuring.check()
        report_plan(run)
        manifest.status.enter("train", training_status(run))
        _set_norms(run)
        _train(run)
        manifest.status.settle()
    logger.info(
        "done       best validation loss %.4f at epoch %s; results in %s",
        run.best.loss,
        run.best.epoch,
        run.folder,
    )


def _set_norms(run: TrainingRun) -> None:
    """Give the frozen batch norms of a backbone that starts at random their statistics."""
    if not run.data.episodes.camera_names:
        return
    if not run.has_norms and run.resumed_from_step is None:
        data = run.data
        set_statistics(run.policy, data.episodes, data.train_episodes, run.flags.seed, run.device)
        run.group.broadcast(run.policy.buffers())  # GPUs of another kind round otherwise


def _train(run: TrainingRun) -> None:
    """Every epoch that is left; however it ends, what there is by then is saved and listed."""

    def save_in_time(in_time: bool) -> None:
        if in_time:
            save_last_step(run)

    with signals.last_action(save_in_time):
        try:
            with run.trackers:
                with run.loader:
                    for epoch in _epochs(run):
                        _epoch(run, epoch)
                    save_state(run, beside=False)
                write_results(run)
        except BaseException as error:
            with contextlib.suppress(Exception):  # the first error is the one to report
                # an interruption has saved, and nobody should resume weights that diverged
                save_in_time(not isinstance(error, Interrupted | DivergedError))
            with contextlib.suppress(JobError):
                list_artifacts(run)
            raise
    list_artifacts(run)


def _epochs(run: TrainingRun) -> Iterator[int]:
    """The epochs that are left, with a progress bar."""
    first, epochs = run.progress.epoch, run.flags.epochs
    with progress_bar(epochs, "train", "epoch", first, shown=run.group.is_first) as bar:
        while run.progress.epoch < epochs and not _is_stuck(run):
            yield run.progress.epoch
            row = run.metrics.rows[-1]
            losses = {"loss": f"{row.train['loss']:.4f}", "val": f"{row.val['loss']:.4f}"}
            bar.set_postfix(losses, refresh=False)
            bar.update()


def _is_stuck(run: TrainingRun) -> bool:
    """Whether `--early_stopping`, or a rate of success that has not risen, ends the run here."""
    patience, best, done = run.flags.early_stopping, run.best.epoch, run.progress.epoch - 1
    stuck = bool(patience) and best is not None and done - best >= patience
    if stuck:
        logger.info("early stop  no better validation loss in the last %d epochs", patience)
    return stuck or (run.rates is not None and run.rates.has_not_risen)


def _epoch(run: TrainingRun, epoch: int) -> None:
    """Validate, keep the best, train: upstream's order, so the best weights are as validated."""
    if not run.progress.val:
        val, average = validate(run, epoch)
        with run.saver.whole():
            run.best.offer(epoch, val["loss"], run.policy.state_dict())
            run.progress.val, run.progress.average = val, average
        run.best.write_in_turn()
    row = _train_epoch(run, epoch)
    if run.group.is_first and epoch in run.snapshots:
        weights = copy_weights(run.policy.state_dict())
        path = epoch_path(run.folder, epoch, run.flags.seed)
        save_weights(path, weights, run.contract.add)
        save_average(run)
    rate = _rate(run, epoch)
    with run.saver.whole():
        if run.rates is not None:
            run.rates.add(epoch, rate)
        run.metrics.add(replace(row, rate=rate))
        run.progress.next_epoch()
    if not run.group.is_first:
        return
    run.trackers.numbers(row.step, tracked(replace(row, rate=rate), run.samples_an_epoch))
    if epoch and epoch % CURVES_EPOCHS == 0:  # one point is no curve
        draw_losses(run)
    if (epoch + 1) % run.flags.save_interval == 0:
        list_artifacts(run)
        run.manifest.write()
    if run.reporter.is_due:
        run.metrics.flush()
        run.reporter.write()


def _rate(run: TrainingRun, epoch: int) -> float | None:
    """The rate of success after the epoch's training, before the epoch counts as done.

    So a job that ends meanwhile leaves a state from which it is measured again.
    """
    if run.rates is None:
        return None
    try:
        rate = run.rates.measured(run.policy, epoch, run.group.is_first)
    except Interrupted:  # that of a step has saved, which this is not
        save_last_step(run)
        raise
    return run.group.from_first(rate)


@torch.inference_mode()
def validate(run: TrainingRun, epoch: int) -> tuple[dict[str, float], dict[str, float]]:
    """Mean of the batches' losses in eval mode; the latent is sampled, as upstream.

    returns: also those of the averaged weights on the same batches, where it is their turn
    """
    run.policy.eval()
    run.policy.set_step(None)
    average = run.average if epoch and epoch % AVERAGE_EPOCHS == 0 else None
    record = _record(run, f"validation of epoch {epoch}")
    averaged = _record(run, f"validation of the averaged weights, epoch {epoch}")
    for batch in run.loader.batches(Pass(epoch, train=False)):
        save_or_stop(run)
        record.add(batch, run.network(batch))
        if average is not None:
            averaged.add(batch, average.losses(batch))
    return record.means(), averaged.means() if average is not None else {}


def _train_epoch(run: TrainingRun, epoch: int) -> Row:
    run.policy.train()
    progress = run.progress
    record = _record(run, f"training of epoch {epoch}", progress.losses)
    started = waited = time.monotonic()
    wait_s = 0.0
    part = 0  # of the step
    for batch in run.loader.batches(Pass(epoch, train=True, done=progress.epoch_samples)):
        wait_s += time.monotonic() - waited
        if part == 0:
            save_or_stop(run, record)
            begin_step(run)
        record.add(batch, add_gradient(run, batch, part))
        part += 1
        if batch.ends_step:
            update(run, batch.step_samples, record.last)
            part = 0
        waited = time.monotonic()
    means, norm = record.means(), mean_norm(progress.norms, epoch)
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
        average=progress.average or None,
    )


def _record(run: TrainingRun, phase: str, before: Sequence[torch.Tensor] = ()) -> LossRecord:
    names = tuple(run.policy.loss_titles)
    return LossRecord(phase, run.group, run.data.episodes, names, before)
