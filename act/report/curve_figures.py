"""Figures of the curves: each term, the learning rate, the gradient, waiting for data."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from act.report.curves import Curve, Curves
from act.report.drawing import ACCENT, LINE, MUTED, TRAIN, VAL, Drawings
from act.report.smoothing import smoothed

_TITLES = {
    "l1": "Error of actions (L1)",
    "mse": "Error of actions (squared)",
    "kl": "KL term, before its weight",
    "loss": "Loss: the error, and the KL term times --kl_weight",
}
_WAITING = "Time waiting for data, per cent"
_FEW = 20  # epochs, to which a mean would add nothing
_MOST_POINTS = 600  # of a line
_DECADE = 10.0


@dataclass(frozen=True)
class Shown:
    """A figure, and the words around it."""

    title: str
    svg: Markup
    note: str = ""


def curve_figures(drawings: Drawings, curves: Curves) -> Iterator[Shown]:
    """All of them."""
    for term in sorted(curves.train, key=lambda term: [*_TITLES, term].index(term)):
        sides = (curves.train[term], TRAIN, "training"), (curves.val[term], VAL, "validation")
        yield _figure(drawings, curves, _TITLES.get(term, term), sides)
    wait = 100 * curves.wait_s / np.maximum(curves.wait_s + curves.compute_s, 1e-9)
    for title, values in (
        ("Learning rate", curves.lr),
        ("Norm of the gradient", curves.grad_norm),
        (_WAITING, wait),
    ):
        yield _figure(drawings, curves, title, ((values, ACCENT, ""),))


Side = tuple[Curve, str, str]  # values, colour, what they are


def rate_figure(drawings: Drawings, curves: Curves) -> Shown | None:
    """The rate of success while it trained, where it was measured."""
    if not curves.rates:
        return None
    epochs, rates = np.array([*curves.rates]), 100 * np.array([*curves.rates.values()])

    def fill(axes: Axes) -> None:
        axes.plot(epochs, rates, "o-", color=ACCENT, markersize=3.5)
        axes.set_ylim(0, 100)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch")

    title = "Success in simulation while it trained"
    return Shown(title, drawings.draw(title, fill), "per cent of episodes")


def _figure(drawings: Drawings, curves: Curves, title: str, sides: tuple[Side, ...]) -> Shown:
    def fill(axes: Axes) -> None:
        for values, colour, label in sides:
            _line(axes, curves.epoch, values, colour, label)
        _scales(axes, np.concatenate([values for values, _, _ in sides]), title != _WAITING)
        axes.set_xlabel("epoch")

    last = ", ".join(
        f"{label} {_number(float(smoothed(values)[-1]))}".strip() for values, _, label in sides
    )
    return Shown(title, drawings.draw(f"{title} over epochs", fill), f"at the end {last}")


def _line(axes: Axes, epochs: Curve, values: Curve, colour: str, label: str) -> None:
    """Raw values faint, their running mean over them."""
    if len(values) <= _FEW:
        axes.plot(epochs, values, "o-", color=colour, markersize=3.5, label=label)
        return
    axes.plot(*_thinned(epochs, values), color=colour, alpha=0.28, linewidth=0.7)
    step = -(-len(values) // _MOST_POINTS)
    axes.plot(epochs[::step], smoothed(values)[::step], color=colour, label=label)


def _thinned(epochs: Curve, values: Curve) -> tuple[Curve, Curve]:
    """At most so many points, the lowest and highest of their neighbours."""
    step = -(-2 * len(values) // _MOST_POINTS)
    if step <= 1:
        return epochs, values
    starts = np.arange(0, len(values), step)
    lows, highs = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return np.repeat(epochs[starts], 2), np.stack([lows, highs], axis=1).ravel()


def _scales(axes: Axes, values: Curve, may_be_log: bool) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.margins(x=0.01 if len(values) > _FEW else 0.08)
    scale(axes, values, may_be_log)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=MUTED)


def scale(axes: Axes, values: Curve, may_be_log: bool = True) -> None:
    """The vertical axis: a log scale where the values are positive and span more than a decade."""
    if may_be_log and values.min() > 0 and values.max() / values.min() > _DECADE:
        axes.set_yscale("log")
        few = values.max() / values.min() < _DECADE**2
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(min(0.0, float(values.min())), 1.15 * float(values.max()) or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))


def _number(value: float) -> str:
    return f"{value:.3g}"
