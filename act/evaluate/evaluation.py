"""Evaluates a run: errors of each checkpoint, then a replay of the best, and which inputs it uses.

K chunk   A action dims
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from act.evaluate.baselines import baseline_chunks, matched_dims
from act.evaluate.budget import Budget
from act.evaluate.errors import EpisodeErrors, Scale, chunk_errors, episode_errors
from act.evaluate.figures import Arrays, figure_arrays
from act.evaluate.grippers import find_grippers
from act.evaluate.held_out import Demonstration, Recorded, demonstration
from act.evaluate.ladder import Evaluated, ladder
from act.evaluate.predictions import Asker, opened
from act.evaluate.recommendation import (
    choose_checkpoint,
    choose_way,
    recommendation,
)
from act.evaluate.replay import Replayed, Replays, Way, executed, replay_section, ways
from act.evaluate.run_record import RunRecord
from act.evaluate.verdict import Facts, verdict
from act.load.backend import Backend
from act.load.own_dims import own, own_dims
from act.load.source import Source
from episodes.frames import FrameSource
from job.manifest import now, versions
from job.sections.contract import Contract
from job.sections.evaluation import (
    EVALUATION_VERSION,
    BaselineErrors,
    CheckpointErrors,
    Evaluation,
    HeldOutEpisode,
    Replay,
)
from job.sections.look import Distance, Look
from job.version import commit

logger = logging.getLogger("act")


class OpenBackend(Protocol):
    """Loads the network of a checkpoint."""

    def __call__(self, source: Source) -> Backend:
        """The network, ready to be asked."""


@dataclass(frozen=True)
class Looked:
    """What a closer look at one checkpoint has found."""

    look: Look | None = None
    distance: Distance | None = None
    arrays: Mapping[str, NDArray[np.generic]] | None = None


class LookAt(Protocol):
    """Looks closer at the recommended checkpoint, in the time that is left."""

    def __call__(self, asker: Asker, scale: Scale, budget: Budget) -> Looked:
        """What it has found."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated."""

    recorded: Recorded
    checkpoints: Mapping[str, Source]  # by name, those first that matter most
    record: RunRecord

    @property
    def contract(self) -> Contract:
        """The contract of the run."""
        return next(iter(self.checkpoints.values())).contract

    @property
    def chunk_size(self) -> int:
        """Actions of a chunk."""
        return self.contract.action.chunk_size

    def of_first(self, episodes: int) -> "Subject":
        """On the first episodes alone."""
        evaluated = self.recorded.evaluated[:episodes]
        return replace(self, recorded=replace(self.recorded, evaluated=evaluated))

    @property
    def scale(self) -> Scale:
        """Standard deviations and names of the dims that are the dataset's."""
        action = self.contract.action
        std = np.array(self.contract.statistics.action_std)[own(action)]
        return Scale(std, tuple(dim.name for dim in own_dims(action)))

    def demonstrations(self) -> list[Demonstration]:
        """Of each episode to evaluate on."""
        episodes, contract = self.recorded.episodes, self.contract
        return [demonstration(episodes, place, contract) for place in self.recorded.evaluated]


@dataclass(frozen=True)
class _Outcome:
    """What came of asking a checkpoint at all time steps that are its turn."""

    errors: list[EpisodeErrors]
    replays: Replays


def evaluate(
    subject: Subject, load: OpenBackend, look_at: LookAt, budget: Budget
) -> tuple[Evaluation, Arrays]:
    """Evaluate in the time given; returns the record, and the arrays that figures are drawn from.

    Raises DatasetError for frames that cannot be read, Interrupted on a signal.
    """
    with opened(subject.recorded) as frames:
        askers = _Askers(subject, load, frames)
        first = askers.of(next(iter(subject.checkpoints)))
        lengths = [len(one.action) for one in subject.demonstrations()] * len(subject.checkpoints)
        stride = budget.stride(subject.chunk_size, lengths, first.seconds_each(budget))
        outcomes = _outcomes(subject, askers, stride, budget)
        held_out = len(subject.recorded.evaluated)
        subject = subject.of_first(len(next(iter(outcomes.values())).errors))
        checkpoints = _ladder(subject, outcomes)
        best = choose_checkpoint(checkpoints)
        replays = _replay_sections(subject, outcomes[best.name].replays)
        way = choose_way([*replays.values()])
        asker = askers.of(best.name)
        looked = Looked() if budget.is_over else look_at(asker, subject.scale, budget)
        replayed = next(outcomes[best.name].replays[w] for w, one in replays.items() if one is way)
        arrays = figure_arrays(subject.recorded, frames, best, way, replayed, looked.arrays or {})
    baselines = _baselines(subject, stride)
    is_held_out = subject.recorded.is_held_out
    follows = subject.demonstrations()[0].follows
    facts = Facts(best, baselines, looked.look, looked.distance, is_held_out, held_out, follows)
    record = Evaluation(
        schema_version=EVALUATION_VERSION,
        created_at=now(),
        seconds=round(budget.used_s, 2),
        training_seconds=subject.record.seconds,
        complete=len(outcomes) == len(subject.checkpoints) and looked.look is not None,
        source=subject.recorded.source,
        held_out=is_held_out,
        episodes=_episodes(subject.recorded, stride),
        stride=stride,
        lag_steps=_lag(subject.record),
        checkpoints=checkpoints,
        baselines=baselines,
        replay=sorted(replays.values(), key=lambda one: one.mae_in_std.mean),
        look=looked.look,
        distance=looked.distance,
        recommendation=recommendation(
            checkpoints, best, [*replays.values()], way, subject.contract
        ),
        verdict=verdict(facts),
        versions=versions(),
        commit=commit(),
    )
    return record, arrays


