"""status.json: what a job is doing, for a dashboard or a health probe."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from job.sections.section import Count, Positive, Section, Time, untitled_schema
from job.sections.whole import ExitCode, Status

STATUS_VERSION = "1.1"
Phase = Literal["check", "convert", "train", "evaluate", "report"]
Seconds = Annotated[float, Field(ge=0)]


class TrainingStatus(Section):
    """How far the training is. Losses are those of the last epoch that is complete."""

    epoch: Count = Field(description="Epochs completed.")
    epochs: Positive = Field(description="Epochs requested.")
    step: Count = Field(description="Optimizer steps so far.")
    steps: Positive = Field(description="Optimizer steps of all epochs.")
    samples: Count = Field(description="Training samples so far.")
    stepped_at: Time | None = Field(
        description="Time of the last optimizer step of this job; null before its first."
    )
    train: dict[str, float] | None = Field(
        description="Mean training losses by name; null before the end of the first epoch."
    )
    val: dict[str, float] | None = Field(description="Mean validation losses; null likewise.")
    best_epoch: Count | None = Field(description="Epoch with the lowest validation loss.")
    best_val_loss: float | None = Field(description="That loss.")
    lr: float | None = Field(description="Learning rate; null likewise.")
    samples_per_second: Seconds | None = Field(
        description="Training samples per second of the last epochs' training; null likewise."
    )
    seconds_left: Seconds | None = Field(
        description="Time to the last epoch at this job's pace so far, validation included; null "
        "before its first step. --early_stopping and --max_hours may end it sooner."
    )
    state_at: Time | None = Field(
        description="Time of the last state that this job wrote, which a run resumes from; null "
        "before the first."
    )


class MirrorStatus(Section):
    """How an output at an address is written to. The job continues while it cannot be."""

    sent_at: Time | None = Field(
        description="When all was there last; null before the first time of this job."
    )
    behind_s: Seconds | None = Field(
        description="For how long what has changed could not be sent; null where it could."
    )
    error: str | None = Field(
        description="Why it could not be, as it was last tried; null likewise."
    )


class JobStatus(BaseModel):
    """What a job is doing, replaced whole every few seconds while it runs: a health probe or a
    dashboard needs no log. It is beside the run's manifest, which has what lasts. A process that
    was killed leaves it as it was: `running`, with an `updated_at` that is long past."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="status.json")

    schema_version: str = Field(
        pattern=r"^1\.\d+$",
        description="Version of this schema; the first number changes when a reader must change.",
    )
    status: Status = Field(description="As in the manifest.")
    exit_code: ExitCode | None = Field(description="As in the manifest; null while running.")
    code: str | None = Field(description="As in the manifest.")
    reason: str | None = Field(description="As in the manifest; null while running.")
    phase: Phase = Field(description="What the job is doing, or did last.")
    run_name: str | None = Field(description="--run_name; null for upstream's command line.")
    attempt: str | None = Field(description="Random name of this start of the job.")
    started_at: Time = Field(description="Start of the job, UTC, ISO 8601.")
    updated_at: Time = Field(description="Time of this file, UTC, ISO 8601.")
    interval_s: Seconds = Field(
        description="Seconds to the next update: longer where writing takes long, so that it "
        "takes a thousandth of the time, and 60 at most. Where several times as many have passed, "
        "the process is gone or its output does not answer."
    )
    training: TrainingStatus | None = Field(description="Null before the training begins.")
    mirror: MirrorStatus | None = Field(
        default=None, description="Null where --output is a folder, and before the first try."
    )


def status_schema() -> dict[str, Any]:
    """status.schema.json."""
    return untitled_schema(JobStatus, f"status:{STATUS_VERSION}")
