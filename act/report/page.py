"""report.html: one file, without scripts and without links; names from datasets are hostile."""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from act.report import evaluation_figures, pictures
from act.report.curve_figures import curve_figures, rate_figure
from act.report.dataset_figures import lengths_figure
from act.report.drawing import Drawings
from act.report.report import shown_command
from act.report.run_files import RunFiles
from act.report.words import (
    ANSWERS,
    attention_shares,
    distance,
    error_rows,
    errors_lead,
    facts,
    lag,
    lengths,
    next_step,
    number,
    replay_rows,
    sentence,
    short,
    simulation_rows,
    times,
    versions,
)
from job.sections.report import Report


def page(run: RunFiles, report: Report) -> str:
    """The text of the page."""
    found: dict[str, Any] = {
        "report": report,
        "title": report.run_name or run.folder.resolve().name,
        "style": Markup(template_text("style.css")),
        "when": report.created_at.replace("T", " ").removesuffix("+00:00") + " UTC",
        "command": shown_command(report.reproducibility.command),
        "facts": facts(report),
        "next_step": next_step(report),
        "versions": versions(report.reproducibility),
        "simulation": simulation_rows(report.simulation),
    }
    found |= _dataset(run, report) | _figures(run)
    return _environment().get_template("report.html.jinja").render(found)


def _dataset(run: RunFiles, report: Report) -> dict[str, Any]:
    cameras = report.dataset.cameras if report.dataset else []
    estimates = run.manifest.estimates if run.manifest else None
    return {
        "three": pictures.three(run, cameras),
        "sheets": list(pictures.sheets(run, cameras)),
        "references": list(pictures.references(run, cameras)),
        "attention": list(pictures.attention(run, cameras)),
        "strips": pictures.strips(run),
        "lengths": lengths(report.dataset) if report.dataset else "",
        "lag": lag(estimates.lag if estimates else None, run.evaluation),
    }


def _figures(run: RunFiles) -> dict[str, Any]:
    drawings, found = Drawings(), run.evaluation
    shown: dict[str, Any] = {
        "curves": list(curve_figures(drawings, run.curves)) if run.curves else [],
        "rate_chart": rate_figure(drawings, run.curves) if run.curves else None,
        "length_chart": lengths_figure(drawings, run.manifest),
    }
    absent = ("errors", "error_rows", "errors_lead", "episodes", "replay", "ladder", "look")
    if found is None:
        return shown | dict.fromkeys((*absent, "attention_shares", "distance"))
    return shown | {
        "errors": [
            evaluation_figures.by_position(drawings, found),
            evaluation_figures.by_dim(drawings, found),
        ],
        "errors_lead": errors_lead(found),
        "error_rows": error_rows(found),
        "episodes": list(evaluation_figures.episodes(drawings, found, run.arrays)),
        "replay": replay_rows(found.replay),
        "ladder": evaluation_figures.ladder(drawings, found),
        "look": found.look,
        "attention_shares": attention_shares(found.look),
        "distance": distance(found.distance),
    }


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(template_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    made.globals |= {
        "answers": ANSWERS,
        "number": number,
        "sentence": sentence,
        "short": short,
        "times": times,
    }
    return made


def template_text(name: str) -> str:
    """A file of templates/."""
    return files("act.report").joinpath("templates", name).read_text(encoding="utf-8")
