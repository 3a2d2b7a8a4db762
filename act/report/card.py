"""The model card of a run, README.md in its repository of the Hugging Face Hub.

Made of the manifest, the contract and the report. Names and task texts come from datasets: nothing
in them becomes Markdown, HTML or a field of the card's metadata.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment

from act.report.page import not_seen
from act.report.report import report_of, shown_command
from act.report.run_files import RunFiles, read_run
from act.report.templating import template_environment
from act.report.words import ANSWERS, facts, sentence, short, simulation_rows
from act.report.writing import HTML
from job.errors import OutputError
from job.output_names import CONTRACT, MANIFEST, RUN, SNAPSHOTS
from job.sections.contract import Vector
from job.sections.report import Report
from job.sections.simulation import Rollouts, Simulation
from job.version import VERSION
from job.words import counted

CARD = "README.md"
_HUB_DATASET = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+?)(@.*|/.*)?")
_HUB_MODEL = re.compile(r"hf://([\w.-]+/[\w.-]+?)(@.*|/.*)?")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~:&$@])")


def published(
    folder: Path, defaults: Mapping[str, Any], repository: str
) -> dict[str, Path | bytes]:
    """What of a finished run is pushed to a repository, by name: what a robot or a reader needs.

    Left out are the state and the snapshots of earlier epochs, but for the one that the contract
    recommends.
    defaults: of the job's flags, which the card's command need not name
    repository: as `hf download` takes it
    """
    run = read_run(folder)
    if run.manifest is None or run.contract is None:
        raise OutputError(
            f"{folder}: its {MANIFEST} or {CONTRACT} cannot be understood, expected those of a run "
            f"of this version; train it again, or push the folder by hand",
            code="contract-unreadable",
        )
    listed = [one.path for one in run.manifest.artifacts if "/" not in one.path]  # no episodes
    simulated = [path.name for path in folder.glob("simulation_*.json")]
    found: dict[str, Path | bytes] = {
        name: folder / name
        for name in [*listed, *simulated, CONTRACT, RUN, MANIFEST]
        if name == run.contract.file or not Path(name).match(SNAPSHOTS)
    }
    return {CARD: card(run, report_of(run, defaults), repository).encode(errors="replace")} | found


def card(run: RunFiles, report: Report, repository: str) -> str:
    """The text of the card."""
    contract = run.contract
    found = {
        "metadata": yaml.safe_dump(_metadata(run, report), sort_keys=False, allow_unicode=True),
        "report": report,
        "repository": repository,
        "title": report.run_name or run.folder.name,
        "version": VERSION,
        "answers": ANSWERS,
        "facts": facts(report),
        "contract": contract,
        "not_seen": not_seen(report),
        "has_page": (run.folder / HTML).exists(),
        "env_state": _names(contract.env_state) if contract and contract.env_state else [],
        "state": _names(contract.state) if contract else [],
        "action": _names(contract.action) if contract else [],
        "simulation": simulation_rows(report.simulation),
        "command": shown_command(report.reproducibility.command),
    }
    return _environment().get_template("card.md.jinja").render(found)


@cache
def _environment() -> Environment:
    made = template_environment(is_html=False)
    made.filters |= {"md": _as_text, "sentence": sentence}
    made.globals |= {"counted": counted}
    return made


def _as_text(text: object, longest: int = 200) -> str:
    """A text of somebody else's in one line of Markdown, in which nothing is markup."""
    line = "".join(one for one in " ".join(str(text).split()) if one.isprintable())
    return _MARKUP.sub(r"\\\1", short(line, longest))


def _names(vector: Vector) -> list[str]:
    """The dims of a vector by name, padding left out."""
    return [
        dim.name if dim.name is not None else f"dim {number}"
        for number, dim in enumerate(vector.dims)
        if not dim.padding
    ]


def _metadata(run: RunFiles, report: Report) -> dict[str, Any]:
    """The card's metadata, as the Hub reads it."""
    found: dict[str, Any] = {
        "library_name": "lerobot-to-act",
        "pipeline_tag": "robotics",
        "tags": ["robotics", "imitation-learning", report.policy_class.lower(), "lerobot-to-act"],
    }
    fetched = run.manifest.fetched if run.manifest else []
    if datasets := [m[1] for one in fetched if (m := _HUB_DATASET.fullmatch(one.address))]:
        found["datasets"] = sorted(set(datasets))
    if base := _HUB_MODEL.fullmatch(str(run.flags.get("init_weights", ""))):
        found["base_model"] = base[1]
    if results := [*_results(run.simulations)]:
        found["model-index"] = [{"name": report.run_name or "policy", "results": results}]
    return found


def _results(simulations: tuple[Simulation, ...]) -> Iterator[dict[str, Any]]:
    for one in simulations:
        for rollouts in one.rollouts:
            yield {
                "task": {"type": "robotics", "name": one.env},
                "dataset": {"type": one.env, "name": f"simulation of {one.env}"},
                "metrics": [
                    {
                        "type": "success_rate",
                        "name": _name(rollouts),
                        "value": round(100 * rollouts.success.rate, 2),
                    }
                ],
            }


def _name(found: Rollouts) -> str:
    rate = found.success
    return (
        f"% of {rate.of} episodes, 95 % interval {100 * rate.low:.0f} to {100 * rate.high:.0f}, "
        f"checkpoint {found.name}, {found.way}"
    )
