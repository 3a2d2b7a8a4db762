"""report.json: all that is known of a run, from the files in its folder."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from act.report.curve_findings import findings
from act.report.run_files import RunFiles
from job.manifest import now
from job.sections.contract import Contract
from job.sections.report import (
    REPORT_VERSION,
    DatasetFacts,
    DimRange,
    Report,
    Reproducibility,
)
from job.sections.whole import Whole

_COMMAND = "lerobot-to-act"
_REPEATED = ("input",)  # flags that are given once for each value


def report_of(run: RunFiles, defaults: Mapping[str, Any]) -> Report:
    """The report; defaults: of the job's flags, which the command need not name."""
    contract, manifest = run.contract, run.manifest
    named = contract or manifest
    return Report(
        schema_version=REPORT_VERSION,
        created_at=now(),
        run_name=named.run_name if named else None,
        task_name=named.task_name if named else None,
        policy_class=contract.policy_class if contract else str(run.flags.get("policy_class", "")),
        status="finished" if run.is_finished else "training",
        verdict=run.evaluation.verdict if run.evaluation else None,
        dataset=_dataset(manifest, contract) if manifest else None,
        training=run.training,
        curves=findings(run.facts),
        evaluation=run.evaluation,
        simulation=list(run.simulations),
        reproducibility=_reproducibility(run, defaults),
    )


def _dataset(manifest: Whole, contract: Contract | None) -> DatasetFacts | None:
    found = manifest.dataset
    if found is None:
        return None
    paths = dict.fromkeys([found.path, *(episode.dataset for episode in found.episodes)])
    return DatasetFacts(
        paths=list(paths) if len(paths) == 1 else list(paths)[1:],
        tasks=found.tasks,
        episodes=len(found.episodes),
        frames=found.frames,
        lengths=[episode.length for episode in found.episodes],
        training_episodes=len(manifest.split.train) if manifest.split else 0,
        fps=found.fps,
        state=list(_ranges(contract, "qpos")) if contract else [],
        action=list(_ranges(contract, "action")) if contract else [],
        cameras=[camera.name for camera in contract.cameras] if contract else [],
        warnings=manifest.warnings,
    )


def _ranges(contract: Contract, which: str) -> Iterator[DimRange]:
    """The dims of the state (qpos) or of the action, padding left out."""
    vector = contract.state if which == "qpos" else contract.action
    means = getattr(contract.statistics, f"{which}_mean")
    stds = getattr(contract.statistics, f"{which}_std")
    for dim, mean, std in zip(vector.dims, means, stds, strict=False):
        if not dim.padding:
            yield DimRange(
                name=dim.name, minimum=dim.minimum, maximum=dim.maximum, mean=mean, std=std
            )


def _reproducibility(run: RunFiles, defaults: Mapping[str, Any]) -> Reproducibility:
    contract, manifest = run.contract, run.manifest
    last = {name: digests[-1] for name, digests in contract.checkpoints.items()} if contract else {}
    dataset = manifest.dataset if manifest else None
    return Reproducibility(
        command=command(run.flags, defaults) if run.manifest else [],
        fingerprint=dataset.fingerprint if dataset else None,
        checkpoints={name: one for name, one in last.items() if (run.folder / name).exists()},
        versions=manifest.versions if manifest else None,
        commit=manifest.commit if manifest else None,
        device=manifest.device if manifest else None,
    )


def command(flags: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """The words of a job with these flags, those at their defaults left out."""
    words = [_COMMAND]
    for name, value in flags.items():
        if name == "recipe":  # every flag that it set is spelled out
            continue
        if value is None or (name in defaults and defaults[name] == value):
            continue
        for word in _words(name, value):
            words += [f"--{name}", *word]
    return words


def _words(name: str, value: Any) -> list[list[str]]:
    """What stands behind a flag, each time that it is given."""
    if isinstance(value, bool):
        return [[]] if value else []
    if isinstance(value, list):
        return [[str(one)] for one in value] if name in _REPEATED else [[",".join(map(str, value))]]
    return [[str(value)]]


def shown_command(words: Sequence[str]) -> str:
    """The command as a shell takes it, a flag a line."""
    lines: list[str] = []
    for word in words:
        if word.startswith("--") or not lines:
            lines.append(shlex.quote(word))
        else:
            lines[-1] += f" {shlex.quote(word)}"
    return " \\\n  ".join(lines)
