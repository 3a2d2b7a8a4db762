"""metrics.jsonl, one line per epoch, and the history that the curves are drawn from."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from job.whole_files import append_lines, whole_file

_WRITE_INTERVAL_S = 1.0
_WRITE_SHARE = 0.1  # of the time, where a file system is slow or the file is written anew


@dataclass(frozen=True)
class Row:
    """One epoch. Losses are means over its batches; validation comes before training."""

    epoch: int
    step: int  # optimizer updates so far
    samples: int  # training samples so far
    train: dict[str, float]
    val: dict[str, float]
    lr: float
    grad_norm: float  # mean over the epoch's steps
    wait_s: float  # waiting for data
    compute_s: float
    rate: float | None = None  # of success after the epoch's training, where it was measured
    average: dict[str, float] | None = None  # validation of the averaged weights, where it was done


class Metrics:
    """The epochs so far; the file gets the new lines at most once a second, on slow disks less."""

    def __init__(self, path: Path | None) -> None:
        """path: None on processes that write no files"""
        self._path = path
        self._waiting: list[str] = []
        self._write_at = time.monotonic() + _WRITE_INTERVAL_S
        self._lines: list[str] = []
        self.rows: list[Row] = []

    def state_dict(self) -> dict[str, Any]:
        """All lines so far."""
        return {"lines": list(self._lines)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the lines of an earlier job; raises ValueError and TypeError for others."""
        self._lines = list(state_dict["lines"])
        self.rows = [Row(**json.loads(line)) for line in self._lines]

    def rewrite(self) -> None:
        """Start the file anew with the lines so far: it may have later ones than the state has."""
        if self._path is not None:
            with whole_file(self._path) as file:
                file.write("".join(f"{line}\n" for line in self._lines).encode())

    def add(self, row: Row) -> None:
        """Take the line of an epoch."""
        self.rows.append(row)
        written = {name: one for name, one in asdict(row).items() if one is not None}
        self._lines.append(json.dumps(written))
        self._waiting.append(self._lines[-1])
        if time.monotonic() >= self._write_at:
            self.flush()

    def flush(self) -> None:
        """Write the lines that wait."""
        started = time.monotonic()
        if self._path is not None and self._waiting:
            append_lines(self._path, self._waiting)
        self._waiting = []
        ended = time.monotonic()
        self._write_at = ended + max(_WRITE_INTERVAL_S, (ended - started) / _WRITE_SHARE)

    @property
    def wait_share(self) -> float:
        """The share of the training time spent waiting for data."""
        wait = sum(row.wait_s for row in self.rows)
        total = wait + sum(row.compute_s for row in self.rows)
        return wait / total if total else 0.0

    @property
    def samples_per_second(self) -> float:
        """Training samples per second of the time spent training, not validating."""
        total = sum(row.wait_s + row.compute_s for row in self.rows)
        return self.rows[-1].samples / total if self.rows and total else 0.0


def tracked(row: Row, samples: int) -> dict[str, float]:
    """What trackers get of an epoch, by name; `samples`: of its training."""
    sides = (("train", row.train), ("val", row.val))
    seconds = row.wait_s + row.compute_s
    rate = {} if row.rate is None else {"success_rate": row.rate}
    return (
        rate
        | {f"{side}/{name}": loss for side, losses in sides for name, loss in losses.items()}
        | {
            "lr": row.lr,
            "grad_norm": row.grad_norm,
            "epoch": row.epoch,
            "samples": row.samples,
            "samples_per_second": samples / seconds if seconds else 0.0,
            "data_wait_share": row.wait_s / seconds if seconds else 0.0,
        }
    )
