"""The words and numbers of the page."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from act.evaluate.verdict import FEW, best_baseline
from job.sections.estimates import Lag
from job.sections.evaluation import Evaluation, Interval, Replay
from job.sections.look import Distance, Look
from job.sections.report import DatasetFacts, Report, Reproducibility
from job.sections.simulation import Rate, Rollouts, Simulation
from job.words import counted

ANSWERS = {
    "yes": "Yes: it works, as far as recordings can tell",
    "no": "No: it does not work",
    "unknown": "Unknown: what was measured does not decide it",
}
_FLAG = re.compile(r"--\w+")
_BASELINES = {
    "hold": "baseline: the arm stays where it is",
    "repeat": "baseline: the action executed last, again and again",
    "mean": "baseline: the mean action of the training data",
    "shifted": "no baseline, as it knows the future: the demonstration itself, late by the lag",
}
_SPOILED = {
    "blanked": "blanked",
    "frozen": "held at the first frame",
    "other_episode": "of another episode",
}
_NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Fact:
    """A number at the top."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class ErrorRow:
    """An error in a table."""

    name: str
    mean: str
    interval: str
    note: str


@dataclass(frozen=True)
class ReplayRow:
    """A way of execution in a table."""

    way: str
    mean: str
    interval: str
    jump: str
    jerk: str
    grippers: str


@dataclass(frozen=True)
class SimulationRow:
    """Rollouts in a table."""

    env: str
    name: str
    way: str
    rate: str
    interval: str
    of: int
    stages: str


def sentence(text: str) -> str:
    """A clause as a sentence."""
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "…")) else ".")


def unbroken(text: str) -> Markup:
    """A text for the page whose flags do not break behind their dashes."""
    return Markup(_FLAG.sub(r'<span class="flag">\g<0></span>', str(escape(text))))


