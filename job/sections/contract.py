"""policy.json, the contract with the robot, from which policy.schema.json and docs/policy.md are
generated.

The first number of the version changes when a reader must change: it stays while fields are only
added. What is read here is 1.x too: 2.0 allows null, and a mode, where 1.x did not.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from job.sections.section import Count, Positive, Section, Sha256, Time, untitled_schema
from job.sections.whole import Versions

CONTRACT_VERSION = "2.1"

Digests = Annotated[list[Sha256], Field(min_length=1)]
Hertz = Annotated[float, Field(gt=0)]


class _Part(Section):
    """A part of the contract, whose numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Dim(_Part):
    """A dim of the state or of an action."""

    name: str | None = Field(description="Name; null where the input does not give it.")
    padding: bool = Field(
        description="Whether it was appended to fill --state_dim: it is 0 in every state, and its "
        "value in an action is to be ignored."
    )
    minimum: float | None = Field(
        description="Smallest value in the episodes, in the dataset's unit; null where they are "
        "not known."
    )
    maximum: float | None = Field(
        description="Largest value in the episodes, in the dataset's unit; null where they are "
        "not known."
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"the minimum {self.minimum:g} is above the maximum {self.maximum:g}")
        return self


class Vector(_Part):
    """The dims of a vector of the policy, in the dataset's units."""

    features: list[str] | None = Field(
        description="Features of the dataset that it was made of, in order; null for episode files."
    )
    dims: list[Dim] = Field(min_length=1, description="The dims, in order.")
    cut: list[str] = Field(
        description="Names of the dims that follow in the dataset and were cut off."
    )


class State(Vector):
    """The state that the policy observes, qpos, in the dataset's units."""


class EnvState(Vector):
    """The environment state that the policy observes, in the dataset's units."""


class Action(Vector):
    """The actions that the policy predicts, in the dataset's units."""

    chunk_size: Positive = Field(description="Actions predicted at once.")
    first_offset: Literal[0, -1] | None = Field(
        description="Time step of the first action of a chunk, relative to the observation: 0, or "
        "-1 with sim false, where it is the action that led to the observation; null where the "
        "episodes are of both kinds, or not known."
    )


Rotation = Literal[0, 90, 180, 270]  # degrees


class Camera(_Part):
    """A camera of the policy."""

    name: str = Field(description="Name in the policy.")
    key: str | None = Field(description="LeRobot key; null for episode files.")
    height: Positive = Field(description="Height in pixels of the frames that the policy takes.")
    width: Positive = Field(description="Width in pixels of the frames that the policy takes.")
    recorded_height: Positive | None = Field(
        description="Height in pixels of the recorded frames, after mirroring and rotating and "
        "before they were reduced by area; null for episode files."
    )
    recorded_width: Positive | None = Field(
        description="Width in pixels of the same frames; null for episode files."
    )
    orientation: str = Field(
        description="Orientation of the frames in training: as stored in the video, or, with "
        "--apply_rotation, mirrored and rotated as players show them. The robot's frames must have "
        "the same."
    )
    mirrored: bool = Field(
        description="Whether the recorded frames were mirrored, left to right, before rotating."
    )
    rotated: Rotation = Field(
        description="Degrees by which the recorded frames were rotated, counterclockwise."
    )
    storage: Literal["raw", "jpeg"] | None = Field(
        description="How the frames that it was trained on were stored; null where that is not "
        "known."
    )
    jpeg_quality: Positive | None = Field(
        description="1 to 100; null for raw frames, and where the input does not give it."
    )


class Images(_Part):
    """How images are given to the policy."""

    channels: Literal["RGB"] = Field(description="Order of the colour channels.")
    layout: Literal["batch, camera, height, width, channel"] = Field(
        description="Axes of the image tensor that this project's own policy takes."
    )
    values: Literal["uint8, or float in 0 to 1"] = Field(
        description="What the image tensor of this project's own policy holds."
    )
    upstream_layout: Literal["batch, camera, channel, height, width"] = Field(
        description="Axes of the image tensor that upstream's ACTPolicy takes."
    )
    upstream_scaling: Literal["value / 255"] = Field(
        description="How the caller scales uint8 values for upstream's ACTPolicy."
    )
    mean: list[float] = Field(
        min_length=3, max_length=3, description="Mean per channel, subtracted inside either policy."
    )
    std: list[float] = Field(
        min_length=3,
        max_length=3,
        description="Standard deviation per channel, divided by there too.",
    )


