"""Figures of an evaluation: errors by position and by dim, the ladder, actions over an episode."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from act.evaluate.verdict import best_baseline
from act.report.curve_figures import Shown
from act.report.drawing import (
    ACCENT,
    BASELINES,
    INK,
    LINE,
    MUTED,
    OTHER,
    WIDTH,
    Drawings,
    shown_name,
)
from act.report.run_files import Arrays
from job.sections.evaluation import BaselineErrors, CheckpointErrors, Evaluation

_ROW = 0.22  # inches of a row of bars
_MOST_ROWS = 40
_MOST_DIMS = 8  # drawn of an episode
_MOST_POINTS = 500
_DASHES = ("-", "--", "-.", ":")


def lowest(evaluation: Evaluation) -> BaselineErrors | None:
    """The baseline that is hardest to beat."""
    return best_baseline(evaluation.baselines) if evaluation.baselines else None


def _age(one: CheckpointErrors) -> tuple[float, str]:
    return (math.inf if one.epoch is None else one.epoch), one.name


def by_position(drawings: Drawings, evaluation: Evaluation) -> Shown:
    """Error over the positions of a chunk, beside the baselines."""
    best = evaluation.best

    def fill(axes: Axes) -> None:
        marker = "o" if len(best.errors.by_position) == 1 else None
        axes.plot(
            best.errors.by_position,
            color=ACCENT,
            marker=marker,
            linewidth=2,
            label="policy",
            zorder=3,
        )
        for number, one in enumerate(evaluation.baselines):
            values = one.errors.by_position
            style = _DASHES[number % len(_DASHES)]
            colour = BASELINES[number % len(BASELINES)]
            axes.plot(values, color=colour, linestyle=style, linewidth=1.2, label=one.name)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.set_xlabel("position in the chunk")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        _legend(axes)

    title = "Error by position in the chunk"
    return Shown(title, drawings.draw(title, fill, (WIDTH, 2.9)), "in standard deviations")


def by_dim(drawings: Drawings, evaluation: Evaluation) -> Shown:
    """Error of each dim, beside the best baseline's."""
    dims, base = evaluation.best.errors.dims[:_MOST_ROWS], lowest(evaluation)

    def fill(axes: Axes) -> None:
        places = np.arange(len(dims))
        axes.barh(places, [dim.mae_in_std for dim in dims], 0.62, color=ACCENT, label="policy")
        if base is not None:
            values = [dim.mae_in_std for dim in base.errors.dims[: len(dims)]]
            label = f"baseline {base.name}"
            axes.scatter(values, places, marker="|", s=70, color=INK, linewidths=1.4, label=label)
        names = [shown_name(dim.name, number, 22) for number, dim in enumerate(dims)]
        _rows(axes, names)
        _legend(axes)

    title = "Error by dim"
    size = WIDTH, 0.7 + _ROW * len(dims)
    return Shown(title, drawings.draw(title, fill, size), "in standard deviations")


def ladder(drawings: Drawings, evaluation: Evaluation) -> Shown:
    """Each checkpoint with its interval, in the order of training."""
    steps = sorted(evaluation.checkpoints, key=_age)[-_MOST_ROWS:]
    chosen = evaluation.best.name

    def fill(axes: Axes) -> None:
        for place, one in enumerate(steps):
            colour = ACCENT if one.name == chosen else OTHER if one.distinguishable else MUTED
            found = one.errors.mae_in_std
            if found.low is not None and found.high is not None:
                axes.plot([found.low, found.high], [place, place], color=colour, linewidth=2)
            axes.plot(found.mean, place, "o", color=colour, markersize=5)
        _rows(axes, [shown_name(one.name, 0, 22) for one in steps])
        axes.set_xlim(left=0)

    title = "Error of each checkpoint"
    size = WIDTH, 0.5 + 1.2 * _ROW * max(2, len(steps))
    return Shown(title, drawings.draw(title, fill, size), "mean and 95 % interval over episodes")


def _legend(axes: Axes) -> None:
    """Above the axes, on one line, the policy first."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda place: labels[place] != "policy")
    axes.legend(
        [handles[place] for place in order],
        [labels[place] for place in order],
        ncols=len(labels),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.1,
    )


def _rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=LINE)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.spines["bottom"].set_visible(False)


@dataclass(frozen=True)
class EpisodeFigures:
    """Executed and demonstrated actions of an episode."""

    name: str  # best, typical, worst, only
    number: int
    error: float  # mean over time and the dims drawn, in std
    figures: list[Shown]
    left_out: int  # dims that are not drawn


def episodes(
    drawings: Drawings, evaluation: Evaluation, arrays: Arrays
) -> Iterator[EpisodeFigures]:
    """The best, a typical and the worst episode, those that are the same once.

    name: of each, best, typical, worst; "only" where there is one
    """
    seen: set[int] = set()
    for name in ("typical", "worst", "best"):
        try:
            number = int(arrays[f"{name}_episode"])
            demonstrated = np.asarray(arrays[f"{name}_demonstrated"], dtype=float)
            executed = np.asarray(arrays[f"{name}_executed"], dtype=float)
            queries = np.asarray(arrays[f"{name}_queries"], dtype=int)
        except (KeyError, ValueError, TypeError, OverflowError):
            continue
        if number in seen or demonstrated.ndim != 2 or demonstrated.shape != executed.shape:
            continue
        if 0 in demonstrated.shape:
            continue
        seen.add(number)
        shown = "only" if len(evaluation.episodes) == 1 else name
        yield _episode(drawings, evaluation, shown, number, (demonstrated, executed, queries))


def _episode(
    drawings: Drawings,
    evaluation: Evaluation,
    name: str,
    number: int,
    moved: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
) -> EpisodeFigures:
    demonstrated, executed, queries = moved
    dims = evaluation.best.errors.dims
    count = min(demonstrated.shape[1], len(dims))
    std = np.array([dim.mae / dim.mae_in_std if dim.mae_in_std else 1.0 for dim in dims[:count]])
    errors = np.abs(executed - demonstrated)[:, :count].mean(axis=0) / np.maximum(std, 1e-12)
    drawn = sorted(np.argsort(-errors, kind="stable")[:_MOST_DIMS])
    figures = [
        _dim(
            drawings,
            shown_name(dims[dim].name, dim),
            demonstrated[:, dim],
            executed[:, dim],
            queries,
        )
        for dim in map(int, drawn)
    ]
    return EpisodeFigures(name, number, float(errors.mean()), figures, count - len(drawn))


def _dim(
    drawings: Drawings,
    name: str,
    demonstrated: NDArray[Any],
    executed: NDArray[Any],
    queries: NDArray[Any],
) -> Shown:
    step = -(-len(executed) // _MOST_POINTS)
    times = np.arange(0, len(executed), step)
    inside = queries[(queries >= 0) & (queries < len(executed))]

    def fill(axes: Axes) -> None:
        axes.plot(times, demonstrated[::step], color=MUTED, linewidth=1.2)
        axes.plot(times, executed[::step], color=ACCENT, linewidth=1.3)
        if len(inside) <= 60:
            axes.plot(inside, executed[inside], "o", color=ACCENT, markersize=3.2)
        axes.margins(x=0.01)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(3))

    return Shown(name, drawings.draw(f"{name}: demonstrated and executed", fill, (2.9, 1.35)))
