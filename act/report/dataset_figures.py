"""A figure of the dataset: how long its episodes are."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from act.report.curve_figures import Shown
from act.report.drawing import MUTED, Drawings
from job.sections.whole import Whole

_BINS = 30
_FEW = 5


def lengths_figure(drawings: Drawings, manifest: Whole | None) -> Shown | None:
    """How many episodes are how long; None where all are alike, or there are few."""
    lengths: Sequence[int] = (
        [one.length for one in manifest.dataset.episodes] if manifest and manifest.dataset else []
    )
    if len(set(lengths)) < 2 or len(lengths) < _FEW:
        return None

    def fill(axes: Axes) -> None:
        counts, edges = np.histogram(lengths, min(_BINS, max(lengths) - min(lengths) + 1))
        axes.bar(edges[:-1], counts, np.diff(edges) * 0.92, align="edge", color=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("time steps")

    title = "Lengths of episodes"
    return Shown(title, drawings.draw(title, fill, (4.7, 1.8)), "number of episodes")
