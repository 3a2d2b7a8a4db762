"""From rollouts to simulation_<env>.json, to upstream's result file, and to the terminal."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from act.simulate.environment import StageRule
from act.simulate.intervals import mcnemar, rate_of
from act.simulate.rollout import Rollout
from act.simulate.work import Trial
from job.errors import UsageError
from job.sections.simulation import Paired, Rate, Rollouts, Simulation, Stage
from job.whole_files import whole_file

logger = logging.getLogger("act")

_ALPHA = 0.05  # below it, two rates are called different


@dataclass(frozen=True)
class Rules:
    """What a success is, and which stages a task has."""

    success_reward: float | None  # None: what the environment says of each step
    stages: tuple[StageRule, ...] = ()

    def is_success(self, one: Rollout) -> bool:
        """Whether a rollout is one; raises UsageError where nothing says it."""
        if self.success_reward is not None:
            return one.highest_reward >= self.success_reward
        if one.is_success is None:
            raise UsageError(
                "--success_reward is not given, and the environment's info has no is_success, "
                "expected one of them; add --success_reward X, the reward of a success",
                code="flag-missing",
            )
        return one.is_success


@dataclass(frozen=True)
class Tried:
    """A trial and its rollouts, in the order of the seeds."""

    trial: Trial
    rollouts: tuple[Rollout, ...]
    videos: tuple[str, ...] = ()

    def successes(self, rules: Rules) -> list[bool]:
        """Which rollouts are one."""
        return [rules.is_success(one) for one in self.rollouts]


def result_name(env: str) -> str:
    """simulation_<env>, without what no file name has."""
    return f"simulation_{re.sub(r'[^A-Za-z0-9._-]', '.', env)}"


def rollouts_section(tried: Tried, rules: Rules) -> Rollouts:
    """What simulation_<env>.json says of a trial."""
    rewards = [one.highest_reward for one in tried.rollouts]
    jerks = [one.jerk for one in tried.rollouts if one.jerk is not None]
    return Rollouts(
        name=tried.trial.checkpoint,
        file=tried.trial.file.name,
        sha256=tried.trial.sha256,
        way=tried.trial.way.name,
        mode=tried.trial.way.mode,
        horizon=tried.trial.way.horizon,
        ensembling_weight=tried.trial.way.ensembling_weight,
        success=rate_of(tried.successes(rules)),
        stages=[
            Stage(
                name=stage.name,
                reward=stage.reward,
                rate=rate_of([reward >= stage.reward for reward in rewards]),
            )
            for stage in rules.stages
        ],
        highest_rewards=rewards,
        successes=tried.successes(rules),
        mean_return=fmean(one.total_reward for one in tried.rollouts),
        path_length=fmean(one.path_length for one in tried.rollouts),
        jerk=fmean(jerks) if jerks else None,
        seconds_per_episode=fmean(one.seconds for one in tried.rollouts),
        videos=list(tried.videos),
    )


def comparisons(tried: Sequence[Tried], rules: Rules) -> list[Paired]:
    """The first trial with each other one, on the same initial states."""
    first, *others = [one.successes(rules) for one in tried]
    return [paired(first, other, number) for number, other in enumerate(others, start=1)]


def paired(first: Sequence[bool], other: Sequence[bool], number: int) -> Paired:
    """McNemar's test of the first trial with another one, number `number`."""
    pairs = list(zip(first, other, strict=True))
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    return Paired(
        first=0,
        second=number,
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
    )


def write_upstreams_result(folder: Path, tried: Tried, rules: Rules) -> None:
    """Write result_<checkpoint>.txt, line by line what upstream's evaluation writes."""
    rewards = [_plain(one.highest_reward) for one in tried.rollouts]
    returns = [_plain(one.total_reward) for one in tried.rollouts]
    count = len(rewards)
    text = f"\nSuccess rate: {fmean(tried.successes(rules))}\nAverage return: {fmean(returns)}\n\n"
    for reward in range(int(max([rules.success_reward or 0, *rewards])) + 1):
        reached = sum(one >= reward for one in rewards)
        text += f"Reward >= {reward}: {reached}/{count} = {reached / count * 100}%\n"
    with whole_file(folder / f"result_{tried.trial.file.stem}.txt", shared=True) as file:
        file.write(f"{text}{returns!r}\n\n{rewards!r}".encode())


def _plain(reward: float) -> float:
    """Whole rewards as whole numbers, as upstream's are."""
    return int(reward) if reward == int(reward) else reward


def log_results(found: Simulation) -> None:
    """A line for each checkpoint and way, then what can be called different."""
    for one in found.rollouts:
        stages = ", ".join(f"{stage.name} {stage.rate.rate:.0%}" for stage in one.stages[:-1])
        logger.info(
            "rate       %s, %s: %s%s",
            one.name,
            one.way,
            shown(one.success),
            f"; {stages}" * bool(stages),
        )
    for pair in found.paired:
        first, second = (found.rollouts[number] for number in (pair.first, pair.second))
        logger.info(
            "paired     %s, %s and %s, %s: the first alone succeeded %d times, the second %d "
            "times, p = %.3g: %s",
            *(first.name, first.way, second.name, second.way),
            *(pair.only_first, pair.only_second, pair.p_value),
            "different" if pair.p_value < _ALPHA else "cannot be called different",
        )


def shown(rate: Rate) -> str:
    """A rate in percent with its interval."""
    low, high = 100 * rate.low, 100 * rate.high
    return f"{100 * rate.rate:.1f} % ({low:.1f} to {high:.1f}; {rate.count} of {rate.of})"
