"""The loss curves that upstream draws: train_val_<loss>_seed_<s>.png."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from act.training.metrics import Row
from job.whole_files import whole_file


def draw_curves(folder: Path, rows: Sequence[Row], seed: int) -> list[Path]:
    """One picture per loss, train and validation over the epochs; returns the paths."""
    return [_draw(folder, rows, name, seed) for name in rows[0].train]


def _draw(folder: Path, rows: Sequence[Row], name: str, seed: int) -> Path:
    figure = Figure(layout="constrained")  # not pyplot's: that keeps every figure until closed
    axes = figure.add_subplot()
    epochs = [row.epoch for row in rows]
    marker = "o" if len(rows) == 1 else ""
    axes.plot(epochs, [row.train[name] for row in rows], marker=marker, label="train")
    axes.plot(epochs, [row.val[name] for row in rows], marker=marker, label="validation")
    axes.set(title=name, xlabel="epoch", ylabel=name)
    axes.legend()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # whole epochs
    path = folder / f"train_val_{name}_seed_{seed}.png"
    with whole_file(path, recorded=True) as file:
        figure.savefig(file, format="png")
    return path
