"""`simulate`: rollouts of a run's checkpoints, all from the same initial states."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any

from act.load.source import Source
from act.simulate import aloha
from act.simulate.flags import SimulateFlags
from act.simulate.foreign import module_and_factory
from act.simulate.rendering import choose_renderer
from act.simulate.results import (
    Rules,
    Tried,
    comparisons,
    log_results,
    result_name,
    rollouts_section,
    write_upstreams_result,
)
from act.simulate.robot import keys_of
from act.simulate.rollout import Rollout, jerk, path_length
from act.simulate.trials import find_checkpoints, trials_of
from act.simulate.work import Task, Trial, work
from episodes.arrays import FloatArray
from job.errors import DatasetError, Interrupted, JobError, UsageError
from job.machine import cpu_count, limit_threads
from job.manifest import now, versions
from job.progress import progress_bar
from job.sections.simulation import SIMULATION_VERSION, Simulation
from job.version import commit
from job.whole_files import output_errors, write_json
from job.workers import CRASH, Workers, run_tasks

logger = logging.getLogger("act")


@dataclass(frozen=True)
class Demonstrations:
    """What a run was trained on, without its images."""

    qpos: tuple[FloatArray, ...]  # each (T, Q)
    action: tuple[FloatArray, ...]  # each (T, A)


ReadDemonstrations = Callable[[Source], Demonstrations | None]


def simulate(flags: SimulateFlags, run: str, read: ReadDemonstrations) -> Path:
    """Try a run's checkpoints, and write simulation_<env>.json into its folder.

    read: the demonstrations of a run; None where they are not at hand
    returns: the file
    Raises UsageError, OutputError and Interrupted.
    """
    started = time.monotonic()
    found = find_checkpoints(run, flags)
    source = found[0][1]
    rules = _rules(flags, source)
    trials, processes = trials_of(found, flags), flags.processes or cpu_count()
    limit_threads(cpu_count())  # one: with another number sums would be rounded otherwise
    folder = source.checkpoint.parent
    path = folder / f"{result_name(flags.env)}.json"

    def write(tried: Sequence[Tried]) -> Simulation:
        seconds = round(time.monotonic() - started, 1)
        content = _content(flags, tried, rules, seen).model_copy(update={"seconds": seconds})
        write_json(path, content.model_dump(mode="json"), shared=True)
        return content

    with Workers() as pool:
        tried = _tried(flags, trials, Pool(pool, processes, flags.env))
        _write_upstreams_results(folder, tried, rules)
        seen = _read_or_warn(read, source)
        write(tried)  # the rates do not wait for films of them, which take longer
        tried = _filmed(flags, tried, rules, Pool(pool, processes, flags.env))
    log_results(write(tried))
    logger.info("written    %s", path)
    return path


def _rules(flags: SimulateFlags, source: Source) -> Rules:
    """Refuse early what cannot be simulated; what a success is."""
    keys_of(flags.env, source.contract, flags.map)
    if flags.env not in aloha.TASKS:
        module_and_factory(flags.env)
        return Rules(flags.success_reward)
    aloha.check_packages()
    choose_renderer(
        bool(source.contract.cameras) or flags.videos > 0
    )  # which the workers take over
    stages = aloha.TASKS[flags.env].stages
    highest = stages[-1].reward if flags.success_reward is None else flags.success_reward
    return Rules(highest, stages)


@dataclass(frozen=True)
class Pool:
    """Where rollouts are done."""

    workers: Workers
    processes: int
    env: str

    def do(self, tasks: Sequence[Task], what: str) -> Iterable[tuple[Task, Rollout]]:
        """Yield each task with its rollout, as they come."""
        with progress_bar(len(tasks), what, "episodes") as bar:
            try:
                for done in run_tasks(work, tasks, self.processes, _name, self.workers):
                    bar.update()
                    yield done
            except DatasetError as error:
                if error.code != CRASH:
                    raise
                raise UsageError(
                    f"{self.env}: a process of the simulation ended by itself or sent nothing for "
                    f"minutes, expected an episode; try --processes 1, and MUJOCO_GL=osmesa",
                    code="env-failed",
                ) from error


def _name(task: Task) -> str:
    return task.name


def _tried(flags: SimulateFlags, trials: Sequence[Trial], pool: Pool) -> list[Tried]:
    tasks = [
        Task(trial, flags.env, flags.map, seed, flags.episode_steps)
        for trial in trials
        for seed in flags.seeds
    ]
    found = {(task.trial, task.seed): one for task, one in pool.do(tasks, "simulate")}
    return [Tried(trial, tuple(found[trial, seed] for seed in flags.seeds)) for trial in trials]


def _filmed(flags: SimulateFlags, tried: Sequence[Tried], rules: Rules, pool: Pool) -> list[Tried]:
    """Repeat some rollouts, and film them: rendering every time step of all would take too long."""
    shown = {one.trial: _worth_showing(one, rules, flags.videos) for one in tried}
    place = tried[0].trial.file.parent / result_name(flags.env)
    if not any(shown.values()):
        _remove_others(place, set())
        return list(tried)
    tasks = [
        Task(trial, flags.env, flags.map, one.seed, flags.episode_steps, place / name)
        for trial, films in shown.items()
        for name, one in films.items()
    ]
    for task, again in pool.do(tasks, "film"):
        assert task.video is not None
        once = shown[task.trial][task.video.name]
        if again.highest_reward != once.highest_reward:
            logger.warning("%s: the film shows another outcome than was counted", task.video)
    written = {path for task in tasks if (path := task.video) and path.exists()}
    if not written:
        logger.warning("%s gives no picture, so there is no video", flags.env)
    _remove_others(place, written)
    return [
        replace(
            one,
            videos=tuple(
                f"{place.name}/{name}" for name in shown[one.trial] if place / name in written
            ),
        )
        for one in tried
    ]


def _worth_showing(tried: Tried, rules: Rules, count: int) -> dict[str, Rollout]:
    """Rollouts by the name of their video: as many successes as failures, if there are."""
    pairs = list(zip(tried.rollouts, tried.successes(rules), strict=True))
    good, bad = ([one for one, success in pairs if success is kind] for kind in (True, False))
    few = max(count // 2, count - len(bad))
    chosen = [(one, "success") for one in good[:few]]
    chosen += [(one, "failure") for one in bad[: count - len(chosen)]]
    stem = f"{tried.trial.checkpoint}_{tried.trial.way.name}"
    return {f"{stem}_seed_{one.seed}_{what}.mp4": one for one, what in chosen}


def _remove_others(folder: Path, kept: set[Path]) -> None:
    """Remove the videos of an earlier simulation."""
    with output_errors(folder):
        for path in folder.glob("*.mp4"):
            if path not in kept:
                path.unlink(missing_ok=True)


def _write_upstreams_results(folder: Path, tried: Sequence[Tried], rules: Rules) -> None:
    """Write upstream's result file of each checkpoint, in the first way that was asked for."""
    for number, one in enumerate(tried):
        if one.trial.file not in [other.trial.file for other in tried[:number]]:
            write_upstreams_result(folder, one, rules)