def short(text: str, longest: int = 120) -> str:
    """A name that leaves place for others."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def number(value: float | None) -> str:
    """A value of a dataset, in a table."""
    return _NOTHING if value is None else f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def times(value: float | None) -> str:
    """A ratio, in a table."""
    return _NOTHING if value is None else f"{value:.2f}\N{MULTIPLICATION SIGN}"


def facts(report: Report) -> list[Fact]:
    """The numbers at the top."""
    return [*_chosen(report), *_rates(report), *_training(report)]


def _chosen(report: Report) -> Iterator[Fact]:
    found = report.evaluation
    if found is None:
        return
    advice, error = found.recommendation, found.best.errors.mae_in_std
    is_no = found.verdict.answer == "no"
    name = "Best checkpoint so far" if is_no else "Recommended checkpoint"
    yield Fact(name, advice.checkpoint, advice.file)
    name, note = way(advice.mode, advice.horizon, advice.ensembling_weight)
    yield Fact("Execution", name, note)
    base = best_baseline(found.baselines).errors.mae_in_std.mean if found.baselines else None
    note = "of a standard deviation" + (f"; best baseline {base:.3f}" if base is not None else "")
    yield Fact("Error on held-out episodes", f"{error.mean:.3f}", note)


def _rates(report: Report) -> Iterator[Fact]:
    """Of the recommended checkpoint where it was tried, else of the first."""
    found = report.evaluation
    chosen = found.recommendation.checkpoint if found else None
    for one in report.simulation[:2]:
        shown = min(one.rollouts, key=lambda tried: (tried.name != chosen, tried.way != "contract"))
        success = shown.success
        note = f"{_interval_of(success)}, {success.of} episodes of {one.env}, {shown.name}"
        highest = max(one.rollouts, key=lambda tried: tried.success.rate)
        if highest.success.rate > success.rate:
            note += f"; highest: {highest.name}, {highest.success.rate:.0%}"
        yield Fact("Success in simulation", f"{success.rate:.0%}", note)


def _training(report: Report) -> Iterator[Fact]:
    found, data = report.training, report.dataset
    if found is not None:
        epochs = f"{found.epochs_done:,}"
        if found.epochs_done != found.epochs:
            epochs += f" of {found.epochs:,}"
        steps = counted(found.steps, "step")
        note = f"{steps}, {counted(found.samples, 'sample')}, batches of {found.effective_batch}"
        yield Fact("Epochs", epochs, note)
    if data is not None:
        yield Fact("Episodes", f"{data.episodes:,}", f"{data.frames:,} time steps")


def way(mode: str, horizon: int | None, weight: float | None) -> tuple[str, str]:
    """A way of execution, and what stands behind it."""
    if mode == "temporal_ensembling":
        return "temporal ensembling", "" if weight is None else f"weight {weight:g}"
    return "open loop", f"{horizon} actions of each chunk"


def _way(mode: str, horizon: int | None, weight: float | None) -> str:
    return ", ".join(part for part in way(mode, horizon, weight) if part)


def lengths(data: DatasetFacts) -> str:
    """How long episodes are."""
    low, high = min(data.lengths), max(data.lengths)
    return f"{low:,} time steps" if low == high else f"{low:,} to {high:,}"


def lag(found: Lag | None, evaluation: Evaluation | None) -> str:
    """By how much the state follows the action."""
    steps = found.steps if found is not None else None
    if steps is None and evaluation is not None:
        steps = evaluation.lag_steps
    if steps is None:
        return ""
    return f"The measured state follows the action {steps:g} time steps late, by an estimate."


def errors_lead(found: Evaluation) -> str:
    """On what the errors were measured."""
    which = "that it was not trained on" if found.held_out else "that it was trained on"
    every = "every time step" if found.stride == 1 else f"every {found.stride}th time step"
    text = (
        f"On {counted(len(found.episodes), 'episode')} {which}, asked at {every}: the mean "
        f"absolute error of all actions of the chunks that it predicts."
    )
    if len(found.episodes) < FEW:
        text += f" There is no interval: it takes {FEW} episodes."
    return text if found.complete else f"{text} The time given was too short for all measures."


def error_rows(found: Evaluation) -> list[ErrorRow]:
    """The recommended checkpoint, then the baselines."""
    best = found.best
    rows = [_error(f"policy, {best.name}", best.errors.mae_in_std, "the recommended checkpoint")]
    for one in found.baselines:
        rows.append(_error(one.name, one.errors.mae_in_std, f"{_BASELINES[one.name]}"))
    return rows


def _error(name: str, found: Interval, note: str) -> ErrorRow:
    return ErrorRow(name, f"{found.mean:.3f}", _interval(found), note)


def _interval(found: Interval) -> str:
    if found.low is None or found.high is None:
        return _NOTHING
    return f"{found.low:.3f} to {found.high:.3f}"


def replay_rows(found: Sequence[Replay]) -> list[ReplayRow]:
    """Each way of execution."""
    return [
        ReplayRow(
            _way(one.mode, one.horizon, one.ensembling_weight),
            f"{one.mae_in_std.mean:.3f}",
            _interval(one.mae_in_std),
            _NOTHING if one.jump_in_std is None else f"{one.jump_in_std:.3f}",
            f"{one.jerk_ratio:.2f}",
            _NOTHING
            if one.grippers is None
            else f"{one.grippers.hit} of {one.grippers.demonstrated}",
        )
        for one in found
    ]


def spoiled_ways(look: Look | None) -> list[tuple[str, str]]:
    """The ways in which inputs were spoiled, and their titles: those that any input has."""
    ablations = look.ablations if look else []
    return [
        (name, title)
        for name, title in _SPOILED.items()
        if any(getattr(one, name) is not None for one in ablations)
    ]


def attention_shares(look: Look | None) -> str:
    """Where attention goes, in per cent."""
    if look is None or look.attention is None:
        return ""
    found = look.attention
    shares = {"latent": found.latent, "state": found.state}
    shares |= {} if found.env_state is None else {"environment state": found.env_state}
    return ", ".join(f"{name} {share:.0%}" for name, share in (shares | found.cameras).items())


def distance(found: Distance | None) -> str:
    """How far held-out observations lie."""
    if found is None:
        return ""
    cameras = "".join(f", {one.name} {one.ratio:.2f}" for one in found.cameras)
    return (
        f"How far held-out observations lie from training, with 1 as far as training episodes lie "
        f"from each other: state {found.state:.2f}{cameras}."
    )


def simulation_rows(found: Sequence[Simulation]) -> list[SimulationRow]:
    """Each checkpoint in each way in each environment."""
    return [_rollouts(one.env, rollouts) for one in found for rollouts in one.rollouts]


def _rollouts(env: str, found: Rollouts) -> SimulationRow:
    success = found.success
    return SimulationRow(
        env,
        found.name,
        _way(found.mode, found.horizon, found.ensembling_weight),
        f"{success.rate:.1%}",
        _interval_of(success),
        success.of,
        ", ".join(f"{stage.name} {stage.rate.rate:.0%}" for stage in found.stages),
    )


def _interval_of(rate: Rate) -> str:
    return f"{rate.low:.0%} to {rate.high:.0%}"


def versions(found: Reproducibility) -> list[tuple[str, str]]:
    """Software, machine and data, by name."""
    rows = []
    if found.fingerprint:
        rows.append(("digest of the episodes", found.fingerprint))
    if found.commit:
        rows.append(("commit", found.commit))
    if found.device:
        cuda = f", CUDA {found.device.cuda}" if found.device.cuda else ""
        rows.append(("device", f"{found.device.name}{cuda}, {found.device.cores} cores"))
    if found.versions:
        software = found.versions.model_dump().items()
        rows.append(("versions", ", ".join(f"{name} {one}" for name, one in software if one)))
    return rows
