"""compare.json: several runs side by side, and what can be called different."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from job.sections.evaluation import Interval
from job.sections.section import Count, Positive, Section, Time, untitled_schema
from job.sections.simulation import Rate, Share

COMPARISON_VERSION = "1.0"


class ComparedRate(Section):
    """A rate of success in a simulator."""

    env: str = Field(description="The environment.")
    checkpoint: str = Field(description="Name of the checkpoint.")
    mode: str = Field(description="Way of execution.")
    success: Rate = Field(description="Episodes that succeeded.")


class ComparedRun(Section):
    """A run."""

    name: str = Field(description="Its name: of its folder, with a number where two have the same.")
    folder: str = Field(description="Its folder.")
    epochs: Count = Field(description="Epochs in metrics.jsonl.")
    samples: Count = Field(description="Training samples.")
    training_seconds: float = Field(ge=0, description="Seconds of training, without validation.")
    best_epoch: Count | None = Field(description="Epoch with the lowest validation loss.")
    best_val_loss: float | None = Field(description="That loss.")
    mae_in_std: Interval | None = Field(
        description="Error of the recommended checkpoint, as evaluation.json has it; null without "
        "one."
    )
    verdict: Literal["yes", "no", "unknown"] | None = Field(
        description="As evaluation.json has it; null without one."
    )
    rates: list[ComparedRate] = Field(description="Of simulation_*.json, the first of each.")


class Difference(Section):
    """Two runs in one measure, on the same episodes or the same initial states."""

    first: Count = Field(description="Number of the one in `runs`.")
    second: Count = Field(description="Number of the other.")
    measure: str = Field(description="mae_in_std, or the environment of a rate.")
    count: Positive = Field(description="Episodes or initial states.")
    difference: Interval | None = Field(
        description="mae_in_std of the first minus that of the second, paired by episode; null "
        "for rates."
    )
    only_first: Count | None = Field(
        description="Initial states on which the first alone succeeded; null for errors."
    )
    only_second: Count | None = Field(description="Likewise the second.")
    p_value: Share | None = Field(description="McNemar's exact test, two-sided; null for errors.")
    distinguishable: bool = Field(
        description="Whether they can be called different: the interval excludes 0, or the "
        "p-value is below 0.05."
    )
    text: str = Field(description="The same in a sentence.")


class Comparison(BaseModel):
    """Several runs side by side: the flags in which they differ, errors and rates with their
    intervals, and what can be called different. compare.html beside it shows the same."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="compare.json")

    schema_version: str = Field(
        pattern=r"^1\.\d+$",
        description="Version of this schema; the first number changes when a reader must change.",
    )
    created_at: Time = Field(description="Time of the comparison, UTC, ISO 8601.")
    runs: list[ComparedRun] = Field(min_length=2, description="The runs, in the order given.")
    flags: dict[str, list[Any]] = Field(
        description="The flags that differ: the value in each run, null where it has none."
    )
    same_dataset: bool = Field(description="Whether all were trained on the same episodes.")
    differences: list[Difference] = Field(description="The pairs that can be compared.")


def comparison_schema() -> dict[str, Any]:
    """compare.schema.json."""
    return untitled_schema(Comparison, f"compare:{COMPARISON_VERSION}")
