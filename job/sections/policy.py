"""The section of the manifest that a robot needs: what the policy takes, returns and expects."""

from typing import Literal

from pydantic import Field

from job.sections.section import Positive, Section, Sha256

NAMES = "Names of the dimensions, in order; null where the input does not give them."


class QposInput(Section):
    """Joint positions, the first argument of the policy."""

    dims: Positive = Field(description="Number of dimensions.")
    names: list[str] | None = Field(description=NAMES)
    normalisation: str = Field(description="To be applied by the caller, with policy.stats.")


class ImageInput(Section):
    """Camera frames, the second argument of the policy."""

    camera_names: list[str] = Field(
        description="Cameras in the order in which the policy takes them; the order matters."
    )
    height: Positive = Field(description="Height in pixels.")
    width: Positive = Field(description="Width in pixels.")
    channels: str = Field(description="Order of the colour channels.")
    layout: str = Field(
        description="Axes of the image tensor that upstream's ACTPolicy takes when it loads the "
        "checkpoint. This repository's own policy takes own_layout."
    )
    own_layout: str = Field(
        default="batch, camera, height, width, channel",
        description="Axes of the image tensor that this repository's own policy takes: the frames "
        "as they are stored, channels last, uint8 or float in 0 to 1. For upstream's policy see "
        "layout.",
    )
    scaling: str = Field(
        description="To be applied by the caller of upstream's policy; this repository's own "
        "policy scales uint8 frames itself."
    )
    normalisation: str = Field(description="Applied inside the policy, upstream's as well.")
    mean: list[float] = Field(description="Mean per channel of that normalisation.")
    std: list[float] = Field(description="Standard deviation per channel of that normalisation.")


class EnvStateInput(Section):
    """The environment state, the last argument of the policy."""

    dims: Positive = Field(description="Number of dimensions.")
    names: list[str] | None = Field(description=NAMES)
    normalisation: str = Field(description="To be applied by the caller, with policy.stats.")


class Inputs(Section):
    """What the policy takes."""

    order: list[str] = Field(
        description="Names of the arguments that the policy takes, in order: qpos, image and "
        "env_state, as far as they are not null below. Without image, env_state is given by name."
    )
    qpos: QposInput = Field(description="Joint positions.")
    image: ImageInput | None = Field(
        description="Camera frames; null where the policy sees none (--camera_keys none)."
    )
    env_state: EnvStateInput | None = Field(
        default=None,
        description="Environment state; null where the policy sees none. Upstream's policy has no "
        "such argument.",
    )


class Output(Section):
    """The chunk of actions that the policy returns."""

    chunk_size: Positive = Field(description="Actions predicted at once.")
    dims: Positive = Field(description="Number of action dimensions.")
    names: list[str] | None = Field(description=NAMES)
    denormalisation: str = Field(description="To be applied by the caller, with policy.stats.")
    first_action_offset: Literal[0, -1] | None = Field(
        description="Recorded time step of the chunk's first action, relative to the observation: "
        "0, or -1 with sim false; null where episode files of both kinds were trained on."
    )


class Stats(Section):
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


class Network(Section):
    """The sizes of the network and the weights that it started from."""

    hidden_dim: Positive | None = Field(description="Transformer width; null for CNNMLP.")
    dim_feedforward: Positive | None = Field(
        description="Width of the feed-forward layers; null for CNNMLP."
    )
    backbone: str | None = Field(
        description="Image backbone, by torchvision's name; null without cameras."
    )
    backbone_weights: str | None = Field(
        description="--backbone_weights: what the backbone started from; null without cameras."
    )
    backbone_sha256: Sha256 | None = Field(
        description="Digest of the backbone's weights file; null without one."
    )
    batch_norm: Literal["weights", "frames"] | None = Field(
        description="Where the frozen statistics of the backbone's batch norm come from: from its "
        "weights, or from frames of this dataset if it had none; null without cameras."
    )


class Policy(Section):
    """What a robot needs to use the checkpoint."""

    policy_class: str = Field(description="Policy, by the name that --policy_class takes.")
    fps: float | None = Field(
        description="Rate in Hz at which actions were recorded and are to be executed; null where "
        "the input does not give it."
    )
    inputs: Inputs = Field(description="Arguments of the policy.")
    output: Output = Field(description="What the policy returns.")
    stats: Stats = Field(
        description="What qpos and actions are normalised with; also in dataset_stats.pkl and "
        "dataset_stats.json."
    )
    network: Network = Field(description="What upstream's constructor needs.")
