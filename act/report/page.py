"""report.html: one file, without scripts and without links; names from datasets are hostile."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from act.evaluate.verdict import CLOSED_LOOP
from act.report import evaluation_figures, pictures
from act.report.curve_figures import curve_figures, rate_figure
from act.report.dataset_figures import lengths_figure
from act.report.drawing import Drawings
from act.report.finding_facts import FEW_EPOCHS
from act.report.next_steps import next_step
from act.report.report import shown_command
from act.report.run_files import RunFiles
from act.report.templating import template_environment, template_text
from act.report.words import (
    ANSWERS,
    attention_shares,
    distance,
    error_rows,
    errors_lead,
    facts,
    lag,
    lengths,
    number,
    replay_rows,
    sentence,
    short,
    simulation_rows,
    spoiled_ways,
    times,
    unbroken,
    versions,
)
from job.sections.report import CurveFinding, Report
from job.words import counted

_OF_EVALUATION = (
    *("errors", "errors_lead", "error_rows", "episodes", "replay", "ladder", "look", "spoiled"),
    *("attention_shares", "distance", "has_grippers"),
)


def page(run: RunFiles, report: Report, defaults: Mapping[str, Any]) -> str:
    """The text of the page; defaults: of the job's flags, which a command need not name."""
    step = next_step(run, report, defaults)
    found: dict[str, Any] = {
        "report": report,
        "title": report.run_name or run.folder.resolve().name,
        "style": Markup(template_text("style.css")),
        "when": report.created_at.replace("T", " ").removesuffix("+00:00") + " UTC",
        "command": shown_command(report.reproducibility.command),
        "facts": facts(report),
        "next_step": step.text,
        "next_command": shown_command(step.command),
        "few_epochs": FEW_EPOCHS,
        "not_seen": not_seen(report),
        "other_findings": _other_findings(report),
        "versions": versions(report.reproducibility),
        "simulation": simulation_rows(report.simulation),
    }
    found |= _dataset(run, report) | _figures(run)
    return _environment().get_template("report.html.jinja").render(found)


def not_seen(report: Report) -> list[str]:
    """What the verdict could not see, and simulation has not shown since."""
    of_verdict = report.verdict.not_seen if report.verdict else []
    return [one for one in of_verdict if not (report.simulation and one.startswith(CLOSED_LOOP))]


def _other_findings(report: Report) -> list[CurveFinding]:
    """Those that the verdict has not given as its reasons."""
    given = [one.rule for one in report.verdict.reasons] if report.verdict else []
    return [one for one in report.curves if one.code not in given]


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
    if found is None:
        return shown | dict.fromkeys(_OF_EVALUATION)
    return shown | {
        "errors": [
            evaluation_figures.by_position(drawings, found),
            evaluation_figures.by_dim(drawings, found),
        ],
        "errors_lead": errors_lead(found),
        "error_rows": error_rows(found),
        "episodes": list(evaluation_figures.episodes(drawings, found, run.arrays)),
        "replay": replay_rows(found.replay),
        "has_grippers": any(one.grippers is not None for one in found.replay),
        "ladder": evaluation_figures.ladder(drawings, found),
        "look": found.look,
        "spoiled": spoiled_ways(found.look),
        "attention_shares": attention_shares(found.look),
        "distance": distance(found.distance),
    }


@cache
def _environment() -> Environment:
    made = template_environment(is_html=True)
    made.globals |= {
        "answers": ANSWERS,
        "counted": counted,
        "number": number,
        "sentence": lambda text: unbroken(sentence(text)),
        "short": short,
        "times": times,
    }
    return made
