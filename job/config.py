"""Every knob once: its name, default, meaning and bounds. `job/command_line.py` reads them.

A knob that departs from what upstream ACT does says so in its help text.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from job.errors import UsageError

Check = Callable[[Any], str | None]  # what was expected, or None when the value is fine

NUM_HEADS = 8
_RUN_NAME = re.compile(r"[A-Za-z0-9._-]+")
_MAX_SEED = 2**32 - 1
_MOST = 10**9  # of whole numbers: steps, seconds; what is beyond overflows somewhere
_LONGEST_NAME = 200  # file systems take 255 bytes, and other names are made of it


def _at_least(low: float) -> Check:
    return lambda value: _unusual(value) or (None if value >= low else f"{low} or more")


def _above(low: float) -> Check:
    return lambda value: _unusual(value) or (None if value > low else f"above {low}")


def _unusual(value: float) -> str | None:
    """What no number of ours is: not finite, or so large that it overflows somewhere."""
    if isinstance(value, int):
        return None if value <= _MOST else f"{_MOST} or less"
    return None if math.isfinite(value) else "a finite number"


def _multiple_of_heads(value: int) -> str | None:
    fine = value > 0 and value % NUM_HEADS == 0
    return None if fine else f"a multiple of {NUM_HEADS}, the number of attention heads"


def _file_name(value: str) -> str | None:
    fine = _RUN_NAME.fullmatch(value) and value.strip(".") and len(value) <= _LONGEST_NAME
    if fine:
        return None
    return f"letters, digits, '.', '_' and '-' only, not dots alone, at most {_LONGEST_NAME}"


def _some_text(value: str) -> str | None:
    return None if value.strip() and value.isprintable() else "a name"


def _ranges(value: str) -> str | None:
    fine = value in ("all", "none") or re.fullmatch(
        r"\d{1,9}(:\d{1,9})?(,\d{1,9}(:\d{1,9})?)*", value
    )
    return None if fine else "episode numbers and half-open ranges, like 0:40,55"


def _size(value: str) -> str | None:
    fine = value == "own" or re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", value)
    return None if fine else "HEIGHTxWIDTH in pixels, like 240x320, or own"


def _percent(value: int) -> str | None:
    return None if 1 <= value <= 100 else "1 to 100"


def _share(value: float) -> str | None:
    return None if 0 <= value < 1 else "0 or more and below 1"


def _half_turn(value: float) -> str | None:
    return None if 0 <= value <= 0.5 else "0 to 0.5 of a turn"


def _seed(value: int) -> str | None:
    return None if 0 <= value <= _MAX_SEED else f"0 to {_MAX_SEED}"


def _distinct(value: tuple[str, ...]) -> str | None:
    return None if all(value) and len(set(value)) == len(value) else "names that differ"


def _link_names(value: tuple[str, ...]) -> str | None:
    fine = all(re.fullmatch(r"[^/\0]+", name) and name.strip(".") for name in value)
    return _distinct(value) if fine else "names without '/', as HDF5 links need"


def _knob(
    group: str,
    help: str,
    default: Any = dataclasses.MISSING,
    *,
    check: Check | None = None,
    choices: Sequence[str] = (),
    same_run: bool = False,
) -> Any:
    """same_run: another value of it changes no result, so a run may go on with it"""
    meta = {"group": group, "help": help, "check": check, "choices": choices, "same_run": same_run}
    return field(default=default, metadata=meta)


INPUT, OUTPUT = (Path("/data/input"),), Path("/data/output")

# Where every run departs from upstream ACT; flags that depart say so in their help.
DEPARTURES = (
    "decoder layers whose output nobody reads are not computed; their weights drift as upstream's",
    "the frozen batch norm is applied by the convolution before it, in another order of rounding",
    "without backbone weights the frozen batch norm has the statistics of frames of the dataset",
    "random numbers come from (seed, epoch) and (seed, step), not from one stream",
    "episodes may differ in length or be shorter than the chunk; a single one is also validated on",
    "the best weights are written at each improvement; of the snapshots a ladder is kept",
)

_ACT_ONLY = frozenset({
    "kl_weight", "kl_warmup", "loss_norm", "chunk_size", "hidden_dim", "dim_feedforward",
    "enc_layers", "dec_layers", "dropout", "decoder_output",
})  # fmt: skip

RUN, DATA, CONVERSION = "run", "data", "conversion"
TRAINING, AUGMENTATION = "training", "augmentation of the training images, off as upstream"
NETWORK, MACHINE = "network", "machine"


@dataclass(frozen=True, kw_only=True)
class Config:
    """The job as asked for. `given` names the flags that were on the command line."""

    run_name: str = _knob(RUN, "folder under checkpoints/", check=_file_name, same_run=True)
    task_name: str = _knob(
        RUN,
        "bookkeeping; a name starting with sim_ also sets --sim",
        check=_some_text,
        same_run=True,
    )
    input: tuple[Path, ...] = _knob(
        RUN, "LeRobot dataset(s) or episode_*.hdf5 files; may be repeated", INPUT, same_run=True
    )
    output: Path = _knob(RUN, "where everything is written", OUTPUT, same_run=True)
    resume: str = _knob(
        RUN,
        "go on where the same run stopped; never = only from the start",
        "auto",
        choices=("auto", "never"),
        same_run=True,
    )
    state_interval_minutes: float = _knob(
        RUN, "minutes between states to go on from", 10.0, check=_at_least(0), same_run=True
    )
    max_hours: float = _knob(
        RUN,
        "end in time for a scheduler, to be run again; 0 = no limit",
        0.0,
        check=_at_least(0),
        same_run=True,
    )
    seed: int = _knob(RUN, "of weights, sampling and dropout (not of the split)", 0, check=_seed)

    camera_keys: tuple[str, ...] = _knob(
        DATA, "LeRobot image keys, comma-separated; auto = all but depth", (), check=_distinct
    )
    camera_names: tuple[str, ...] = _knob(
        DATA, "their names in the files and the policy, same order", (), check=_link_names
    )
    image_size: str = _knob(
        DATA, "reduce every camera to this HxW, by area; own = as recorded", "own", check=_size
    )
    state_key: str = _knob(DATA, "LeRobot feature that becomes qpos", "auto", check=_some_text)
    action_key: str = _knob(DATA, "LeRobot feature that becomes action", "auto", check=_some_text)
    episodes: str = _knob(DATA, "only these, like 0:40,55: 0 to 39, and 55", "all", check=_ranges)
    exclude_episodes: str = _knob(DATA, "all but these, like 7,12", "none", check=_ranges)
    only_whole_episodes: bool = _knob(
        DATA, "leave out episodes that the check finds broken", False, same_run=True
    )
    max_episodes: int = _knob(DATA, "convert only the first N; 0 = all", 0, check=_at_least(0))
    state_dim: int = _knob(
        DATA, "pad or cut qpos and action to this; 0 = the dataset's own", 16, check=_at_least(0)
    )
    sim: str = _knob(
        DATA,
        "the episodes' sim attribute; false trains on action[t-1]",
        "auto",
        choices=("auto", "true", "false"),
    )

    fix_quaternions: bool = _knob(
        CONVERSION, "make orientations unit-length and continuous in sign", False
    )
    image_storage: str = _knob(
        CONVERSION,
        "raw, or jpeg: ALOHA's compressed layout",
        "raw",
        choices=("raw", "jpeg"),
    )
    jpeg_quality: int = _knob(CONVERSION, "of --image_storage jpeg, 1 to 100", 95, check=_percent)
    convert_workers: int = _knob(
        CONVERSION, "processes; 0 = by cores and memory", 0, check=_at_least(0), same_run=True
    )
    keep_converted_hdf5: bool = _knob(
        CONVERSION, "keep converted_hdf5/ after a completed run", False, same_run=True
    )

    num_epochs: int = _knob(
        TRAINING, "an epoch is one random step of each episode", 12000, check=_unusual
    )
    steps: int = _knob(TRAINING, "alias for epochs when --num_epochs <= 0", 0, check=_at_least(0))
    batch_size: int = _knob(TRAINING, "reference batch", 64, check=_at_least(1))
    batch_mode: str = _knob(
        TRAINING,
        "is --batch_size shared by all GPUs, or each one's",
        "fixed_global",
        choices=("fixed_global", "fixed_per_gpu"),
    )
    learning_rate: float = _knob(TRAINING, "main learning rate", 5e-5, check=_above(0))
    lr_backbone: float = _knob(
        TRAINING, "learning rate of the image backbone", 1e-5, check=_at_least(0)
    )
    kl_weight: float = _knob(TRAINING, "weight of the KL term", 10.0, check=_at_least(0))
    loss_norm: str = _knob(
        TRAINING,
        "l1 is the mean over all steps, padded too, or valid ones",
        "upstream",
        choices=("upstream", "valid"),
    )
    kl_warmup: int = _knob(
        TRAINING, "steps over which kl_weight grows from 0", 0, check=_at_least(0)
    )
    weight_decay: float = _knob(TRAINING, "of AdamW", 1e-4, check=_at_least(0))
    grad_clip: float = _knob(
        TRAINING, "largest norm of the gradient; 0 = any, as upstream", 0.0, check=_at_least(0)
    )
    lr_schedule: str = _knob(
        TRAINING, "cosine falls to 0 at the last step", "constant", choices=("constant", "cosine")
    )
    lr_warmup: int = _knob(
        TRAINING, "steps over which the learning rates grow from 0", 0, check=_at_least(0)
    )
    accumulate: int = _knob(
        TRAINING, "parts that a batch is computed in, for less memory", 1, check=_at_least(1)
    )
    early_stopping: int = _knob(
        TRAINING, "epochs without a better validation loss; 0 = never", 0, check=_at_least(0)
    )
    save_interval: int = _knob(
        TRAINING, "epochs between manifest writes", 6000, check=_at_least(1), same_run=True
    )
    keep_checkpoints: int = _knob(
        TRAINING,
        "at most this many of upstream's snapshots, evenly spaced",
        10,
        check=_at_least(0),
        same_run=True,
    )

    jitter_brightness: float = _knob(
        AUGMENTATION, "brightness times 1 - x to 1 + x", 0.0, check=_share
    )
    jitter_contrast: float = _knob(AUGMENTATION, "contrast, alike", 0.0, check=_share)
    jitter_saturation: float = _knob(AUGMENTATION, "saturation, alike", 0.0, check=_share)
    jitter_hue: float = _knob(
        AUGMENTATION, "hue turned by up to this part of a turn", 0.0, check=_half_turn
    )
    random_shift: int = _knob(
        AUGMENTATION, "crop and shift by up to this many pixels", 0, check=_at_least(0)
    )
    camera_dropout: float = _knob(
        AUGMENTATION, "chance that a camera is blanked, never all", 0.0, check=_share
    )

    policy_class: str = _knob(NETWORK, "which policy", "ACT", choices=("ACT", "CNNMLP"))
    chunk_size: int = _knob(NETWORK, "actions predicted at once", 100, check=_at_least(1))
    hidden_dim: int = _knob(NETWORK, "width of the transformer", 512, check=_multiple_of_heads)
    dim_feedforward: int = _knob(
        NETWORK, "width of its feed-forward layers", 3200, check=_at_least(1)
    )
    enc_layers: int = _knob(NETWORK, "of both encoders", 4, check=_at_least(1))
    dec_layers: int = _knob(NETWORK, "of the decoder", 7, check=_at_least(1))
    dropout: float = _knob(NETWORK, "of the transformer", 0.1, check=_share)
    decoder_output: str = _knob(
        NETWORK,
        "decoder layer that feeds the heads; first = upstream",
        "first",
        choices=("first", "last"),
    )
    backbone_weights: str = _knob(
        NETWORK, "imagenet, none, or a torchvision state dict", "imagenet", check=_some_text
    )

    device: str = _knob(
        MACHINE, "where to train", "auto", choices=("auto", "cuda", "cpu"), same_run=True
    )
    processes: int = _knob(
        MACHINE, "of this machine; 0 = one for each GPU", 0, check=_at_least(0), same_run=True
    )
    dist_timeout_s: int = _knob(
        MACHINE, "how long processes wait for each other", 600, check=_at_least(1), same_run=True
    )
    precision: str = _knob(
        MACHINE,
        "of matrix products; auto = tf32",
        "auto",
        choices=("auto", "fp32", "tf32", "bf16"),
    )
    compile: str = _knob(
        MACHINE, "torch.compile the network; auto = off", "auto", choices=("auto", "on", "off")
    )
    data_cache: str = _knob(
        MACHINE,
        "all frames on the GPU; auto = if half of what is free will do",
        "auto",
        choices=("auto", "gpu", "none"),
        same_run=True,
    )
    num_workers: int = _knob(
        MACHINE,
        "loader threads (no shared memory); 0 = by cores",
        0,
        check=_at_least(0),
        same_run=True,
    )

    given: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for knob in knobs():
            _check_value(knob, getattr(self, knob.name))
        self._check_epochs()
        self._check_cameras()
        if "jpeg_quality" in self.given and self.image_storage != "jpeg":
            raise UsageError("--jpeg_quality cannot apply to --image_storage raw; leave it out")
        self._check_policy()

    def _check_epochs(self) -> None:
        if self.epochs < 1:
            raise UsageError(
                f"--num_epochs {self.num_epochs} with --steps {self.steps}: nothing to train; "
                f"expected one of them above 0"
            )
        if self.steps and self.num_epochs > 0:
            raise UsageError(
                f"--steps {self.steps} cannot apply: it counts only when --num_epochs <= 0, "
                f"found {self.num_epochs}; add --num_epochs 0 or leave --steps out"
            )

    def _check_cameras(self) -> None:
        keys, names = self.camera_keys, self.camera_names
        if keys and names and len(keys) != len(names):
            raise UsageError(
                f"--camera_names has {len(names)} names and --camera_keys {len(keys)} keys; "
                f"expected one name for each key, in the same order"
            )

    def _check_policy(self) -> None:
        act_only = _ACT_ONLY & self.given
        if self.policy_class == "CNNMLP" and act_only:
            raise UsageError(
                f"--{min(act_only)} cannot apply to --policy_class CNNMLP; leave it out"
            )

    @property
    def epochs(self) -> int:
        """The epochs to train."""
        return self.num_epochs if self.num_epochs > 0 else self.steps

    @property
    def actions_at_once(self) -> int:
        """Actions that the policy predicts: CNNMLP predicts one."""
        return self.chunk_size if self.policy_class == "ACT" else 1

    @property
    def is_sim(self) -> bool:
        """`--sim`, where it is auto by the task's name."""
        return self.sim == "true" or (self.sim == "auto" and self.task_name.startswith("sim_"))

    @property
    def image_height_width(self) -> tuple[int, int] | None:
        """`--image_size` as (H, W); None = as recorded."""
        if self.image_size == "own":
            return None
        height, width = self.image_size.split("x")
        return int(height), int(width)

    def resolved(self) -> dict[str, Any]:
        """Every knob and its value, as JSON has it."""
        values = {knob.name: getattr(self, knob.name) for knob in knobs()}
        return {name: _as_json(value) for name, value in values.items()}


def knobs() -> tuple[dataclasses.Field[Any], ...]:
    """The knobs in the order of `--help`."""
    return tuple(knob for knob in dataclasses.fields(Config) if knob.metadata)


def _check_value(knob: dataclasses.Field[Any], value: Any) -> None:
    choices, check = knob.metadata["choices"], knob.metadata["check"]
    expected = f"one of {', '.join(choices)}" if choices and value not in choices else None
    if check is not None:
        expected = check(value)
    if expected:
        raise UsageError(f"--{knob.name} is {_as_json(value)!r}, expected {expected}")


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_json(item) for item in value] or "auto"
    return str(value) if isinstance(value, Path) else value
