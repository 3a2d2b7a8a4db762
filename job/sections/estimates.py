"""What the data say about the training to come: figures of `check --json` and of the manifest.

They are estimates for people to judge by; nothing in a job depends on them.
"""

from typing import Annotated, Literal

from pydantic import Field

from job.sections.section import Count, Positive, Section

Share = Annotated[float, Field(ge=0, le=1)]


class Lag(Section):
    """By how much the state follows the action, from the correlation of their changes."""

    steps: float | None = Field(
        description="Steps by which changes of the state come after those of the action, to a "
        "tenth; below 0 where they come before. Null where unknown."
    )
    ms: float | None = Field(
        description="The same in milliseconds; null also where the frame rate is not known."
    )
    correlation: float | None = Field(
        description="Correlation of the changes at that lag, mean over the dims. Null where "
        "unknown."
    )
    dims: Count = Field(description="Number of dims that it is estimated from.")
    matched_by: Literal["name", "position"] | None = Field(
        description="How dims of the state and of the action were matched; null where they cannot "
        "be."
    )
    lowest_steps: int | None = Field(description="Lowest lag of one of these dims, in whole steps.")
    highest_steps: int | None = Field(
        description="Highest lag of one of these dims, in whole steps."
    )
    fits_sim_true: bool | None = Field(
        description="Whether the first action of a chunk does not come after its effect on the "
        "state with --sim true, which starts chunks with action[t]. Null where unknown."
    )
    fits_sim_false: bool | None = Field(
        description="Whether it comes a step before its effect or more with the shift of --sim "
        "false, and of --sim auto for tasks without sim_, which starts chunks with action[t-1]. "
        "Null where unknown."
    )
    sim: bool = Field(description="Which of the two this job trains with.")
    unknown: str | None = Field(description="Why it is unknown; null where it is known.")


class ChunkLength(Section):
    """The lags at which the autocorrelation of the action falls below 0.5, median over the dims."""

    changes_steps: Positive | None = Field(
        description="Of its changes from step to step. Null where nothing moves, or it stays above "
        "0.5 for half of the longest episode."
    )
    changes_s: float | None = Field(
        description="The same in seconds; null also where the frame rate is not known."
    )
    action_steps: Positive | None = Field(
        description="Of the action itself, which LeRobot's visualizer suggests as the length of a "
        "chunk. Null as above."
    )
    action_s: float | None = Field(description="The same in seconds.")
    dims: Count = Field(description="Number of dims that it is estimated from: those that move.")
    chunk_size: Positive = Field(description="Steps of a chunk in this job.")


class JumpingDim(Section):
    """A dim that jumps by more than a gripper's range from one step to the next."""

    vector: Literal["state", "action"] = Field(description="The vector that it belongs to.")
    name: str = Field(description="Its name; dim and its number where the input gives none.")
    jumps: Positive = Field(description="How often it does.")
    largest: float = Field(description="The largest of them, in the dim's own unit.")
    episode: Count = Field(
        description="The episode of the largest: in the manifest by its number in the episode "
        "files, in a check by the dataset's own episode_index."
    )
    step: Positive = Field(description="The time step that it jumps to.")


class Jumps(Section):
    """Dims that jump by more than a gripper's range: an open gripper may be closed in one step."""

    state_range: float = Field(
        description="The range taken: the widest of a dim that is named gripper in the data, and "
        "at least 1, or 100 where more than a hundredth of all values is beyond 6.9 (degrees or "
        "per cent)."
    )
    action_range: float = Field(description="The same of the action.")
    dims: list[JumpingDim] = Field(description="These dims, the state's first.")


class IdleEnds(Section):
    """Frames at the ends of episodes in which no dim of state or action moves by more than 2 % of
    its range over all episodes."""

    start_share: Share | None = Field(
        description="Share of all frames that are idle at the start of an episode. Null where "
        "nothing moves."
    )
    end_share: Share | None = Field(description="Share of those that are idle at the end.")
    longest: Count | None = Field(description="Frames of the longest idle end.")
    longest_episode: Count | None = Field(description="The episode that it belongs to.")


class Estimates(Section):
    """What the data say about the training to come. Estimates, on which nothing in the job
    depends."""

    lag: Lag = Field(description="By how much the state follows the action.")
    chunk: ChunkLength = Field(description="Lengths of a chunk that the action suggests.")
    jumps: Jumps = Field(description="Dims that jump by more than a gripper's range.")
    idle: IdleEnds = Field(description="Idle frames at the ends of the episodes.")