def _read_or_warn(read: ReadDemonstrations, source: Source) -> Demonstrations | None:
    """The demonstrations, or None with a warning: the rates stand without them."""
    try:
        return read(source)
    except Interrupted:
        raise
    except JobError as error:
        logger.warning("the demonstrations cannot be compared: %s", error)
        return None


def _content(
    flags: SimulateFlags, tried: Sequence[Tried], rules: Rules, seen: Demonstrations | None
) -> Simulation:
    jerks = [value for one in (seen.action if seen else ()) if (value := jerk(one)) is not None]
    return Simulation(
        schema_version=SIMULATION_VERSION,
        created_at=now(),
        seconds=0.0,
        env=flags.env,
        episode_steps=flags.episode_steps,
        seeds=flags.seeds,
        processes=flags.processes or cpu_count(),
        success_reward=rules.success_reward,
        rollouts=[rollouts_section(one, rules) for one in tried],
        paired=comparisons(tried, rules),
        demonstrated_path_length=fmean(map(path_length, seen.qpos)) if seen else None,
        demonstrated_jerk=fmean(jerks) if jerks else None,
        versions=versions(),
        simulator=_simulator(flags.env),
        commit=commit(),
    )


def _simulator(env: str) -> dict[str, str]:
    packages = aloha.PACKAGES if env in aloha.TASKS else ("gymnasium", env.partition(":")[0])
    found: dict[str, Any] = {package: _version(package) for package in packages}
    return {package: known for package, known in found.items() if known}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except (PackageNotFoundError, ValueError):
        return None
