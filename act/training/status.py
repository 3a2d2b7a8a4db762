"""How far a run is, as status.json has it: read by a thread while the run trains."""

import math
import time
from collections.abc import Callable, Sequence

from act.training.metrics import Row
from act.training.training_run import TrainingRun
from job.sections.status import TrainingStatus
from job.status import time_text

_EPOCHS = 20  # that the rate is taken over


def training_status(run: TrainingRun) -> Callable[[], TrainingStatus]:
    """What reads how far the run is, from here on: it takes numbers, and waits for no device."""
    started, samples_before = time.monotonic(), run.progress.samples
    total = run.flags.epochs * run.samples_an_epoch

    def left() -> float | None:
        done = run.progress.samples - samples_before
        if not done:
            return None
        pace = done / max(time.monotonic() - started, 1e-9)
        return round(max(0, total - run.progress.samples) / pace, 1)

    def read() -> TrainingStatus:
        rows, progress, best = run.metrics.rows, run.progress, (run.best.epoch, run.best.loss)
        last = rows[-1] if rows else None
        return TrainingStatus(
            epoch=progress.epoch,
            epochs=run.flags.epochs,
            step=progress.step,
            steps=run.flags.epochs * run.epoch_steps,
            samples=progress.samples,
            stepped_at=None if progress.stepped_at is None else time_text(progress.stepped_at),
            train=last.train if last else None,
            val=last.val if last else None,
            best_epoch=best[0],
            best_val_loss=best[1] if math.isfinite(best[1]) else None,
            lr=last.lr if last else None,
            samples_per_second=_rate(rows[-_EPOCHS - 1 :]),
            seconds_left=left(),
            state_at=None if run.saver.written_at is None else time_text(run.saver.written_at),
        )

    return read


def _rate(rows: Sequence[Row]) -> float | None:
    """Training samples per second of the time spent training, over the last of these rows."""
    if not rows:
        return None
    before = rows[0].samples if len(rows) > _EPOCHS else 0
    counted = rows[1:] if len(rows) > _EPOCHS else rows
    seconds = sum(row.wait_s + row.compute_s for row in counted)
    return round((rows[-1].samples - before) / seconds, 3) if seconds else None
