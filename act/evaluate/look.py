"""Whether a policy uses what it is given: each camera and the state are spoiled in turn.

N observations   C cameras   H, W pixels   K chunk   A action dims   Q state dims
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from act.evaluate.errors import Array, Scale
from act.evaluate.held_out import BoolArray, demonstration, images_of
from act.evaluate.predictions import Asker
from act.load.own_dims import own
from episodes.arrays import FloatArray, Frame
from job import signals
from job.sections.look import Ablation, AttentionShares, Exchanged, Look

MOST = 64  # observations, spread over the episodes
_LEAST = 8
_BATCH = 8
IGNORED_ERROR, IGNORED_CHANGE = 1.05, 0.05  # an input that spoils no more than that is ignored
_CONSTANT, _MOVES = 0.05, 0.1  # shares of a dim's spread: predicted, and demonstrated, in std


@dataclass(frozen=True)
class Seen:
    """Observations, and what was demonstrated there."""

    state: FloatArray  # (N, Q)
    env_state: FloatArray | None
    images: Frame | None  # (N, C, H, W, 3)
    demonstrated: FloatArray  # (N, K, A)
    valid: BoolArray  # (N, K)
    first: NDArray[np.int64]  # (N,), the observation that is the first one of the same episode
    other: NDArray[np.int64]  # (N,), one at the same time of another episode

    def shown(self, cameras: Sequence[int], images: Frame) -> "Seen":
        """With other images (N, cameras, H, W, 3) of some cameras."""
        assert self.images is not None
        changed = self.images.copy()
        changed[:, cameras] = images
        return replace(self, images=changed)


def observations(asker: Asker, count: int) -> Seen:
    """At most so many, evenly spread: from each episode alike, its first frame among them."""
    recorded, contract = asker.recorded, asker.contract
    places = recorded.evaluated[: max(1, count // 2)]
    each = max(2, count // len(places))
    shares = np.linspace(0, 1, each, endpoint=False)
    states, environments, images, chunks, valids = [], [], [], [], []
    for place in places:
        one = demonstration(recorded.episodes, place, contract)
        ts = (shares * len(one.action)).astype(np.int64)
        states.append(recorded.episodes.qpos[place][ts])
        if recorded.episodes.env_state:
            environments.append(recorded.episodes.env_state[place][ts])
        if (seen := images_of(asker.frames, place, ts.tolist())) is not None:
            images.append(seen)
        chunk, valid = one.chunks(ts, contract.action.chunk_size)
        chunks.append(chunk)
        valids.append(valid)
    number = np.arange(len(places) * each)
    return Seen(
        np.concatenate(states),
        np.concatenate(environments) if environments else None,
        np.concatenate(images) if images else None,
        np.concatenate(chunks),
        np.concatenate(valids),
        number - number % each,
        (number + each) % len(number),
    )


def fitting_count(cameras: int, query_s: float, left_s: float | None) -> int:
    """How many observations the time that is left allows; 0 where it allows too few."""
    together = 3 if cameras > 1 else 0
    passes = 1 + 3 * cameras + together + cameras * (cameras - 1) // 2 + 2
    fits = MOST if left_s is None else int(left_s / max(query_s * passes, 1e-9))
    return min(MOST, fits) if fits >= _LEAST else 0


def look(asker: Asker, scale: Scale, seen: Seen, attention: AttentionShares | None) -> Look:
    """The section; raises Interrupted when a signal has come."""
    clean = _answers(asker, seen)
    cameras = [camera.name for camera in asker.contract.cameras]
    several = len(asker.recorded.evaluated) > 1
    judged = _Judge(asker, scale, seen, clean)
    ablations = [
        judged.ablation(name, _spoiled(seen, [number], several))
        for number, name in enumerate(cameras)
    ]
    together = None
    if len(cameras) > 1:
        every = list(range(len(cameras)))
        together = judged.ablation("all cameras", _spoiled(seen, every, several))
    spoiled = {"frozen": replace(seen, state=seen.state[seen.first])}
    if several:
        spoiled["other_episode"] = replace(seen, state=seen.state[seen.other])
    ablations.append(judged.ablation("state", spoiled))
    spread, constant = _spread(clean, seen, scale)
    return Look(
        frames=len(seen.state),
        ablations=ablations,
        all_cameras=together,
        exchanged=list(_exchanged(judged, cameras)),
        spread_ratio=spread,
        constant_dims=constant,
        attention=attention,
    )


def _spoiled(seen: Seen, cameras: Sequence[int], several: bool) -> dict[str, Seen]:
    """The observations with these cameras blanked, frozen, or of another episode."""
    assert seen.images is not None
    own_images = seen.images[:, cameras]
    spoiled = {
        "blanked": seen.shown(cameras, np.zeros_like(own_images)),
        "frozen": seen.shown(cameras, own_images[seen.first]),
    }
    if several:
        spoiled["other_episode"] = seen.shown(cameras, own_images[seen.other])
    return spoiled


@dataclass(frozen=True)
class _Judge:
    """Compares what a policy answers to spoiled observations with what it answers to whole ones."""

    asker: Asker
    scale: Scale
    seen: Seen
    clean: FloatArray  # (N, K, A)

    def ratio(self, answers: FloatArray) -> float:
        """The error over that of whole observations."""
        return self._error(answers) / max(self._error(self.clean), 1e-9)

    def _error(self, answers: FloatArray) -> float:
        error = np.abs(answers - self.seen.demonstrated) / self.scale.std
        return float(error[self.seen.valid].mean())

    def ablation(self, name: str, spoiled: dict[str, Seen]) -> Ablation:
        """The section of an input that was spoiled in some ways."""
        answers = {way: _answers(self.asker, seen) for way, seen in spoiled.items()}
        ratios = {way: self.ratio(one) for way, one in answers.items()}
        change = max(
            float((np.abs(one - self.clean) / self.scale.std).mean()) for one in answers.values()
        )
        return Ablation(
            name=name,
            blanked=ratios.get("blanked"),
            frozen=ratios.get("frozen"),
            other_episode=ratios.get("other_episode"),
            change_in_std=change,
            ignored=max(ratios.values()) < IGNORED_ERROR and change < IGNORED_CHANGE,
        )


def _exchanged(judged: _Judge, cameras: Sequence[str]) -> Iterator[Exchanged]:
    seen = judged.seen
    for first, second in combinations(range(len(cameras)), 2):
        assert seen.images is not None
        images = seen.images.copy()
        images[:, [first, second]] = images[:, [second, first]]
        answers = _answers(judged.asker, replace(seen, images=images))
        yield Exchanged(first=cameras[first], second=cameras[second], error=judged.ratio(answers))


def _answers(asker: Asker, seen: Seen) -> FloatArray:
    """(N, K, A) in the dataset's own dims and units."""
    found = []
    for start in range(0, len(seen.state), _BATCH):
        signals.check()
        part = slice(start, start + _BATCH)
        images = None if seen.images is None else seen.images[part]
        env_state = None if seen.env_state is None else seen.env_state[part]
        found.append(asker.backend.infer(seen.state[part], images, env_state))
    answers: FloatArray = np.concatenate(found)[..., own(asker.contract.action)]
    return answers


def _spread(answers: FloatArray, seen: Seen, scale: Scale) -> tuple[float, list[str]]:
    """How much predictions differ over observations, over how much demonstrations do; and the dims
    that stand still though the demonstrations move them.
    """
    predicted, demonstrated = (_deviation(one[seen.valid]) for one in (answers, seen.demonstrated))
    moves = demonstrated > _MOVES * scale.std
    if not moves.any():
        return 1.0, []
    ratio = predicted[moves] / demonstrated[moves]
    still = np.flatnonzero(moves)[ratio < _CONSTANT]
    return float(ratio.mean()), [scale.names[dim] or str(dim) for dim in still]


def _deviation(values: FloatArray) -> Array:
    deviation: Array = values.astype(np.float64).std(axis=0)
    return deviation
