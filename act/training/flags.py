"""The flags of training, and all together that shape one."""

import contextlib
import math
from dataclasses import dataclass

from act.batches.flags import AugmentationFlags, LoaderFlags
from act.policies.flags import InitFlags, PolicyFlags
from act.policies.registry import POLICIES
from act.processes.flags import MachineFlags
from act.report.flags import ReportIntervalFlags
from act.trackers.flags import TrackerFlags
from episodes.flags import EpisodeFlags
from episodes.ranges import RANGES, parse_ranges
from job.bounds import above, at_least, seed, usual_number
from job.errors import UsageError
from job.flags import Flags, flag


@dataclass(frozen=True, kw_only=True)
class ResumeFlags(Flags):
    """How a run is resumed."""

    title = "run"

    resume: str = flag(
        "Whether a run that was interrupted is resumed; never = only from the start.",
        "auto",
        choices=("auto", "never"),
        same_run=True,
    )
    state_interval_minutes: float = flag(
        "Minutes between the states that a run is resumed from.",
        10.0,
        check=at_least(0),
        same_run=True,
    )
    keep_state: bool = flag(
        "The state of a finished run is kept, so that it can be given more epochs.",
        False,
        same_run=True,
    )


# The recipe that a name without a number means; act/training/recipes.py has what each sets.
NEWEST_RECIPES = {"fast": "fast-1"}


def ema_schedule(value: str) -> str | None:
    """What was expected, or None where `--ema` takes the value."""
    if value in ("off", "power"):
        return None
    try:
        decay = float(value)
    except ValueError:
        decay = -1.0
    return None if 0 < decay < 1 else "off, power, or a decay between 0 and 1"


BY_TASK = "task:"  # in front of a task, as the value of --val_episodes


def _own_split(value: str) -> str | None:
    """What was expected, or None where `--val_episodes` takes the value."""
    if value.startswith(BY_TASK):
        return None if value != BY_TASK else f"a task after {BY_TASK}"
    try:
        return None if value == "auto" or parse_ranges(value) else f"auto, or {RANGES}"
    except ValueError as error:
        return f"auto, or {error}"


def _weights(value: tuple[str, ...]) -> str | None:
    """What was expected, or None where `--dataset_weights` takes the value."""
    with contextlib.suppress(ValueError):
        if all(0 < float(one) < math.inf for one in value):
            return None
    return "a number above 0 for each dataset, like 0.7,0.3"


@dataclass(frozen=True, kw_only=True)
class OptimizationFlags(Flags):
    """Epochs, batches, and updates."""

    title = "training"

    recipe: str = flag(
        "Defaults of the training: upstream's, or those that learned faster.",
        "upstream",
        choices=("upstream", *NEWEST_RECIPES, *NEWEST_RECIPES.values()),
        same_run=True,  # what it sets is compared flag by flag
    )
    seed: int = flag("Seed of weights, sampling and dropout, but not of the split.", 0, check=seed)
    num_epochs: int = flag(
        "Number of epochs; each takes --samples_per_episode steps of each episode.",
        12000,
        check=usual_number,
    )
    steps: int = flag("Number of epochs too, when --num_epochs is 0 or less.", 0, check=at_least(0))
    samples_per_episode: int = flag(
        "Random time steps that an epoch takes of each training episode; upstream's is 1.",
        1,
        check=at_least(1),
    )
    val_episodes: str = flag(
        "Episodes to validate on: numbers, like 0:10,12, or task:NAME; auto = upstream's.",
        "auto",
        check=_own_split,
    )
    dataset_weights: tuple[str, ...] = flag(
        "Shares of several datasets in the samples, like 0.7,0.3; auto = by episodes.",
        (),
        check=_weights,
    )
    dataset_temperature: float = flag(
        "The same by numbers of episodes to the power 1 / X; 0 = by episodes.",
        0.0,
        check=at_least(0),
    )
    batch_size: int = flag("Number of samples in a batch.", 64, check=at_least(1))
    batch_mode: str = flag(
        "Whether --batch_size is shared by all GPUs, or each one's.",
        "fixed_global",
        choices=("fixed_global", "fixed_per_gpu"),
    )
    learning_rate: float = flag(
        "Learning rate of everything but the image backbone.", 5e-5, check=above(0)
    )
    lr_backbone: float = flag(
        "Learning rate of the image backbone.", 1e-5, check=at_least(0), needs_cameras=True
    )
    weight_decay: float = flag("Weight decay of AdamW.", 1e-4, check=at_least(0))
    grad_clip: float = flag(
        "Largest norm of the gradient; 0 = any, as in upstream.", 0.0, check=at_least(0)
    )
    lr_schedule: str = flag(
        "Course of the learning rates; cosine falls to 0 at the last step.",
        "constant",
        choices=("constant", "cosine"),
    )
    lr_warmup: int = flag(
        "Number of optimizer steps over which the learning rates grow from 0.", 0, check=at_least(0)
    )
    ema: str = flag(
        "Averages of the weights beside training: off, power, or a decay like 0.99.",
        "off",
        check=ema_schedule,
    )
    early_stopping: int = flag(
        "Epochs without a better validation loss that end training; 0 = never.",
        0,
        check=at_least(0),
    )
    save_interval: int = flag(
        "Number of epochs between writes of the manifest.",
        6000,
        check=at_least(1),
        same_run=True,
    )
    keep_checkpoints: int = flag(
        "Largest number of upstream's snapshots that are kept, evenly spaced.",
        10,
        check=at_least(0),
        same_run=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1:
            raise UsageError(
                f"--num_epochs {self.num_epochs} with --steps {self.steps}: nothing to train; "
                f"expected one of them above 0",
                code="flags-conflict",
            )
        if self.dataset_weights and self.dataset_temperature:
            raise UsageError(
                f"--dataset_weights {','.join(self.dataset_weights)} with --dataset_temperature "
                f"{self.dataset_temperature:g}: both say what a dataset counts, expected one of "
                f"them",
                code="flags-conflict",
            )
        if self.steps and self.num_epochs > 0:
            raise UsageError(
                f"--steps {self.steps} cannot apply: it counts only when --num_epochs <= 0, "
                f"found {self.num_epochs}; add --num_epochs 0 or leave --steps out",
                code="flags-conflict",
            )

    @property
    def epochs(self) -> int:
        """The epochs to train."""
        return epochs_of(self.num_epochs, self.steps)


def epochs_of(num_epochs: int, steps: int) -> int:
    """The epochs that `--num_epochs` and `--steps` ask for."""
    return num_epochs if num_epochs > 0 else steps


@dataclass(frozen=True, kw_only=True)
class TrainingFlags(
    EpisodeFlags,
    OptimizationFlags,
    AugmentationFlags,
    InitFlags,
    PolicyFlags,
    MachineFlags,
    LoaderFlags,
    ResumeFlags,
    ReportIntervalFlags,
    TrackerFlags,
):
    """All that a training needs, whichever command starts it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not POLICIES[self.policy_class].needs_cameras:
            return
        what = "train without cameras" if self.without_cameras else ""
        if self.env_state_use == "yes":
            what = (
                what or f"see an environment state (--env_state_key {','.join(self.env_state_key)})"
            )
        if what:
            able = ", ".join(name for name, entry in POLICIES.items() if not entry.needs_cameras)
            raise UsageError(
                f"{self.option('policy_class')} {self.policy_class} cannot {what}, expected "
                f"{able} for that",
                code="flags-conflict",
            )

    @property
    def backbone(self) -> str:
        """`--backbone_weights`; `none` without images, and where all weights are there."""
        return "none" if self.without_cameras or self.init_weights else self.backbone_weights
