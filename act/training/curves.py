"""The loss curves: a picture for each, train_val_<loss>_seed_<s>.png, as upstream names them.

Each side has its own colour: faint points of every epoch, and over them a line of their running
mean. Losses that fall by more than a decade are drawn on a log scale. Where rates of success are
measured, success_rate_seed_<s>.png is one more picture.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from act.report.smoothing import smoothed
from act.training.metrics import Row
from job.whole_files import whole_file

_FEW = 20  # epochs, to which a mean would add nothing
_TRAIN, _VALIDATION = "#1f77b4", "#d95f02"  # blue and orange: apart for every kind of eye
_DECADE, _FEW_DECADES = 10.0, 3

Curve = NDArray[np.float64]


def draw_curves(
    folder: Path, rows: Sequence[Row], titles: Mapping[str, str], seed: int
) -> list[Path]:
    """One picture for each loss, training and validation over the epochs; returns the paths.

    titles: of the losses by name, in words
    """
    paths = [_draw(folder, rows, name, titles[name], seed) for name in rows[0].train]
    measured = [row for row in rows if row.rate is not None]
    if measured:
        paths.append(_draw_rates(folder / f"success_rate_seed_{seed}.png", measured))
    return paths


def _draw(folder: Path, rows: Sequence[Row], name: str, title: str, seed: int) -> Path:
    axes = _axes(title)
    epochs = np.array([row.epoch for row in rows])
    train = np.array([row.train[name] for row in rows])
    val = np.array([row.val[name] for row in rows])
    _draw_side(axes, epochs, train, _TRAIN, "training", 2)
    _draw_side(axes, epochs, val, _VALIDATION, "validation", 3)
    _scale(axes, np.concatenate([train, val]))
    axes.margins(x=0.01 if len(rows) > _FEW else 0.05)
    note = "line: running mean, faint: each epoch" if len(rows) > _FEW else None
    axes.legend(frameon=False, title=note, title_fontsize=8, alignment="left")
    return _saved(axes, folder / f"train_val_{name}_seed_{seed}.png")


def _draw_rates(path: Path, measured: Sequence[Row]) -> Path:
    axes = _axes("Success in simulation, per cent of episodes")
    rates = [100 * (row.rate or 0.0) for row in measured]
    axes.plot([row.epoch for row in measured], rates, "o-", color=_TRAIN, markersize=4)
    axes.set_ylim(0, 100)
    return _saved(axes, path)


def _axes(title: str) -> Axes:
    figure = Figure(figsize=(8, 4.5))  # pyplot would keep it until closed
    figure.subplots_adjust(left=0.09, right=0.98, top=0.92, bottom=0.12)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # whole epochs
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _saved(axes: Axes, path: Path) -> Path:
    assert isinstance(axes.figure, Figure)
    with whole_file(path, recorded=True) as file:
        axes.figure.savefig(file, format="png", dpi=120)
    return path


def _draw_side(
    axes: Axes, epochs: Curve, values: Curve, colour: str, label: str, order: int
) -> None:
    """The values of one side of the split: all faint, their mean over neighbours strong."""
    if len(values) <= _FEW:
        axes.plot(epochs, values, "o-", color=colour, label=label, zorder=order, markersize=4)
        return
    axes.plot(epochs, values, color=colour, alpha=0.3, linewidth=0.7, zorder=order - 2)
    axes.plot(epochs, smoothed(values), color=colour, linewidth=1.8, label=label, zorder=order)


def _scale(axes: Axes, values: Curve) -> None:
    """A log scale where the values are positive and span more than a decade."""
    if values.min() <= 0 or values.max() / values.min() <= _DECADE:
        return
    axes.set_yscale("log")
    few = values.max() / values.min() < _DECADE**_FEW_DECADES
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
