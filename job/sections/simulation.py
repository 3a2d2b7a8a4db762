"""simulation_<env>.json: rates of success in a simulator, with their intervals."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from job.sections.section import Count, Positive, Section, Sha256, Time, untitled_schema
from job.sections.whole import Versions

SIMULATION_VERSION = "1.0"
WayName = Literal["contract", "chunks", "temporal_agg"]
Share = Annotated[float, Field(ge=0, le=1)]


class Rate(Section):
    """How often something happened, with its 95 % Wilson interval."""

    count: Count = Field(description="Episodes in which it happened.")
    of: Positive = Field(description="Episodes.")
    rate: Share = Field(description="The share.")
    low: Share = Field(description="Lower end of the interval.")
    high: Share = Field(description="Upper end of the interval.")


class Stage(Section):
    """A stage of the task, which is reached when the reward first is so high."""

    name: str = Field(description="touched, lifted, handed over, …")
    reward: float = Field(description="The reward that marks it.")
    rate: Rate = Field(description="How often it was reached.")


class Rollouts(Section):
    """A checkpoint, executed in one way."""

    name: str = Field(description="Name of the checkpoint.")
    file: str = Field(description="Its file.")
    sha256: Sha256 = Field(description="Its digest.")
    way: WayName = Field(
        description="Way of execution, as --ways names it: policy.json's, whole chunks, or "
        "upstream's --temporal_agg."
    )
    mode: Literal["open_loop", "temporal_ensembling"] = Field(description="What it is.")
    horizon: Positive | None = Field(
        description="Actions of a chunk that are executed; null for temporal ensembling."
    )
    ensembling_weight: float | None = Field(description="For temporal ensembling; else null.")
    success: Rate = Field(description="Episodes that were a success.")
    stages: list[Stage] = Field(description="Stages, in the order of the task.")
    highest_rewards: list[float] = Field(
        description="Highest reward of each episode, in the order of `seeds`."
    )
    successes: list[bool] = Field(description="Whether each was a success, in the same order.")
    mean_return: float = Field(description="Mean over episodes of the sum of rewards.")
    path_length: float = Field(
        ge=0,
        description="Mean over episodes of the length of the state's path: the sum of the "
        "distances from each time step to the next, in the dataset's units.",
    )
    jerk: float | None = Field(
        description="Mean absolute third difference of the actions, in the dataset's units; null "
        "where episodes are shorter than four time steps."
    )
    seconds_per_episode: float = Field(
        ge=0, description="Mean time that a process took for an episode, in seconds."
    )
    videos: list[str] = Field(description="Videos in the run's folder, successes and failures.")


class Paired(Section):
    """Two checkpoints on the same initial states: McNemar's exact test."""

    first: Count = Field(description="Number of the one in `rollouts`.")
    second: Count = Field(description="Number of the other.")
    only_first: Count = Field(description="Initial states on which the first alone succeeded.")
    only_second: Count = Field(description="Initial states on which the second alone did.")
    p_value: Share = Field(description="Two-sided; below 0.05 they can be called different.")


class Simulation(BaseModel):
    """Rollouts of a run's checkpoints in a simulator, on the same initial states."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="simulation.json")

    schema_version: str = Field(
        pattern=r"^1\.\d+$",
        description="Version of this schema; the first number changes when a reader must change.",
    )
    created_at: Time = Field(description="Time of the simulation, UTC, ISO 8601.")
    seconds: float = Field(ge=0, description="Wall-clock seconds that it took.")
    env: str = Field(description="--env.")
    episode_steps: Positive = Field(description="Time steps of an episode, at most.")
    seeds: list[Count] = Field(min_length=1, description="Seeds of the initial states.")
    processes: Positive = Field(description="Processes that simulated at once, at most.")
    success_reward: float | None = Field(
        description="Highest reward of an episode that is a success; null where the environment "
        "itself says what is one."
    )
    rollouts: list[Rollouts] = Field(min_length=1, description="Each checkpoint in each way.")
    paired: list[Paired] = Field(description="Comparisons of the first with each other one.")
    demonstrated_path_length: float | None = Field(
        description="path_length of the demonstrations; null where they were not at hand."
    )
    demonstrated_jerk: float | None = Field(description="jerk of the demonstrations; null too.")
    versions: Versions = Field(description="The software that simulated.")
    simulator: dict[str, str] = Field(description="Versions of the simulator's packages.")
    commit: str | None = Field(
        description="Git commit of this project; null where it is not known."
    )


def simulation_schema() -> dict[str, Any]:
    """simulation.schema.json."""
    return untitled_schema(Simulation, f"simulation:{SIMULATION_VERSION}")
