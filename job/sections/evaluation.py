"""evaluation.json: what a run's checkpoints do on recorded episodes that they were not trained on.

Errors "in std" are divided by the standard deviation of their dim in the training statistics, so
that dims of different units can be averaged. Errors without it are in the dataset's units.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from job.sections.look import Distance, Look
from job.sections.section import Count, Positive, Section, Sha256, Time, untitled_schema
from job.sections.verdict import Verdict
from job.sections.whole import Versions

EVALUATION_VERSION = "1.1"
Error = Annotated[float, Field(ge=0)]
Baseline = Literal["hold", "repeat", "mean", "shifted"]


class Interval(Section):
    """A mean with its 95 % confidence interval."""

    mean: float = Field(description="Mean.")
    low: float | None = Field(
        description="Lower end of the interval; null where there are too few episodes for one."
    )
    high: float | None = Field(description="Upper end of the interval; null likewise.")


class DimErrors(Section):
    """The errors of one dim of the actions."""

    name: str | None = Field(description="Name; null where the dataset does not give it.")
    mae: Error = Field(description="Mean absolute error, in the dataset's unit.")
    mse: Error = Field(description="Mean squared error, in the dataset's unit squared.")
    mae_in_std: Error = Field(description="Mean absolute error in standard deviations.")


class ChunkErrors(Section):
    """The errors of whole chunks, over all frames that were evaluated; padded steps do not count,
    nor do dims that are padding."""

    mae_in_std: Interval = Field(
        description="Mean absolute error in standard deviations, the mean of the episodes' means, "
        "with a bootstrap interval over episodes."
    )
    mse_in_std: Error = Field(description="Mean squared error in squared standard deviations.")
    by_episode: list[Error] = Field(
        description="mae_in_std of each episode, in the order of `episodes`."
    )
    by_position: list[Error] = Field(
        description="mae_in_std of each position in the chunk, the first action first."
    )
    dims: list[DimErrors] = Field(min_length=1, description="The dims, in order.")


class BaselineErrors(Section):
    """What something that does not look at images would have scored on the same frames."""

    name: Baseline = Field(
        description="hold: the current state, where its dims match those of the action by name or "
        "number. repeat: the action that was executed last. mean: the mean action of the training "
        "statistics. shifted: the demonstration itself, late by the estimated lag."
    )
    errors: ChunkErrors = Field(description="Its errors.")


class CheckpointErrors(Section):
    """A checkpoint of the run, evaluated."""

    name: str = Field(description="Name that --checkpoint takes: best, last, epoch_1200, average.")
    file: str = Field(description="File in the run's folder.")
    sha256: Sha256 = Field(description="Its digest.")
    epoch: Count | None = Field(description="Epoch of its weights; null where that is not known.")
    errors: ChunkErrors = Field(description="Its errors, latent 0.")
    above_lowest: Interval = Field(
        description="mae_in_std minus that of the checkpoint with the lowest, paired by episode."
    )
    distinguishable: bool = Field(
        description="Whether that difference's interval excludes 0: it is worse than the lowest "
        "beyond what these episodes can confuse."
    )


class GripperEvents(Section):
    """Closings and openings of grippers, in replay against the demonstration."""

    demonstrated: Count = Field(description="Events in the demonstrations.")
    hit: Count = Field(description="Predicted within the tolerance.")
    missed: Count = Field(description="Not predicted.")
    early: Count = Field(description="Predicted before the tolerance.")
    extra: Count = Field(description="Predicted where none was demonstrated.")
    tolerance_steps: Count = Field(description="Time steps by which a hit may differ.")


class Replay(Section):
    """Open-loop replay: whole episodes executed as the robot would, on recorded observations."""

    mode: Literal["open_loop", "temporal_ensembling"] = Field(description="Way of execution.")
    horizon: Positive | None = Field(
        description="Actions of a chunk that are executed; null for temporal ensembling."
    )
    ensembling_weight: float | None = Field(description="For temporal ensembling; else null.")
    mae_in_std: Interval = Field(description="Error of the executed actions, over episodes.")
    dims: list[DimErrors] = Field(min_length=1, description="The dims, in order.")
    jump_in_std: Error | None = Field(
        description="Mean change of an action at a chunk's border, in standard deviations; null "
        "where there is none."
    )
    demonstrated_step_in_std: Error = Field(
        description="The same of the demonstrations, from any time step to the next."
    )
    jerk_ratio: Error = Field(
        description="Mean absolute third difference of the executed actions over that of the "
        "demonstrations; above 1 is rougher."
    )
    grippers: GripperEvents | None = Field(
        description="Gripper events; null where no dim is a gripper."
    )


class HeldOutEpisode(Section):
    """An episode that was evaluated."""

    number: Count = Field(description="Number in the run's episode files.")
    source: int | str = Field(description="The dataset's own episode_index, or the file's name.")
    length: Positive = Field(description="Time steps.")
    frames: Positive = Field(description="Time steps at which the policy was asked.")


class Recommendation(Section):
    """What `load_policy` and `serve` use unless told otherwise."""

    checkpoint: str = Field(description="Name of the checkpoint.")
    file: str = Field(description="Its file.")
    mode: Literal["open_loop", "temporal_ensembling"] = Field(description="Way of execution.")
    horizon: Positive = Field(description="Actions of a chunk that are executed.")
    ensembling_weight: float = Field(description="For temporal ensembling.")
    reason: str = Field(description="The numbers that it rests on, in a sentence.")


class Evaluation(BaseModel):
    """What a run's checkpoints predict on recorded episodes that were held out of its training,
    beside baselines: without a robot and without a simulator. `evaluation.npz` beside it has the
    arrays that the report's figures are drawn from."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="evaluation.json")

    schema_version: str = Field(
        pattern=r"^1\.\d+$",
        description="Version of this schema; the first number changes when a reader must change.",
    )
    created_at: Time = Field(description="Time of the evaluation, UTC, ISO 8601.")
    seconds: float = Field(ge=0, description="Wall-clock seconds that it took.")
    training_seconds: float | None = Field(
        description="Seconds that the training took; null where that is not known."
    )
    complete: bool = Field(
        description="Whether it came to its end; false: the time given was too short for all "
        "checkpoints and measures."
    )
    source: str = Field(description="Where the frames came from.")
    held_out: bool = Field(
        description="Whether the episodes are the run's validation episodes, which it was not "
        "trained on."
    )
    episodes: list[HeldOutEpisode] = Field(min_length=1, description="The episodes, in order.")
    stride: Positive = Field(description="The policy was asked at every so many time steps.")
    lag_steps: int | None = Field(
        description="Time steps by which the state follows the action, as `check` estimates it; "
        "null where it is not clear."
    )
    checkpoints: list[CheckpointErrors] = Field(
        min_length=1, description="The checkpoints, by error, the lowest first."
    )
    baselines: list[BaselineErrors] = Field(description="The baselines.")
    replay: list[Replay] = Field(
        description="Ways of execution of the recommended checkpoint, by error."
    )
    look: Look | None = Field(
        description="Whether the policy uses its images and its state; null where the time was "
        "too short."
    )
    distance: Distance | None = Field(
        description="How far the held-out observations lie from the training ones; null likewise."
    )
    recommendation: Recommendation = Field(description="Checkpoint and way of execution.")
    verdict: Verdict = Field(description="Does it work? By the rules of docs/evaluate.md.")
    versions: Versions = Field(description="The software that evaluated.")
    commit: str | None = Field(
        description="Git commit of this project; null where it is not known."
    )

    @property
    def best(self) -> CheckpointErrors:
        """The errors of the checkpoint that `recommendation` names."""
        name = self.recommendation.checkpoint
        found = (one for one in self.checkpoints if one.name == name)
        return next(found, self.checkpoints[0])


def evaluation_schema() -> dict[str, Any]:
    """evaluation.schema.json."""
    return untitled_schema(Evaluation, f"evaluation:{EVALUATION_VERSION}")
