"""Sections of the manifest about the training: where it ran, on what, and how it went."""

from typing import Annotated, Literal

from pydantic import Field

from job.sections.section import Count, Positive, Section, Sha256

Rate = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Device(Section):
    """What the policy was trained on."""

    type: Literal["cuda", "cpu"] = Field(description="cuda or cpu.")
    name: str = Field(description="Name of the GPU or of the processor.")
    cuda: str | None = Field(description="CUDA version of the torch build; null on the CPU.")
    cores: Positive = Field(
        description="Processor cores that the job may use: CPU affinity and cgroup quota."
    )
    memory_bytes: Positive = Field(
        description="Memory of the GPU in bytes, or host memory that the job may use."
    )


class DatasetShare(Section):
    """What a dataset counts in the training samples."""

    dataset: str = Field(description="Folder of the dataset.")
    share: Share = Field(description="Its share of the samples.")
    episodes: Count = Field(description="Its training episodes.")


class Split(Section):
    """Which episodes were trained on and validated on."""

    shares: list[DatasetShare] = Field(
        default_factory=list,
        description="Of each dataset, with --dataset_weights or --dataset_temperature; else every "
        "training episode counts alike.",
    )

    train: list[int] = Field(description="Numbers of the training episodes.")
    val: list[int] = Field(description="Numbers of the validation episodes.")


class Ancestor(Section):
    """What the training started from, in place of random weights."""

    path: str = Field(description="The checkpoint, or LeRobot's model.safetensors.")
    sha256: Sha256 = Field(description="SHA-256 of that file.")
    statistics: Literal["keep", "new"] = Field(description="--init_stats.")
    new_layers: list[str] = Field(
        description="Layers that started at random, as --init_allow allowed what they depend on to "
        "differ."
    )


class Training(Section):
    """How the training went, as of the last write."""

    epochs: Positive = Field(description="Epochs requested.")
    epochs_done: Count = Field(description="Epochs completed.")
    continued_from_step: Count | None = Field(
        description="Optimizer step of the state that this job resumed from; null when it started "
        "the run."
    )
    steps: Count = Field(description="Optimizer steps.")
    samples: Count = Field(description="Training samples.")
    effective_batch: Positive = Field(description="Samples in a full optimizer step.")
    best_epoch: Count | None = Field(
        description="Epoch whose weights are policy_best.ckpt: those it was validated with, before "
        "it was trained."
    )
    best_val_loss: float | None = Field(description="Validation loss of the best epoch.")
    last_train: dict[str, float] | None = Field(
        description="Mean training losses of the last epoch, by name."
    )
    last_val: dict[str, float] | None = Field(
        description="Mean validation losses of the last epoch, by name."
    )
    samples_per_second: Rate = Field(description="Training samples per second of training time.")
    data_wait_share: Share = Field(
        description="Share of the training time spent waiting for data, 0 to 1."
    )
