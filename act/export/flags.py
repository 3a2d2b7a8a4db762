"""The flags of `export` and `import`."""

from dataclasses import dataclass
from pathlib import Path

from job.bounds import above, at_least, between, some_text
from job.errors import UsageError
from job.flags import Flags, flag, required
from job.run_flags import OutputFlags, RunFlags

FORMATS = ("lerobot", "onnx", "torch_export")
_MOST_BATCH = 256  # the first convolution of so many images of 480x640 alone gives 5 GB
_GRAPHS = ("format", "onnx", "torch_export")


@dataclass(frozen=True, kw_only=True)
class LeRobotFlags(Flags):
    """Where LeRobot is, which is not installed beside this project."""

    title = "parity"

    lerobot_python: Path | None = flag(
        "Python that has lerobot, which then computes the actions to compare.", None
    )


@dataclass(frozen=True, kw_only=True)
class ExportFlags(LeRobotFlags, OutputFlags):
    """The command `export`."""

    title = "export"

    format: str = flag("Format of the export.", choices=FORMATS)
    checkpoint: str = flag(
        "Checkpoint: best, last, epoch_1200, …; auto = the one that policy.json names.",
        "auto",
        check=some_text,
    )
    layout: str = flag(
        "Axes of an image: height, width, channel, or channel first.",
        "hwc",
        choices=("hwc", "chw"),
        only_with=_GRAPHS,
    )
    batch: int = flag(
        "Number of observations in a query; 0 = any number.",
        0,
        check=between(0, _MOST_BATCH),
        only_with=_GRAPHS,
    )
    opset: int = flag("Opset of ONNX.", 18, check=between(18, 25), only_with=("format", "onnx"))
    number_format: str = flag(
        "Numbers that are computed in; int8 is dynamic, of matrix products alone.",
        "fp32",
        choices=("fp32", "fp16", "int8"),
        only_with=("format", "onnx"),
    )
    max_error: float = flag(
        "Largest error of fp16 or int8, in standard deviations of each dim.",
        0.05,
        check=above(0),
        only_with=("number_format", "fp16", "int8"),
    )
    aot_inductor: bool = flag(
        "An AOTInductor package for this processor is compiled too; needs g++.",
        False,
        only_with=("format", "torch_export"),
    )
    input: tuple[Path, ...] = flag(
        "Dataset whose observations are compared; auto = the run's, if it is there.", ()
    )
    observations: int = flag(
        "Number of observations whose actions are compared.", 100, check=at_least(1)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lerobot_python is not None and self.format != "lerobot":
            raise UsageError(
                f"--lerobot_python cannot apply to --format {self.format}; leave it out",
                code="flag-unused",
            )


@dataclass(frozen=True, kw_only=True)
class ImportFlags(LeRobotFlags, OutputFlags):
    """The command `import`."""

    title = "run"

    run_name: str = required(RunFlags, "run_name")
    fps: float = flag(
        "Rate of the control ticks in Hz, which LeRobot does not store; 0 = unknown.",
        0.0,
        check=at_least(0),
    )
