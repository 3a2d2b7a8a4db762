"""report.json: all that is known of a run, the same numbers that report.html shows."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from job.sections.evaluation import Evaluation
from job.sections.section import Count, Positive, Section, Time, untitled_schema
from job.sections.simulation import Simulation
from job.sections.training import Device, Training
from job.sections.verdict import Verdict
from job.sections.whole import Versions

REPORT_VERSION = "1.0"


class CurveFinding(Section):
    """What the curves show, with its numbers and the next step."""

    code: str = Field(description="Its code; docs/report.md has a sentence for each.")
    text: str = Field(description="What was found, with its numbers, in a sentence.")
    numbers: dict[str, float] = Field(description="The numbers, by name.")
    next_step: str = Field(description="What to do.")


class DimRange(Section):
    """A dim of the dataset."""

    name: str | None = Field(description="Name; null where the dataset does not give it.")
    minimum: float | None = Field(description="Smallest value, in the dataset's unit.")
    maximum: float | None = Field(description="Largest value, in the dataset's unit.")
    mean: float = Field(description="Mean.")
    std: float = Field(description="Standard deviation, at least 0.01.")


class DatasetFacts(Section):
    """What the run was trained on."""

    paths: list[str] = Field(description="Folders of the datasets as the job saw them.")
    tasks: list[str] = Field(description="Task texts, each once.")
    episodes: Positive = Field(description="Episodes used.")
    frames: Positive = Field(description="Time steps of all of them.")
    lengths: list[Positive] = Field(description="Time steps of each, in order.")
    training_episodes: Count = Field(description="Episodes that were trained on.")
    fps: float | None = Field(description="Time steps per second; null where it is not known.")
    state: list[DimRange] = Field(description="The dims of the state.")
    action: list[DimRange] = Field(description="The dims of the actions.")
    cameras: list[str] = Field(description="The cameras, in the policy's order.")
    warnings: list[str] = Field(description="What the job warned of.")


class Reproducibility(Section):
    """How to get the same run again."""

    command: list[str] = Field(description="The command that trained, word by word.")
    fingerprint: str | None = Field(description="Digest of the episodes used.")
    checkpoints: dict[str, str] = Field(description="SHA-256 of each checkpoint, by file.")
    versions: Versions | None = Field(description="The software that trained.")
    commit: str | None = Field(description="Git commit of this project that trained.")
    device: Device | None = Field(description="What it was trained on.")


class Report(BaseModel):
    """A run at a glance: what it was trained on, how it went, and whether it works."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="report.json")

    schema_version: str = Field(
        pattern=r"^1\.\d+$",
        description="Version of this schema; the first number changes when a reader must change.",
    )
    created_at: Time = Field(description="Time of the report, UTC, ISO 8601.")
    run_name: str | None = Field(description="--run_name; null for upstream's command line.")
    task_name: str | None = Field(description="--task_name.")
    policy_class: str = Field(description="Policy, by the name that --policy_class takes.")
    status: Literal["training", "finished"] = Field(description="Whether the run has ended.")
    verdict: Verdict | None = Field(description="As evaluation.json has it; null without one.")
    dataset: DatasetFacts | None = Field(description="The dataset; null where it is not known.")
    training: Training | None = Field(description="As the manifest has it; null without one.")
    curves: list[CurveFinding] = Field(description="What the curves show; empty: nothing amiss.")
    evaluation: Evaluation | None = Field(description="evaluation.json; null without one.")
    simulation: list[Simulation] = Field(description="simulation_*.json, each.")
    reproducibility: Reproducibility = Field(description="Command, versions and digests.")


def report_schema() -> dict[str, Any]:
    """report.schema.json."""
    return untitled_schema(Report, f"report:{REPORT_VERSION}")
