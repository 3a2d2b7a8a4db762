"""What of several runs can be compared, and what differs beyond chance."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from act.compare.run import Run
from act.evaluate.bootstrap import interval
from act.simulate.intervals import mcnemar
from job.manifest import now
from job.sections.comparison import (
    COMPARISON_VERSION,
    ComparedRate,
    ComparedRun,
    Comparison,
    Difference,
)
from job.sections.simulation import Rollouts, Simulation

_PLACES = {"run_name", "output", "input", "task_name"}  # flags that differ without a meaning
_P = 0.05


def compared(runs: Sequence[Run]) -> Comparison:
    """The runs side by side."""
    return Comparison(
        schema_version=COMPARISON_VERSION,
        created_at=now(),
        runs=[_run(run) for run in runs],
        flags=differing_flags(runs),
        same_dataset=len({run.fingerprint for run in runs}) == 1,
        differences=list(_differences(runs)),
    )


def differing_flags(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The flags that differ, by name: their value in each run."""
    names = sorted({name for run in runs for name in run.flags} - _PLACES)
    values = {name: [run.flags.get(name) for run in runs] for name in names}
    return {name: of for name, of in values.items() if any(one != of[0] for one in of)}


def _run(run: Run) -> ComparedRun:
    best = min(run.rows, key=lambda row: row.val["loss"], default=None)
    evaluation = run.evaluation
    best_checkpoint = evaluation.best if evaluation else None
    return ComparedRun(
        name=run.name,
        folder=str(run.folder),
        epochs=len(run.rows),
        samples=run.rows[-1].samples if run.rows else 0,
        training_seconds=run.seconds[-1] if run.rows else 0.0,
        best_epoch=best.epoch if best else None,
        best_val_loss=best.val["loss"] if best else None,
        mae_in_std=best_checkpoint.errors.mae_in_std if best_checkpoint else None,
        verdict=evaluation.verdict.answer if evaluation else None,
        rates=[_rate(one) for one in run.simulations],
    )


def _rate(simulation: Simulation) -> ComparedRate:
    first = simulation.rollouts[0]
    return ComparedRate(
        env=simulation.env, checkpoint=first.name, mode=first.mode, success=first.success
    )


def _differences(runs: Sequence[Run]) -> Iterator[Difference]:
    for first, second in combinations(range(len(runs)), 2):
        one, other = runs[first], runs[second]
        if found := _errors(one, other):
            yield _of_errors(first, second, (one.name, other.name), *found)
        for mine in one.simulations:
            for theirs in other.simulations:
                if _alike(mine, theirs):
                    pair = (mine.rollouts[0], theirs.rollouts[0])
                    yield _of_rates(first, second, (one.name, other.name), mine.env, pair)


def _errors(one: Run, other: Run) -> tuple[list[float], list[float]] | None:
    """The errors by episode, where they are of the same episodes, measured alike."""
    mine, theirs = one.evaluation, other.evaluation
    if mine is None or theirs is None or one.fingerprint != other.fingerprint:
        return None
    if (mine.episodes, mine.stride) != (theirs.episodes, theirs.stride):
        return None
    errors = [found.best.errors.by_episode for found in (mine, theirs)]
    return (errors[0], errors[1]) if len(errors[0]) == len(errors[1]) else None


def _of_errors(
    first: int, second: int, names: tuple[str, str], mine: list[float], theirs: list[float]
) -> Difference:
    difference = interval(np.array(mine) - np.array(theirs))
    low, high = difference.low, difference.high
    differ = low is not None and high is not None and (low > 0 or high < 0)
    place = "too few for an interval" if low is None else f"{low:+.3f} to {high:+.3f}"
    return Difference(
        first=first,
        second=second,
        measure="mae_in_std",
        count=len(mine),
        difference=difference,
        only_first=None,
        only_second=None,
        p_value=None,
        distinguishable=differ,
        text=f"{names[0]} against {names[1]}, error: {difference.mean:+.3f} std ({place}, "
        f"{len(mine)} episodes): {_said(differ)}",
    )


def _said(differ: bool) -> str:
    return "different" if differ else "cannot be called different"


def _alike(one: Simulation, other: Simulation) -> bool:
    names = ("env", "seeds", "episode_steps", "success_reward")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _of_rates(
    first: int,
    second: int,
    names: tuple[str, str],
    env: str,
    pair: tuple[Rollouts, Rollouts],
) -> Difference:
    ours, theirs = (each.successes for each in pair)
    only_first = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    only_second = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    p_value = mcnemar(only_first, only_second)
    shares = [f"{100 * each.success.rate:.0f} %" for each in pair]
    return Difference(
        first=first,
        second=second,
        measure=env,
        count=len(ours),
        difference=None,
        only_first=only_first,
        only_second=only_second,
        p_value=p_value,
        distinguishable=p_value < _P,
        text=f"{names[0]} against {names[1]}, {env}: {shares[0]} and {shares[1]} of {len(ours)} "
        f"(p = {p_value:.3f}): {_said(p_value < _P)}",
    )
