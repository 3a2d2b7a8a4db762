"""compare.html: one file without outside links; names of runs and flags are hostile text."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes

from act.compare.run import Run
from act.report.curve_figures import scale
from act.report.drawing import HEIGHT, WIDTH, Drawings, shown_name
from act.report.smoothing import smoothed
from act.report.templating import template_text
from job.sections.comparison import Comparison

# Legible on light and dark pages
_COLOURS = ("#3f7fd9", "#d9731f", "#2f9e6b", "#8a7bd1", "#cf4a93", "#888888")
_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<title>Comparison of {{ found.runs|length }} runs</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<style>{{ style }}
.different { color: var(--val); font-weight: 600 }
</style></head><body><main>
<h1>Comparison of {{ found.runs|length }} runs</h1>
<section><h2>What differs</h2>
{% if found.differences %}<ul>{% for one in found.differences %}
<li{% if one.distinguishable %} class="different"{% endif %}>{{ one.text }}</li>
{% endfor %}</ul>{% else %}<p>Nothing here can be compared in pairs: that takes evaluation.json of
the same held-out episodes, or simulation_*.json of the same seeds.</p>{% endif %}
{% if not found.same_dataset %}<p>The runs were trained on different episodes.</p>{% endif %}
<div class="scroll"><table><tr><th>run</th><th>epochs</th><th>samples</th><th>training</th>
<th>best validation loss</th>
<th>error of held-out episodes</th><th>verdict</th><th>success</th></tr>
{% for run in found.runs %}<tr><td>{{ run.name }}</td><td>{{ run.epochs }}</td><td>{{ run.samples }}
</td><td>{{ duration(run.training_seconds) }}</td><td>{% if run.best_val_loss is not none %}
{{ "%.4g"|format(run.best_val_loss) }} (epoch {{ run.best_epoch }}){% endif %}</td>
<td>{% if run.mae_in_std %}{{ interval(run.mae_in_std) }} std{% endif %}</td>
<td>{{ run.verdict or "" }}</td><td>{% for one in run.rates %}{{ one.env }}:
{{ "%.0f"|format(100 * one.success.rate) }} % ({{ "%.0f"|format(100 * one.success.low) }} to
{{ "%.0f"|format(100 * one.success.high) }} %, {{ one.success.of }} episodes, {{ one.checkpoint }})
<br>{% endfor %}</td></tr>{% endfor %}</table></div>
</section><section><h2>Flags that differ</h2>
{% if found.flags %}<div class="scroll"><table><tr><th>flag</th>{% for run in found.runs %}
<th>{{ run.name }}</th>
{% endfor %}</tr>{% for name, values in found.flags.items() %}<tr><td>--{{ name }}</td>
{% for value in values %}<td>{{ shown(value) }}</td>{% endfor %}</tr>{% endfor %}</table></div>
{% else %}<p>None.</p>{% endif %}
</section><section><h2>Curves</h2><div class="charts">
{% for title, figure in figures %}<figure class="chart"><h3>{{ title }}</h3>{{ figure }}</figure>
{% endfor %}</div></section>
</main></body></html>
"""


def page(found: Comparison, runs: Sequence[Run]) -> str:
    """The text of the page."""
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEMPLATE)
    drawings = Drawings()
    return template.render(
        found=found,
        style=Markup(template_text("style.css")),
        figures=[
            ("Loss over training samples", _curves(drawings, runs, over_time=False)),
            ("Loss over hours of training", _curves(drawings, runs, over_time=True)),
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


def _curves(drawings: Drawings, runs: Sequence[Run], over_time: bool) -> Markup:
    """The losses of every run: validation as a line, training as a dotted one."""

    def fill(axes: Axes) -> None:
        for number, run in enumerate(runs):
            if run.rows:
                _run(axes, run, over_time, _COLOURS[number % len(_COLOURS)])
        losses = [row.val["loss"] for run in runs for row in run.rows]
        losses += [row.train["loss"] for run in runs for row in run.rows]
        if losses:
            scale(axes, np.array(losses))
        axes.set_xlabel("hours of training" if over_time else "training samples")
        axes.set_ylabel("loss; dotted: training")
        axes.legend()

    label = f"Loss over {'hours' if over_time else 'samples'}"
    return drawings.draw(label, fill, (WIDTH, 1.4 * HEIGHT))


def _run(axes: Axes, run: Run, over_time: bool, colour: str) -> None:
    hours = [seconds / 3600 for seconds in run.seconds]
    place = hours if over_time else [row.samples for row in run.rows]
    val = smoothed(np.array([row.val["loss"] for row in run.rows]))
    train = smoothed(np.array([row.train["loss"] for row in run.rows]))
    marker = "." if len(place) == 1 else None
    axes.plot(place, val, color=colour, label=shown_name(run.name, 0), marker=marker)
    axes.plot(place, train, color=colour, linestyle=":", linewidth=1)
