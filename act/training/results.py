"""What a run leaves: its state when it must end early, its results when it is done."""

from act.policies.weights import copy_weights, save_weights
from act.processes.group import Ask
from act.training.best_copy import copy_best
from act.training.checkpoints import AVERAGE, LAST, epoch_path, run_files
from act.training.losses import LossRecord, are_finite, mean_norm
from act.training.plan import training_section
from act.training.run_folder import mark_finished, remove_frames, remove_state
from act.training.training_run import TrainingRun


def save_or_stop(run: TrainingRun, record: LossRecord | None = None) -> None:
    """Save the state when it is time; when the run was asked to end, also raise Interrupted.

    Every process does so before the same step. record: the losses of the pass so far
    """
    ask = run.group.poll(run.saver.is_due)
    if ask is Ask.NOTHING:
        return
    if record is not None:  # a state that had diverged would be of no use
        record.check()
        if run.progress.norms:
            mean_norm(run.progress.norms, run.progress.epoch)
    save_state(run, beside=ask is Ask.SAVE)
    if ask is Ask.STOP:
        list_artifacts(run)
        run.group.wait()  # torchrun would end the one that writes as soon as another has left
        raise run.group.interruption()


def save_state(run: TrainingRun, beside: bool) -> None:
    """Save the state, at the same step on every process."""
    run.progress.gather_losses(run.group)
    run.saver.save(beside)


def save_last_step(run: TrainingRun) -> None:
    """Save what the last whole step left, by a process that does not get to its next one."""
    if run.group.size > 1:  # the losses are spread; but a state may be half written
        run.saver.settle()
    elif are_finite(run.progress.losses) and are_finite(run.progress.norms):
        run.saver.save(beside=False)


def list_artifacts(run: TrainingRun) -> None:
    """Put everything so far on disk and into the manifest, however the run ends."""
    if not run.group.is_first:
        return
    run.metrics.flush()
    run.best.flush()
    run.contract.refer(run.manifest)
    for path in run_files(run.folder):
        run.manifest.add_artifact(path)
    run.manifest.set("training", training_section(run))


def draw_losses(run: TrainingRun) -> None:
    """Draw the curves so far."""
    from act.training.curves import draw_curves  # matplotlib takes a second to import

    titles = run.policy.loss_titles
    paths = draw_curves(run.folder, run.metrics.rows, titles, run.flags.seed)
    run.trackers.images(run.progress.step, paths)


def save_average(run: TrainingRun) -> None:
    """Write the averaged weights as they are now, if there are any."""
    if run.average is not None:
        save_weights(run.folder / AVERAGE, run.average.weights(), run.contract.add)


def write_results(run: TrainingRun) -> None:
    """What upstream leaves at the end: the best weights twice, the curves, the last weights."""
    if not run.group.is_first:
        return
    assert run.best.epoch is not None
    run.metrics.flush()
    kept = run.flags.keep_state
    path = epoch_path(run.folder, run.best.epoch, run.flags.seed)
    copy_best(run.best, path, run.contract.add, for_more_epochs=kept)
    draw_losses(run)
    save_average(run)
    save_weights(run.folder / LAST, copy_weights(run.policy.state_dict()), run.contract.add)
    # A kill before the mark leaves a run that is resumed from its last state, to its end at once.
    run.manifest.afterwards(lambda: mark_finished(run.folder, state_kept=kept))
    run.manifest.afterwards(lambda: remove_frames(run.folder))
    if not kept:
        run.manifest.afterwards(lambda: remove_state(run.folder))
