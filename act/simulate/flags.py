"""The flags of `simulate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from act.processes.flags import ComputeFlags
from job import bounds
from job.bounds import at_least, between, distinct
from job.errors import UsageError
from job.flags import Flags, Pair, flag, names_of
from job.run_flags import OutputFlags
from job.sections.simulation import WayName

CONTRACT: Final = "contract"
CHUNKS: Final = "chunks"
TEMPORAL_AGG: Final = "temporal_agg"
WAYS: tuple[WayName, ...] = (CONTRACT, CHUNKS, TEMPORAL_AGG)
_MOST_SEED = 2**32 - 1  # of NumPy
_FIRST_SEED = 500_000  # while a run trains: other states than those that `simulate` judges it by


def _ways(value: tuple[str, ...]) -> str | None:
    if value and set(value) <= {*WAYS}:
        return distinct(value)
    return f"some of {', '.join(WAYS)}"


@dataclass(frozen=True, kw_only=True)
class EnvironmentFlags(Flags):
    """In what the policy is tried."""

    title = "environment"

    env: str = flag(
        "aloha_transfer_cube, aloha_insertion, or module:factory of a gymnasium environment.",
        check=bounds.some_text,
    )
    map: tuple[Pair, ...] = flag(
        "A key of its observations for a camera, state or env_state; NAME - leaves it out.", ()
    )
    episodes: int = flag("Number of episodes.", 200, check=between(1, 100_000))
    episode_steps: int = flag(
        "Time steps of an episode, unless the environment ends it.", 400, check=at_least(1)
    )
    seed: int = flag(
        "Seed of the first initial state; the next ones follow it.", 1000, check=bounds.seed
    )
    success_reward: float | None = flag(
        "Lowest reward that counts as a success; none = the environment's own.", None
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed + self.episodes - 1 > _MOST_SEED:
            raise UsageError(
                f"--seed is {self.seed}, expected {_MOST_SEED + 1 - self.episodes} or less with "
                f"--episodes {self.episodes}",
                code="flag-value",
            )

    @property
    def seeds(self) -> list[int]:
        """The seeds of the initial states, which every checkpoint starts from."""
        return list(range(self.seed, self.seed + self.episodes))


@dataclass(frozen=True, kw_only=True)
class EvalEnvFlags(Flags):
    """The rate of success that a job measures while it trains."""

    title = "evaluation"

    eval_env: str = flag("Environment, as of simulate, to measure a rate of success in.", "")
    eval_every: int = flag("Number of epochs between rates in --eval_env.", 100, check=at_least(1))
    eval_episodes: int = flag("Number of episodes of each rate.", 50, check=between(1, 100_000))
    eval_episode_steps: int = flag("Time steps of each of these episodes.", 400, check=at_least(1))
    eval_map: tuple[Pair, ...] = flag("A key of --eval_env's observations, as of simulate.", ())
    stop_at_plateau: int = flag(
        "Number of rates without a higher one that end the run; 0 = never.", 0, check=at_least(0)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in sorted(self.given & names_of(EvalEnvFlags) - {"eval_env"}):
            if not self.eval_env:
                raise UsageError(
                    f"--{name} cannot apply without --eval_env; give one, or leave it out",
                    code="flag-unused",
                )

    @property
    def eval_states(self) -> list[tuple[int, int]]:
        """The seed of each initial state, and the time steps from it: always the same ones."""
        return [(_FIRST_SEED + n, self.eval_episode_steps) for n in range(self.eval_episodes)]


@dataclass(frozen=True, kw_only=True)
class ExecutionFlags(Flags):
    """Which checkpoints are tried, and how their chunks are executed."""

    title = "policy"

    checkpoints: tuple[str, ...] = flag(
        "best, last, epoch_1200, …, or all; auto = the one that policy.json names.",
        (),
        check=distinct,
    )
    ways: tuple[str, ...] = flag(
        "contract = as policy.json has it, chunks = whole ones, temporal_agg = upstream's.",
        (CONTRACT,),
        check=_ways,
    )
    temporal_agg: bool = flag("The same as --ways temporal_agg, upstream's name for it.", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temporal_agg and "ways" in self.given:
            raise UsageError(
                "--temporal_agg with --ways: both say how chunks are executed, expected one of "
                "them; leave the other out",
                code="flags-conflict",
            )

    @property
    def executed(self) -> tuple[WayName, ...]:
        """The ways of execution, in the order in which they are tried."""
        if self.temporal_agg:
            return (TEMPORAL_AGG,)
        return tuple(way for name in self.ways for way in WAYS if way == name)


@dataclass(frozen=True, kw_only=True)
class SimulateFlags(EnvironmentFlags, ExecutionFlags, ComputeFlags, OutputFlags):
    """The command `simulate`."""

    title = "work"

    processes: int = flag(
        "Processes that simulate, each with one thread; 0 = one for each core.",
        0,
        check=between(0, 1024),
    )
    videos: int = flag(
        "Videos for each checkpoint and way, of successes and failures.", 2, check=at_least(0)
    )
    input: tuple[Path, ...] = flag(
        "Dataset whose motion is compared; auto = the run's, if it is there.", ()
    )

    def computing(self) -> dict[str, Any]:
        """What `load_policy` is to be given of the machine."""
        return {"device": self.device, "precision": self.precision, "compile": self.compile}