class Architecture(_Part):
    """The sizes that the network is built from; null where it has no such size."""

    qpos_dim: Positive = Field(description="State dims, padding included.")
    env_state_dim: Positive | None = Field(description="Dims of the environment state.")
    action_dim: Positive = Field(description="Action dims, padding included.")
    num_cameras: Count = Field(description="Cameras.")
    chunk_size: Positive = Field(description="Actions predicted at once.")
    hidden_dim: Positive | None = Field(description="Width of the transformer.")
    dim_feedforward: Positive | None = Field(description="Width of its feed-forward layers.")
    num_heads: Positive | None = Field(description="Attention heads.")
    enc_layers: Positive | None = Field(description="Layers of either encoder.")
    dec_layers: Positive | None = Field(description="Layers of the decoder in the checkpoint.")
    decoder_output: Literal["first", "last"] | None = Field(
        description="Decoder layer that feeds the heads; upstream's network knows only first."
    )
    latent_dim: Count = Field(
        description="Values of the latent, which are 0 when actions are predicted; 0: it has none."
    )
    backbone: Literal["resnet18"] | None = Field(
        description="Image backbone, by torchvision's name; this and the next null without cameras."
    )
    backbone_weights: str | None = Field(
        description="--backbone_weights: what the backbone started from."
    )
    backbone_sha256: Sha256 | None = Field(
        description="Digest of the backbone's weights file; null without one."
    )
    batch_norm: Literal["weights", "frames"] | None = Field(
        description="Where the frozen statistics of its batch norm, which are in the checkpoint, "
        "come from; null without cameras, and where that is not known."
    )


class Execution(_Part):
    """How the actions are meant to be executed, unless a try on the robot shows better."""

    mode: Literal["open_loop", "temporal_ensembling"] = Field(
        description="open_loop, upstream's default: a chunk is executed from its first action on, "
        "then the next one is predicted. temporal_ensembling: for policies that were imported "
        "with it."
    )
    horizon: Positive = Field(description="Actions of a chunk that are executed.")
    ensembling_weight: float = Field(
        description="For temporal ensembling, upstream's other mode: the predictions for a time "
        "step count exp(-weight * i), the oldest with i = 0."
    )
    executed_first: Literal["first action of the chunk"] = Field(
        description="Action that is executed at the time of the observation. This is upstream's "
        "rule, also where action.first_offset is -1 and the first action was recorded one step "
        "before the observation; there the second one was recorded with it."
    )


class Advice(_Part):
    """What an evaluation has recommended, and the numbers behind it; it set file and execution."""

    created_at: Time = Field(description="Time of the evaluation, UTC, ISO 8601.")
    answer: Literal["yes", "no", "unknown"] = Field(description="Its verdict.")
    reason: str = Field(description="The numbers that the choice rests on, in a sentence.")
    mae_in_std: float = Field(
        ge=0,
        description="Mean absolute error of whole chunks on held-out episodes, in standard "
        "deviations of the actions.",
    )
    baseline_in_std: float = Field(
        ge=0, description="That of the best baseline, which sees no image."
    )


class Stats(_Part):
    """What qpos and actions are normalised with; also in dataset_stats.pkl and .json."""

    action_mean: list[float] = Field(description="Mean per action dimension.")
    action_std: list[float] = Field(
        description="Standard deviation per action dimension, at least 0.01."
    )
    qpos_mean: list[float] = Field(description="Mean per qpos dimension.")
    qpos_std: list[float] = Field(
        description="Standard deviation per qpos dimension, at least 0.01."
    )
    env_state_mean: list[float] | None = Field(
        default=None,
        description="Mean per dimension of the environment state; null where there is none.",
    )
    env_state_std: list[float] | None = Field(
        default=None,
        description="Standard deviation per dimension of the environment state, at least 0.01; "
        "null where there is none.",
    )


