"""What a worker process does: one rollout after the other."""

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from act.load.loaded_policy import LoadedPolicy
from act.simulate.robot import Robot
from act.simulate.rollout import roll_out
from act.simulate.video import Film, write_video
from job.errors import UsageError
from job.flags import Pair
from job.sections.simulation import WayName
from job.workers import At, Send

_SAYS_EVERY_S = 1.0


@dataclass(frozen=True)
class Way:
    """A way of execution, with all that decides it."""

    name: WayName
    mode: Literal["open_loop", "temporal_ensembling"]
    horizon: int | None
    ensembling_weight: float | None


@dataclass(frozen=True)
class Trial:
    """A checkpoint, executed in one way."""

    checkpoint: str  # its name
    file: Path
    sha256: str
    way: Way
    computing: tuple[tuple[str, str], ...]  # what `load_policy` is to be given of the machine


@dataclass(frozen=True)
class Task:
    """A rollout that is to be done."""

    trial: Trial
    env: str
    pairs: tuple[Pair, ...]
    seed: int
    steps: int
    video: Path | None = None  # where one is written

    @property
    def name(self) -> str:
        """What to call it in an error."""
        return f"{self.env}, {self.trial.checkpoint}, seed {self.seed}"


def work(task: Task, send: Send) -> None:
    """Do a rollout, and send the task with it."""
    started = last = time.monotonic()

    def say() -> None:  # also where nobody listens any more, which ends the worker
        nonlocal last
        if time.monotonic() - last > _SAYS_EVERY_S:
            last = time.monotonic()
            send(At(task.name))

    policy = _policy(task.trial)
    robot = _robot(task.trial.file.parent, policy, task.env, task.pairs)
    film = Film(robot)

    def watch() -> None:
        say()
        if task.video is not None:
            film.watch()

    done = roll_out(policy, robot, task.seed, task.steps, watch)
    if task.video is not None and film.pictures:
        write_video(task.video, film.pictures, policy.fps)
    send((task, replace(done, seconds=time.monotonic() - started)))


@lru_cache(maxsize=1)
def _policy(trial: Trial) -> LoadedPolicy:
    from act.load.loading import load_policy  # with torch

    loaded = load_policy(
        trial.file,
        mode=trial.way.mode,
        horizon=trial.way.horizon,
        ensembling_weight=trial.way.ensembling_weight,
        **dict(trial.computing),  # type: ignore[arg-type]
    )
    found = getattr(loaded.backend, "source").sha256  # noqa: B009  a checkpoint's backend has it
    if found != trial.sha256:
        raise UsageError(
            f"{trial.file}: another file has taken its place since the simulation began, expected "
            f"the same one throughout; wait until the training has ended, or copy the run",
            code="checkpoint-changed",
        )
    return loaded


_robots: dict[tuple[Any, ...], Robot] = {}


def _robot(folder: Path, policy: LoadedPolicy, env: str, pairs: tuple[Pair, ...]) -> Robot:
    """The environment, which is made once: all checkpoints of a run have the same contract."""
    key = folder, env, pairs
    if key not in _robots:
        _robots[key] = Robot(env, policy.contract, pairs)
    return _robots[key]
