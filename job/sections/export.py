"""manifest.json of an export, from which export.schema.json and docs/export_manifest.md are made.

The first number of the version changes when a reader must change: it stays while fields are only
added.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from job.sections.section import Count, Positive, Section, Sha256, Time, untitled_schema
from job.sections.whole import Artifact, Versions

EXPORT_VERSION = "1.0"
NumberFormat = Literal["fp32", "fp16", "int8"]


class Origin(Section):
    """The checkpoint that was exported."""

    folder: str = Field(description="Folder of the run, as the command saw it.")
    file: str = Field(description="The checkpoint in that folder.")
    sha256: Sha256 = Field(description="Digest of the checkpoint.")
    contract_sha256: Sha256 = Field(description="Digest of the policy.json beside it.")


class Tensor(Section):
    """An input or output of the exported policy."""

    name: str = Field(description="Name.")
    dtype: Literal["uint8", "float32"] = Field(description="Type of its values.")
    shape: list[Positive | str] = Field(description="Axes; batch where any number is taken.")
    dims: list[str | None] | None = Field(
        description="Names of the dims on the last axis, null each where the dataset does not "
        "give it; null for images."
    )
    meaning: str = Field(description="What it holds, with its unit.")


class ImageSupply(Section):
    """The images that whoever runs the exported policy must supply."""

    height: Positive = Field(description="Height in pixels.")
    width: Positive = Field(description="Width in pixels.")
    rule: str = Field(description="How larger camera frames are brought to that size.")
    turned: dict[str, str] = Field(
        description="By camera: how its frames must be turned first, where training did so."
    )


class DimError(Section):
    """The error of one dim of the actions, in the dataset's unit."""

    name: str | None = Field(description="Name; null where the dataset does not give it.")
    largest: float = Field(ge=0, description="Largest absolute error.")
    mean: float = Field(ge=0, description="Mean absolute error.")
    std: float = Field(gt=0, description="Standard deviation of the dim in the dataset.")


class Parity(Section):
    """How far the exported policy's actions are from those of the checkpoint."""

    number_format: NumberFormat = Field(description="Numbers that the exported policy computes in.")
    ran_in: str = Field(description="What computed the exported policy's actions.")
    compared_with: str = Field(description="What computed the checkpoint's.")
    observations: Positive = Field(description="Number of observations.")
    source: str = Field(description="Where the observations come from.")
    seed: Count | None = Field(description="Of random observations; null for those of a dataset.")
    largest: float = Field(ge=0, description="Largest absolute error of all dims.")
    mean: float = Field(ge=0, description="Mean absolute error over all dims.")
    largest_in_std: float = Field(
        ge=0, description="Largest error in standard deviations of its dim."
    )
    bound_in_std: float = Field(gt=0, description="Above this the export would have been refused.")
    dims: list[DimError] = Field(min_length=1, description="The dims, in order.")


class Export(BaseModel):
    """The record of one export: of which checkpoint it is, what it takes and returns, and how far
    its actions are from the checkpoint's. Written when all files of the export are whole."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, title="manifest.json of an export"
    )

    schema_version: str = Field(
        pattern=r"^1\.\d+$",
        description="Version of this schema; the first number changes when a reader must change.",
    )
    format: Literal["lerobot", "onnx", "torch_export"] = Field(description="--format.")
    created_at: Time = Field(description="Time of the export, UTC, ISO 8601.")
    flags: dict[str, Any] = Field(description="Every flag with the value that was used.")
    origin: Origin = Field(description="Which checkpoint it is made of.")
    number_format: NumberFormat = Field(description="Numbers that it computes in.")
    opset: Positive | None = Field(description="ONNX opset; null for other formats.")
    inputs: list[Tensor] = Field(min_length=1, description="What it takes.")
    outputs: list[Tensor] = Field(min_length=1, description="What it returns.")
    images: ImageSupply | None = Field(
        description="The images that it must be given; null where it sees none."
    )
    fps: float | None = Field(
        description="Rate in Hz at which the actions are to be executed; null where it is unknown."
    )
    first_offset: Literal[0, -1] | None = Field(
        description="As action.first_offset in policy.json: the time step of a chunk's first "
        "action, relative to the observation."
    )
    notes: list[str] = Field(description="What whoever runs it must know besides, a sentence each.")
    parity: list[Parity] = Field(
        min_length=1,
        description="Errors against the checkpoint: the fp32 export first, then the one that is "
        "here, where its numbers are others.",
    )
    versions: Versions = Field(description="The software that wrote it.")
    commit: str | None = Field(
        description="Git commit of this project; null where it is not known."
    )
    artifacts: list[Artifact] = Field(min_length=1, description="Its files, each complete.")


def export_schema() -> dict[str, Any]:
    """export.schema.json."""
    return untitled_schema(Export, f"export:{EXPORT_VERSION}")