class _Askers:
    """The checkpoints as they are asked, the last one kept: loading takes a second."""

    def __init__(self, subject: Subject, load: OpenBackend, frames: FrameSource) -> None:
        self._subject, self._load, self._frames = subject, load, frames
        self._name = ""
        self._asker: Asker | None = None

    def of(self, name: str) -> Asker:
        """A checkpoint by its name."""
        if self._asker is None or name != self._name:
            self._asker = None  # two do not have to fit the memory
            self._name = name
            source = self._subject.checkpoints[name]
            backend = self._load(source)
            self._asker = Asker(self._subject.recorded, self._frames, source.contract, backend)
        return self._asker


def _outcomes(
    subject: Subject, askers: _Askers, stride: int, budget: Budget
) -> dict[str, _Outcome]:
    """Of the checkpoints that there is time for, all on the same episodes.

    Of the first one at least an episode: with less time than that takes, the others have none. Each
    is taken to need the time of the one before it.
    """
    found: dict[str, _Outcome] = {}
    episodes, took_s = len(subject.recorded.evaluated), 0.0
    for name in subject.checkpoints:
        if found and not budget.has(took_s):
            break
        started_s = budget.used_s
        outcome = _outcome(subject, askers.of(name), stride, budget, episodes)
        if found and len(outcome.errors) < episodes:
            break
        found[name], episodes = outcome, len(outcome.errors)
        took_s = budget.used_s - started_s
        error = np.mean([one.in_std(subject.scale) for one in outcome.errors])
        logger.info("evaluate   %s: error %.3f of a standard deviation", name, error)
    return found


def _outcome(
    subject: Subject, asker: Asker, stride: int, budget: Budget, episodes: int
) -> _Outcome:
    """Of a checkpoint, on so many episodes, or fewer where the time is over."""
    size, weight = subject.chunk_size, subject.contract.execution.ensembling_weight
    tried = ways(size, stride, weight)
    outcome = _Outcome([], {way: [] for way in tried})
    pairs = zip(subject.recorded.evaluated, subject.demonstrations(), strict=True)
    for place, one in islice(pairs, episodes):
        if outcome.errors and budget.is_over:
            break
        length = len(one.action)
        ts = np.arange(0, length, stride)
        chunks = asker.chunks(place, ts)
        outcome.errors.append(episode_errors(chunks, *one.chunks(ts, size)))
        targets = one.action[one.first(np.arange(length))]
        for way in tried:
            done = Replayed(executed(way, chunks, stride, length), targets)
            outcome.replays[way].append(done)
    return outcome


def _ladder(subject: Subject, outcomes: Mapping[str, _Outcome]) -> list[CheckpointErrors]:
    return ladder(
        [
            Evaluated(
                name,
                subject.checkpoints[name].checkpoint.name,
                subject.checkpoints[name].sha256,
                subject.record.epoch_of(name),
                chunk_errors(outcome.errors, subject.scale),
            )
            for name, outcome in outcomes.items()
        ]
    )


def _replay_sections(subject: Subject, replays: Replays) -> dict[Way, Replay]:
    everything = np.concatenate([one.action for one in subject.demonstrations()])
    grippers = find_grippers(subject.scale.names, everything, subject.contract.fps)
    return {
        way: replay_section(way, episodes, subject.scale, grippers)
        for way, episodes in replays.items()
    }


def _baselines(subject: Subject, stride: int) -> list[BaselineErrors]:
    contract, scale, size = subject.contract, subject.scale, subject.chunk_size
    mean = np.array(contract.statistics.action_mean, np.float32)[own(contract.action)]
    found: dict[str, list[EpisodeErrors]] = {}
    for demonstrated in subject.demonstrations():
        ts = np.arange(0, len(demonstrated.action), stride)
        chunks = baseline_chunks(
            demonstrated,
            ts,
            size,
            matched=matched_dims(contract, scale),
            mean=mean,
            lag_steps=_lag(subject.record),
        )
        for name, predicted in chunks.items():
            errors = episode_errors(predicted, *demonstrated.chunks(ts, size))
            found.setdefault(name, []).append(errors)
    sections = [
        BaselineErrors.model_validate({"name": name, "errors": chunk_errors(errors, scale)})
        for name, errors in found.items()
    ]
    return sorted(sections, key=lambda one: one.errors.mae_in_std.mean)


def _lag(record: RunRecord) -> int | None:
    return None if record.lag_steps is None else round(record.lag_steps)


def _episodes(recorded: Recorded, stride: int) -> list[HeldOutEpisode]:
    lengths = recorded.episodes.lengths
    return [
        HeldOutEpisode(
            number=recorded.numbers[place],
            source=recorded.sources[place],
            length=lengths[place],
            frames=-(-lengths[place] // stride),
        )
        for place in recorded.evaluated
    ]
