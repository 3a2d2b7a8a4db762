"""Sections of evaluation.json about what the policy looks at, and how far its inputs lie."""

from typing import Annotated

from pydantic import Field

from job.sections.section import Positive, Section

Ratio = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Ablation(Section):
    """The error when an input is spoiled, over the error with the input as recorded."""

    name: str = Field(description="The camera, or state.")
    blanked: Ratio | None = Field(description="With zeros in its place; null for the state.")
    frozen: Ratio | None = Field(
        description="With what it was in the first frame of the episode, held."
    )
    other_episode: Ratio | None = Field(
        description="With what it is at the same time of another episode; null with one episode "
        "alone."
    )
    change_in_std: Ratio = Field(
        description="How far the predictions move when it is spoiled, the largest of these, in "
        "standard deviations."
    )
    ignored: bool = Field(description="Whether the rules of docs/evaluate.md call it ignored.")


class Exchanged(Section):
    """Two cameras, given to the policy in each other's place."""

    first: str = Field(description="The one.")
    second: str = Field(description="The other.")
    error: Ratio = Field(description="The error then, over that with the images as recorded.")


class AttentionShares(Section):
    """Where the decoder layer that feeds the heads attends, as shares of 1, the mean of heads,
    queries and frames."""

    latent: Share = Field(description="The latent.")
    state: Share = Field(description="The state.")
    env_state: Share | None = Field(description="The environment state; null without one.")
    cameras: dict[str, Share] = Field(description="Each camera, all of its positions together.")


class Look(Section):
    """Whether the policy uses what it is given."""

    frames: Positive = Field(description="Observations that this was tried on.")
    ablations: list[Ablation] = Field(description="Each camera, then the state.")
    all_cameras: Ablation | None = Field(
        default=None,
        description="All cameras at once: one may make up for another. Null with one camera or "
        "none, and in records before 1.1.",
    )
    exchanged: list[Exchanged] = Field(description="Each pair of cameras.")
    spread_ratio: Ratio = Field(
        description="Standard deviation of the predicted actions over frames, over that of the "
        "demonstrated ones, the mean of dims; near 0 the policy answers alike to everything."
    )
    constant_dims: list[str] = Field(
        description="Dims that the policy predicts constant though the demonstrations move them, "
        "by name or number."
    )
    attention: AttentionShares | None = Field(
        description="Attention; null for a policy without it."
    )


class CameraDistance(Section):
    """How far a camera's held-out frames lie from the training ones."""

    name: str = Field(description="The camera.")
    ratio: Ratio = Field(
        description="Median distance of a held-out frame to the nearest training frame, over the "
        "same between training frames of different episodes; near 1: as far as these are."
    )


class Distance(Section):
    """How far the held-out observations lie from those of training."""

    state: Ratio = Field(description="The same ratio of states.")
    cameras: list[CameraDistance] = Field(description="Each camera.")
    method: str = Field(description="What the distance is taken between.")
