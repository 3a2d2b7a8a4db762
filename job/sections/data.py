"""Sections of the manifest about the data: the datasets, and how they became episode files."""

from typing import Literal

from pydantic import Field

from job.sections.section import Count, Positive, Section, Sha256


class UsedEpisode(Section):
    """An episode of the input that was used."""

    number: Count = Field(description="Number in the episode files and in split.")
    source: int | str = Field(description="The dataset's own episode_index, or the file's name.")
    dataset: str = Field(description="Folder of the dataset that the episode belongs to.")
    length: Positive = Field(description="Time steps.")


class LeftOutEpisode(Section):
    """An episode of the input that was not used."""

    dataset: str = Field(description="Folder of the dataset that the episode belongs to.")
    source: int = Field(description="The dataset's own episode_index.")


class NotListed(Section):
    """What a dataset's list of episodes lacks: a recording that was not finished."""

    dataset: str = Field(description="Folder of the dataset.")
    episodes: Count = Field(description="Episodes that meta/info.json counts beyond those listed.")
    frames: Count = Field(description="Frames that meta/info.json counts beyond those listed.")


class Dataset(Section):
    """The input, as the job read it."""

    format: Literal["lerobot", "aloha_hdf5"] = Field(
        description="lerobot (converted by this job) or aloha_hdf5 (episode files used as they "
        "were)."
    )
    version: str | None = Field(description="LeRobot's codebase_version; null for aloha_hdf5.")
    path: str = Field(description="Folder of the input as the job saw it.")
    fps: float | None = Field(
        description="Time steps per second; null where the input does not give it."
    )
    robot_type: str | None = Field(description="Robot type, as the dataset gives it.")
    tasks: list[str] = Field(description="Task texts of the dataset, each once.")
    episodes: list[UsedEpisode] = Field(
        description="The episodes used, by their number in episode_<number>.hdf5."
    )
    left_out: list[LeftOutEpisode] = Field(
        description="Episodes that --only_whole_episodes left out, because the check found them "
        "broken."
    )
    not_listed: list[NotListed] = Field(
        default_factory=list,
        description="Datasets whose list of episodes lacks some that meta/info.json counts.",
    )
    frames: Positive = Field(description="Time steps of all episodes.")
    fingerprint: Sha256 = Field(
        description="Digest of the episodes used (metadata, and size and samples of each file); "
        "it does not depend on where the dataset is stored."
    )


class ConvertedCamera(Section):
    """A camera of the dataset and its place in the episode files."""

    key: str = Field(description="LeRobot key.")
    name: str = Field(description="Name in the episode files and in the policy.")
    recorded_height: Positive = Field(description="Height of the recorded frames in pixels.")
    recorded_width: Positive = Field(description="Width of the recorded frames in pixels.")
    height: Positive = Field(description="Height of the frames in the episode files in pixels.")
    width: Positive = Field(description="Width of the frames in the episode files in pixels.")
    orientation: str = Field(
        default="as stored",
        description="How the frames lie: as stored in the video, or as its display matrix has "
        "players show them (--apply_rotation).",
    )


class ConvertedVector(Section):
    """How a vector of the dataset became one of the policy's."""

    key: str = Field(
        description="LeRobot feature that it was taken from; several, joined in their order, "
        "stand with commas."
    )
    source_dims: Positive = Field(description="Dimensions in the dataset.")
    source_names: list[str] = Field(description="Names of the dataset's dimensions, in order.")
    dims: Positive = Field(description="Dimensions in the episode files and in the policy.")
    padded: Count = Field(description="Constant zero dimensions appended at the end.")
    cut: list[str] = Field(
        description="Names of the dimensions that were cut off: the policy neither observes nor "
        "controls them."
    )
    quaternions: list[str] = Field(description="Orientations found among the names.")
    quaternions_fixed: bool = Field(
        description="Whether they were made unit-length and continuous in sign."
    )


class Conversion(Section):
    """How the LeRobot dataset became episode files."""

    sim: bool = Field(
        description="The sim attribute of the episodes. With false, ACT trains on the action one "
        "step earlier, as upstream does for real robots."
    )
    cameras: list[ConvertedCamera] = Field(
        description="Cameras in the order in which the network concatenates them."
    )
    image_storage: Literal["raw", "jpeg", "video"] | None = Field(
        description="raw frames, jpeg: ALOHA's compressed layout, or video: they stayed in the "
        "dataset's videos, from which training decoded them; null without cameras."
    )
    image_storage_reason: str | None = Field(
        default=None, description="Why they are there; null where there was nothing to choose."
    )
    jpeg_quality: Positive | None = Field(description="1 to 100; null without JPEG frames.")
    qpos: ConvertedVector = Field(description="How the dataset's state became the policy's qpos.")
    action: ConvertedVector = Field(
        description="How the dataset's action became the policy's action."
    )
    qvel: str = Field(description="Feature that qvel was taken from, or zeros if there is none.")
    effort: str = Field(
        description="Feature that effort was taken from, or absent if there is none."
    )
    env_state: ConvertedVector | None = Field(
        default=None,
        description="How a feature of the dataset became the policy's environment state; null "
        "where it has none.",
    )
    frames_per_second: float | None = Field(
        description="Frames decoded and written per second, all cameras together; null where none "
        "were: every episode had been converted before, they stayed in videos, or no camera."
    )
