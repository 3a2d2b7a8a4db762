"""metrics.jsonl as arrays over the epochs."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.whole_files import parse_json, read_bytes

Curve = NDArray[np.float64]

_COLUMNS = ("epoch", "step", "samples", "lr", "grad_norm", "wait_s", "compute_s")
# What a line that is none of ours raises
_NO_ROW = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
_MAIN = ("l1", "mse")  # the term of the actions' error, where the policy names one


@dataclass(frozen=True)
class Curves:
    """E epochs; every array is (E,)."""

    epoch: Curve
    step: Curve
    samples: Curve
    lr: Curve
    grad_norm: Curve
    wait_s: Curve
    compute_s: Curve
    train: dict[str, Curve]  # by term
    val: dict[str, Curve]
    rates: dict[int, float]  # of success in a simulator, at the epochs where it was measured

    def __len__(self) -> int:
        return len(self.epoch)

    @property
    def main(self) -> str:
        """The term of the actions' error, else the whole loss."""
        return next((name for name in _MAIN if name in self.train), "loss")

    @property
    def seconds(self) -> float:
        """Seconds of training, validation aside."""
        return float(self.wait_s.sum() + self.compute_s.sum())


def read_curves(path: Path) -> Curves | None:
    """The rows of metrics.jsonl; None where there is none. A line that is torn is left out."""
    rows: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError):
        for line in read_bytes(path).decode(errors="replace").splitlines():
            with contextlib.suppress(*_NO_ROW):
                row = parse_json(line)
                if _is_row(row, rows[0] if rows else row):
                    rows.append(row)
    return curves_of(rows) if rows else None


def curves_of(rows: Sequence[dict[str, Any]]) -> Curves:
    """Arrays of rows as metrics.jsonl has them."""

    def column(*keys: str) -> Curve:
        values: list[Any] = [*rows]
        for key in keys:
            values = [value[key] for value in values]
        return np.array(values, dtype=np.float64)

    return Curves(
        **{name: column(name) for name in _COLUMNS},
        train={term: column("train", term) for term in rows[0]["train"]},
        val={term: column("val", term) for term in rows[0]["val"]},
        rates={int(row["epoch"]): float(row["rate"]) for row in rows if _has_rate(row)},
    )


def _has_rate(row: dict[str, Any]) -> bool:
    return row.get("rate") is not None


def _is_row(row: dict[str, Any], first: dict[str, Any]) -> bool:
    """Whether a row has finite numbers, and the same terms as the first."""
    if any(row[side].keys() != first[side].keys() for side in ("train", "val")):
        return False
    if row["train"].keys() != row["val"].keys() or "loss" not in row["train"]:
        return False
    values = [row[name] for name in _COLUMNS]
    values += [*row["train"].values(), *row["val"].values(), row.get("rate") or 0.0]
    return all(math.isfinite(float(value)) for value in values)
