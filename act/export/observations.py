"""The observations on which an export is compared with its checkpoint.

C cameras   H, W pixels   Q state dims   E environment state dims
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from act.load.backend import Backend
from episodes.arrays import FloatArray, Frame
from episodes.episode_set import Episodes
from episodes.frames import open_frames
from job.errors import UsageError
from job.sections.contract import Contract, Vector

_SEED = 0


@dataclass(frozen=True)
class PolicyInput:
    """One observation as a backend takes it, in the policy's dims, padding included."""

    state: FloatArray  # (1, Q)
    images: Frame | None  # (1, C, H, W, 3) uint8
    env_state: FloatArray | None  # (1, E)

    def actions_of(self, backend: Backend) -> FloatArray:
        """The chunk (1, K, A) that a backend gives."""
        return backend.infer(self.state, self.images, self.env_state)


@dataclass(frozen=True)
class Observations:
    """A set of observations, made one after the other: together they may not fit the memory."""

    count: int
    source: str
    seed: int | None
    make: Callable[[], Iterator[PolicyInput]]


def random_observations(contract: Contract, count: int) -> Observations:
    """States within the ranges of the data, images of noise; the same ones each time."""

    def make() -> Iterator[PolicyInput]:
        random = np.random.default_rng(_SEED)
        cameras, env_state = contract.cameras, contract.env_state
        for _ in range(count):
            state = _random_vector(random, contract, contract.state, "qpos")
            images = None
            if cameras:
                shape = (1, len(cameras), cameras[0].height, cameras[0].width, 3)
                images = random.integers(0, 256, shape, np.uint8)
            seen = None
            if env_state is not None:
                seen = _random_vector(random, contract, env_state, "env_state")
            yield PolicyInput(state, images, seen)

    return Observations(
        count, "random: states within the data's ranges, images of noise", _SEED, make
    )


def _random_vector(
    random: np.random.Generator, contract: Contract, vector: Vector, name: str
) -> FloatArray:
    """(1, D): uniform in each dim's range, or where that is not known, two deviations about."""
    stats = contract.statistics.model_dump()
    mean, std = (np.array(stats[f"{name}_{what}"]) for what in ("mean", "std"))
    low, high = mean - 2 * std, mean + 2 * std
    for number, dim in enumerate(vector.dims):
        if dim.padding:
            low[number] = high[number] = 0
        elif dim.minimum is not None and dim.maximum is not None:
            low[number], high[number] = dim.minimum, dim.maximum
    drawn: FloatArray = random.uniform(low, high)[None].astype(np.float32)
    return drawn


def recorded_observations(
    episodes: Episodes, contract: Contract, count: int, source: str
) -> Observations:
    """Evenly spaced over the episodes; raises UsageError where they are not the policy's."""
    _check_fits(episodes, contract, source)
    total = sum(episodes.lengths)
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    return Observations(len(chosen), source, None, lambda: _read(episodes, chosen.tolist()))


def _read(episodes: Episodes, chosen: Sequence[int]) -> Iterator[PolicyInput]:
    starts = np.cumsum([0, *episodes.lengths])
    with contextlib.closing(open_frames(episodes)) as frames:
        for place in chosen:
            number = int(np.searchsorted(starts, place, side="right")) - 1
            ts = place - int(starts[number])
            images = None
            if episodes.camera_names:
                images = np.empty((1, *frames.shape), np.uint8)
                frames.copy_into(np.array([number]), np.array([ts]), images)
            seen = episodes.env_state[number][ts][None] if episodes.env_state else None
            yield PolicyInput(episodes.qpos[number][ts][None], images, seen)


def _check_fits(episodes: Episodes, contract: Contract, source: str) -> None:
    size = tuple((c.height, c.width) for c in contract.cameras[:1])
    expected = {
        "cameras": tuple(camera.name for camera in contract.cameras),
        "image size": size,
        "state dims": len(contract.state.dims),
        "environment state dims": len(contract.env_state.dims) if contract.env_state else 0,
    }
    found = {
        "cameras": tuple(episodes.camera_names),
        "image size": (episodes.image_size,) if episodes.camera_names else (),
        "state dims": episodes.qpos[0].shape[1],
        "environment state dims": episodes.env_state[0].shape[1] if episodes.env_state else 0,
    }
    for what, value in expected.items():
        if found[what] != value:
            raise UsageError(
                f"--input: {source} has {what} {found[what]}, expected {value} as the policy; "
                f"give the dataset that it was trained on, or leave --input out",
                code="export-input",
            )
