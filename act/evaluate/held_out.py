"""The episodes on which a run is evaluated, and what was demonstrated there.

T time steps   N queries   C cameras   H, W pixels   K chunk   Q state dims   A action dims
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act.batches.split import split_episodes
from act.load.own_dims import own
from episodes.arrays import FloatArray, Frame, IntArray
from episodes.episode_set import Episodes, open_episodes
from episodes.frames import FrameSource
from episodes.reading import NO_CAMERAS, Reading
from job.errors import DatasetError, UsageError
from job.output_names import RUN
from job.sections.contract import Contract
from job.whole_files import read_json

BoolArray = NDArray[np.bool_]

_TRAINED = 10  # episodes of training that are compared with


@dataclass(frozen=True)
class Recorded:
    """Episodes as a run reads them, and which of them it was not trained on."""

    episodes: Episodes
    numbers: tuple[int, ...]  # of each, in the run
    sources: tuple[int | str, ...]  # of each, in the dataset
    evaluated: tuple[int, ...]  # places in `episodes` of those to evaluate on
    trained: tuple[int, ...]  # places of some that the run was trained on
    is_held_out: bool  # False: the run was trained on what it is evaluated on
    source: str  # where they come from


@dataclass(frozen=True)
class Wanted:
    """Numbers of the episodes that an evaluation needs."""

    evaluated: tuple[int, ...]
    trained: tuple[int, ...]  # some of those that the run was trained on, to compare with

    @property
    def numbers(self) -> list[int]:
        """All of them."""
        return sorted({*self.evaluated, *self.trained})


def split_of(folder: Path) -> str:
    """`--val_episodes` of the run in a folder; as upstream splits, where it is of before."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = read_json(folder / RUN)["flags"]["val_episodes"]
        return str(found)
    return "auto"


def wanted(count: int, is_of_run: bool, validated: str = "auto") -> Wanted:
    """Of so many episodes: what the run held out, or all where they are not the run's.

    validated: as of `split_of`
    """
    if not is_of_run:
        return Wanted(tuple(range(count)), ())
    trained, held_out = (sorted(side) for side in split_episodes(count, validated))
    shown = np.unique(np.linspace(0, len(trained) - 1, _TRAINED).round().astype(int))
    return Wanted(tuple(held_out), tuple(trained[place] for place in shown))


def recorded(
    paths: Mapping[int, Path],
    sources: Mapping[int, int | str],
    needed: Wanted,
    contract: Contract,
    *,
    reading: Reading,
    is_of_run: bool,
    source: str,
) -> Recorded:
    """Open the episodes; raises DatasetError, and UsageError where they are not the policy's.

    paths, sources: by number, of those that are needed
    """
    numbers = needed.numbers
    names = tuple(camera.name for camera in contract.cameras) or NO_CAMERAS
    try:
        episodes = open_episodes([paths[number] for number in numbers], names, reading)
    except DatasetError as error:
        if is_of_run:
            raise
        raise _unfit(source, str(error).partition(": ")[2]) from error  # a file of ours is at fault
    check_fits(episodes, contract, source)
    return Recorded(
        episodes,
        tuple(numbers),
        tuple(sources[number] for number in numbers),
        tuple(map(numbers.index, needed.evaluated)),
        tuple(map(numbers.index, needed.trained)),
        is_held_out=not (is_of_run and set(needed.evaluated) & set(needed.trained)),
        source=source,
    )


@dataclass(frozen=True)
class Demonstration:
    """What was demonstrated in an episode, in the dataset's own dims and units."""

    state: FloatArray  # (T, Q)
    action: FloatArray  # (T, A)
    follows: int  # 1 where a chunk starts with the action before the observation, else 0

    def first(self, ts: IntArray) -> IntArray:
        """The time step of the first action of the chunk that answers each observation: (N,)."""
        return np.maximum(0, ts - self.follows)

    def chunks(self, ts: IntArray, size: int) -> tuple[FloatArray, BoolArray]:
        """The demonstrated chunks (N, K, A), and which of their steps are in the episode (N, K)."""
        steps = self.first(ts)[:, None] + np.arange(size)
        last = len(self.action) - 1
        return self.action[np.minimum(steps, last)], steps <= last


def demonstration(episodes: Episodes, place: int, contract: Contract) -> Demonstration:
    """An episode's, in the dims that are the dataset's own."""
    return Demonstration(
        episodes.qpos[place][:, own(contract.state)],
        episodes.action[place][:, own(contract.action)],
        int(not episodes.is_sim(place)),
    )


def images_of(frames: FrameSource, place: int, ts: Sequence[int]) -> Frame | None:
    """The images (N, C, H, W, 3) at some time steps of an episode; None without cameras."""
    if not frames.shape[0]:
        return None
    images = np.empty((len(ts), *frames.shape), np.uint8)
    frames.copy_into(np.full(len(ts), place), np.asarray(ts), images)
    return images


def check_fits(episodes: Episodes, contract: Contract, source: str) -> None:
    """Refuse episodes that are not what the policy was trained to see; raises UsageError."""
    cameras = contract.cameras
    expected = {
        "cameras": tuple(camera.name for camera in cameras),
        "image size": tuple((camera.height, camera.width) for camera in cameras[:1]),
        "state dims": len(contract.state.dims),
        "action dims": len(contract.action.dims),
        "environment state dims": len(contract.env_state.dims) if contract.env_state else 0,
    }
    found = {
        "cameras": tuple(episodes.camera_names),
        "image size": (episodes.image_size,) if episodes.camera_names else (),
        "state dims": episodes.qpos[0].shape[1],
        "action dims": episodes.action[0].shape[1],
        "environment state dims": episodes.env_state[0].shape[1] if episodes.env_state else 0,
    }
    for what, value in expected.items():
        if found[what] != value:
            raise _unfit(source, f"it has {what} {found[what]}, the policy {value}")


def _unfit(source: str, why: str) -> UsageError:
    return UsageError(
        f"--input: {source} is not what the policy was trained to see ({why}); give the dataset "
        f"that it was trained on, or leave --input out",
        code="input-unfit",
    )


def conversion_flags(contract: Contract) -> dict[str, Any]:
    """The flags with which recordings become what a policy sees, as far as its contract says."""
    state, action, cameras = contract.state, contract.action, contract.cameras
    same = len(state.dims) == len(action.dims)
    found: dict[str, Any] = {"state_dim": len(state.dims) if same else 0}
    if action.first_offset is not None:
        found["sim"] = "true" if action.first_offset == 0 else "false"
    if not cameras:
        return found | {"camera_names": [*NO_CAMERAS]}
    if all(camera.key for camera in cameras):
        found["camera_keys"] = [camera.key for camera in cameras]
    size = f"{cameras[0].height}x{cameras[0].width}"
    return found | {"camera_names": [camera.name for camera in cameras], "image_size": size}