class Recording(_Part):
    """What the policy was trained on."""

    format: Literal["lerobot", "aloha_hdf5"] = Field(
        description="lerobot, or aloha_hdf5: episode files used as they were."
    )
    version: str | None = Field(description="LeRobot's codebase_version; null for aloha_hdf5.")
    paths: list[str] = Field(description="Folders of the datasets as the job saw them.")
    robot_type: str | None = Field(description="Robot type, as the dataset gives it.")
    tasks: list[str] = Field(description="Task texts of the dataset, each once.")
    fingerprint: Sha256 | None = Field(
        description="Digest of the episodes used, as in the manifest; null where they were not at "
        "hand."
    )


class Contract(BaseModel):
    """The contract between a run's checkpoints and the robot: all that is needed to load one, to
    feed it and to execute what it predicts. Written before the first checkpoint, and replaced when
    one is added; no other run touches it. For checkpoints that upstream wrote, `contract` makes one
    with null for all that upstream does not say."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, title="policy.json"
    )

    schema_version: str = Field(
        pattern=r"^[12]\.\d+$",
        description="Version of this schema; the first number changes when a reader must change.",
    )
    run_name: str | None = Field(description="--run_name; null for upstream's command line.")
    task_name: str | None = Field(description="--task_name.")
    policy_class: str = Field(description="Policy, by the name that --policy_class takes.")
    file: str = Field(
        description="The checkpoint to use, beside this file: the one that an evaluation has "
        "recommended, else the weights with the lowest validation loss. Which one is best on the "
        "robot, only the robot shows."
    )
    fps: Hertz | None = Field(
        description="Rate in Hz at which actions were recorded and are to be executed; null where "
        "the input does not give it."
    )
    state: State = Field(description="The state that the policy observes.")
    env_state: EnvState | None = Field(
        description="The environment state that it observes; null where it observes none."
    )
    action: Action = Field(description="The actions that it predicts.")
    cameras: list[Camera] = Field(description="The cameras, in the order in which it takes them.")
    images: Images | None = Field(
        description="How images are given to it; null where it has no camera."
    )
    statistics: Stats = Field(
        description="State in: (state - qpos_mean) / qpos_std. Action out: a_hat * action_std + "
        "action_mean. Padding included."
    )
    network: Architecture = Field(description="What the network is built from.")
    execution: Execution = Field(description="How its actions are meant to be executed.")
    evaluation: Advice | None = Field(
        default=None,
        description="What an evaluation has recommended; null without one, and then file and "
        "execution are as upstream has them.",
    )
    dataset: Recording | None = Field(
        description="What it was trained on; null where upstream trained it."
    )
    versions: Versions | None = Field(
        description="Versions of this project, Python and the runtime packages; null where "
        "upstream trained it."
    )
    commit: str | None = Field(
        description="Git commit of this project; null where it is not known."
    )
    checkpoints: dict[str, Digests] = Field(
        description="SHA-256 of each file of weights that the run wrote under a name, oldest "
        "first. One is added before the file gets the name, so that after a kill the file is one "
        "of these: any digest that is listed is valid."
    )

    @field_validator("file")
    @classmethod
    def _lies_beside(cls, file: str) -> str:
        if not file.isprintable() or file in ("", ".", "..") or "/" in file or "\\" in file:
            raise ValueError(f"{file!r} is no name of a file beside this one")
        return file

    @model_validator(mode="after")
    def _widths_agree(self) -> Self:
        stats, network = self.statistics, self.network
        env_stats = (stats.env_state_mean, stats.env_state_std)
        for what, vector, width, lists in (
            ("state", self.state, network.qpos_dim, (stats.qpos_mean, stats.qpos_std)),
            ("action", self.action, network.action_dim, (stats.action_mean, stats.action_std)),
            ("env_state", self.env_state, network.env_state_dim, env_stats),
        ):
            dims = len(vector.dims) if vector else None
            others = {width, *(None if one is None else len(one) for one in lists)} - {dims}
            if others:
                raise ValueError(f"the {what} has {dims} dims, and elsewhere {others}")
        names = [camera.name for camera in self.cameras]
        if len({*names}) < len(names):
            raise ValueError(f"the cameras are {names}, expected names that differ")
        if len(self.cameras) != network.num_cameras:
            raise ValueError(f"{len(self.cameras)} cameras, and elsewhere {network.num_cameras}")
        if self.action.chunk_size != network.chunk_size:
            raise ValueError("two chunk sizes")
        return self


def contract_schema() -> dict[str, Any]:
    """policy.schema.json."""
    return untitled_schema(Contract, f"policy:{CONTRACT_VERSION}")
