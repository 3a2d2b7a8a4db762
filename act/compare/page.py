"""compare.html: one file without outside links; names of runs and flags are hostile text."""

import json
from collections.abc import Sequence
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from act.compare.run import Run
from act.report.smoothing import smoothed
from job.sections.comparison import Comparison

_COLOURS = ("#1f77b4", "#d95f02", "#2ca25f", "#7570b3", "#c51b7d", "#666666")
_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<title>Comparison of {{ found.runs|length }} runs</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --line: #8884; --accent: #d95f02 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: auto; padding: 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left }
figure { margin: 1rem 0; background: #fff; border-radius: 6px; padding: .5rem }
svg { width: 100%; height: auto }
.different { color: var(--accent); font-weight: 600 }
@media print { body { max-width: none } }
</style></head><body>
<h1>Comparison of {{ found.runs|length }} runs</h1>
<h2>What differs</h2>
{% if found.differences %}<ul>{% for one in found.differences %}
<li{% if one.distinguishable %} class="different"{% endif %}>{{ one.text }}</li>
{% endfor %}</ul>{% else %}<p>Nothing here can be compared in pairs: that takes evaluation.json of
the same held-out episodes, or simulation_*.json of the same seeds.</p>{% endif %}
{% if not found.same_dataset %}<p>The runs were trained on different episodes.</p>{% endif %}
<table><tr><th>run</th><th>epochs</th><th>samples</th><th>training</th><th>best validation loss</th>
<th>error of held-out episodes</th><th>verdict</th><th>success</th></tr>
{% for run in found.runs %}<tr><td>{{ run.name }}</td><td>{{ run.epochs }}</td><td>{{ run.samples }}
</td><td>{{ duration(run.training_seconds) }}</td><td>{% if run.best_val_loss is not none %}
{{ "%.4g"|format(run.best_val_loss) }} (epoch {{ run.best_epoch }}){% endif %}</td>
<td>{% if run.mae_in_std %}{{ interval(run.mae_in_std) }} std{% endif %}</td>
<td>{{ run.verdict or "" }}</td><td>{% for one in run.rates %}{{ one.env }}:
{{ "%.0f"|format(100 * one.success.rate) }} % ({{ "%.0f"|format(100 * one.success.low) }} to
{{ "%.0f"|format(100 * one.success.high) }} %, {{ one.success.of }} episodes, {{ one.checkpoint }})
<br>{% endfor %}</td></tr>{% endfor %}</table>
<h2>Flags that differ</h2>
{% if found.flags %}<table><tr><th>flag</th>{% for run in found.runs %}<th>{{ run.name }}</th>
{% endfor %}</tr>{% for name, values in found.flags.items() %}<tr><td>--{{ name }}</td>
{% for value in values %}<td>{{ shown(value) }}</td>{% endfor %}</tr>{% endfor %}</table>
{% else %}<p>None.</p>{% endif %}
<h2>Curves</h2>
{% for title, figure in figures %}<h3>{{ title }}</h3><figure>{{ figure }}</figure>{% endfor %}
</body></html>
"""


def page(found: Comparison, runs: Sequence[Run]) -> str:
    """The text of the page."""
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE)
    return template.render(
        found=found,
        figures=[
            ("Loss over training samples", _curves(runs, over_time=False)),
            ("Loss over hours of training", _curves(runs, over_time=True)),
        ],
        duration=_duration,
        interval=_interval,
        shown=_shown,
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _interval(value: Any) -> str:
    if value.low is None:
        return f"{value.mean:.3f}"
    return f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f})"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _curves(runs: Sequence[Run], over_time: bool) -> Markup:
    """The losses of every run: validation as a line, training as a dotted one."""
    figure = Figure(figsize=(9, 4))
    axes = figure.add_subplot()
    for number, run in enumerate(runs):
        if not run.rows:
            continue
        hours = [seconds / 3600 for seconds in run.seconds]
        place = hours if over_time else [row.samples for row in run.rows]
        colour, name = _COLOURS[number % len(_COLOURS)], run.name.replace("$", r"\$")
        val = smoothed(np.array([row.val["loss"] for row in run.rows]))
        train = smoothed(np.array([row.train["loss"] for row in run.rows]))
        axes.plot(place, val, color=colour, label=name, marker="." if len(place) == 1 else None)
        axes.plot(place, train, color=colour, linestyle=":", linewidth=1)
    axes.set_xlabel("hours of training" if over_time else "training samples")
    axes.set_ylabel("loss; dotted: training")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return _svg(figure, "time" if over_time else "samples")


def _svg(figure: Figure, salt: str) -> Markup:
    """The figure as an SVG element; its identifiers are its own, and the same each time."""
    text = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    _, tag, rest = text.getvalue().partition("<svg")
    return Markup(tag + rest)
