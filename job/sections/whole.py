"""The whole manifest, from which manifest.schema.json and docs/manifest.md are generated.

The first number of the version changes when a reader must change: it stays while fields are only
added. What an older job of the same first number wrote is valid, fields added since are null.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from job.sections.data import Conversion, Dataset
from job.sections.estimates import Estimates
from job.sections.fetched import FetchedInput
from job.sections.policy import Policy
from job.sections.section import Count, Section, Sha256, Time, untitled_schema
from job.sections.training import Ancestor, Device, Split, Training

SCHEMA_VERSION = "2.0"
Status = Literal["running", "completed", "failed", "interrupted"]
ExitCode = Literal[0, 1, 2, 3, 4, 5, 6, 75]

_NOT_NULL: JsonDict = {"not": {"type": "null"}}
_TRAINED: JsonDict = {"properties": {"device": _NOT_NULL, "split": _NOT_NULL, "policy": _NOT_NULL}}
# What a completed run has: JSON Schema states it, as it cannot be a property of one field.
_RULES: JsonDict = {
    "if": {"properties": {"status": {"const": "completed"}}},
    "then": {
        "properties": {
            "exit_code": {"const": 0},
            "ended_at": _NOT_NULL,
            "dataset": _NOT_NULL,
            "artifacts": {"minItems": 1},
        },
        "if": {"properties": {"training": _NOT_NULL}},
        "then": _TRAINED,
        "else": {"properties": {"conversion": _NOT_NULL}},
    },
}


class Versions(Section):
    """The software that the job ran with; null where a package is not installed."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | None]

    project: str = Field(description="Version of lerobot-to-act.")
    python: str = Field(description="Version of Python.")
    torch: str | None = Field(description="Version of torch; null where it is not installed.")


class Artifact(Section):
    """A file that the run left; it is complete."""

    path: str = Field(description="Path relative to the folder of this manifest.")
    size_bytes: Count = Field(description="Size in bytes.")
    sha256: Sha256 = Field(description="Digest of its content.")


class Header(BaseModel):
    """What identifies a manifest, also one that a newer version of this project wrote."""

    schema_version: str = Field(pattern=r"^\d+\.\d+$")
    status: Status


class Whole(BaseModel):
    """The record of one run: what was asked for, what it was made from, and what came out. How to
    use the policy is in policy.json. Written first when the job starts and last when it ends.
    Sections are null until they are known. Each run has its own in checkpoints/<run_name>/; the
    one at the top of the output is that of the job which started last there."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        validate_assignment=True,
        title="manifest.json",
        json_schema_extra=_RULES,
    )

    schema_version: str = Field(
        pattern=r"^2\.\d+$",
        description="Version of this schema; the first number changes when a reader must change.",
    )
    status: Status = Field(
        description="running, completed, failed (see reason), or interrupted (the same command is "
        "worth running again)."
    )
    exit_code: ExitCode | None = Field(
        description="Exit code of the process: 0 done, 1 a bug of this project, 2 wrong command, "
        "3 bad dataset, 4 output, disk or memory, 5 training diverged, 6 the verdict is no and "
        "--fail_on no was given, 75 interrupted. Null while running."
    )
    code: str | None = Field(
        default=None,
        description="Stable name of the error that ended the job, for programs: it stays when the "
        "wording of reason changes. Null while running and when completed.",
    )
    reason: str | None = Field(
        description="Why the job ended, as it was printed: one line. Null while running."
    )
    run_name: str | None = Field(
        description="--run_name: the folder under checkpoints/. Null when the command line was not "
        "understood, and for convert."
    )
    task_name: str | None = Field(
        description="--task_name. Null when the command line was not understood, and for convert "
        "without one."
    )
    attempt: str | None = Field(
        default=None,
        description="Random name of this start of the job, shared by all of its processes; another "
        "with each start.",
    )
    started_at: Time = Field(description="Start of the job, UTC, ISO 8601.")
    ended_at: Time | None = Field(description="End of the job, UTC, ISO 8601. Null while running.")
    flags: dict[str, Any] = Field(
        description="Every flag with the value that was used, given or default. Empty when the "
        "command line was not understood."
    )
    flag_origins: dict[str, str] = Field(
        default_factory=dict,
        description="Where each flag stood that was given: on the command line, in which "
        "environment variable, or in which file; what a --recipe set is not among them.",
    )
    versions: Versions = Field(
        description="Versions of this project, Python and the runtime packages; null where a "
        "package is absent."
    )
    commit: str | None = Field(
        default=None,
        description="Git commit of this project that the job ran; null where it is not known.",
    )
    departures: list[str] = Field(
        description="Where this run departs from what upstream ACT does, a sentence each."
    )
    warnings: list[str] = Field(
        description="The warnings that the user was shown, at most the first 1,000."
    )
    device: Device | None = Field(description="What the policy was trained on.")
    fetched: list[FetchedInput] = Field(
        default_factory=list, description="The inputs that were fetched from addresses."
    )
    dataset: Dataset | None = Field(description="The input.")
    conversion: Conversion | None = Field(
        description="How the LeRobot dataset became episode files; null when nothing was converted."
    )
    estimates: Estimates | None = Field(
        default=None,
        description="What the data say about the training to come, as the check reports it too; "
        "null where nothing is trained.",
    )
    split: Split | None = Field(
        description="Which episodes were trained on and validated on, by number: upstream's split, "
        "which does not depend on --seed, or --val_episodes."
    )
    ancestor: Ancestor | None = Field(
        default=None, description="The weights that it started from; null without --init_weights."
    )
    training: Training | None = Field(description="How the training went, as of the last write.")
    policy: Policy | None = Field(description="Where the contract with the robot is.")
    artifacts: list[Artifact] = Field(description="Files that the run left, each complete.")


def json_schema() -> dict[str, Any]:
    """manifest.schema.json."""
    return untitled_schema(Whole, f"manifest:{SCHEMA_VERSION}")
