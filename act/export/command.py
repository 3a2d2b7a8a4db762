"""The command lines of `export RUN` and `import FOLDER`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from act.export.flags import ExportFlags, ImportFlags
from job.target_command import TargetCommand


@dataclass(frozen=True, kw_only=True)
class ExportCommand(ExportFlags):
    """The flags of `export`, and what it exports."""

    run: str = ""  # its name, or a path


@dataclass(frozen=True, kw_only=True)
class ImportCommand(ImportFlags):
    """The flags of `import`, and what it imports."""

    folder: Path = Path()


EXPORT = TargetCommand(
    "export",
    ExportCommand,
    "A run's policy for LeRobot, ONNX or torch.export, compared with its checkpoint.",
    "--format lerobot|onnx|torch_export [FLAG VALUE …]",
    shown="Name of a run below --output, or the path of its folder or of a .ckpt in it.",
)
IMPORT = TargetCommand(
    "import",
    ImportCommand,
    "A LeRobot ACT policy as a run of this project, with its checkpoint and policy.json.",
    "--run_name NAME [FLAG VALUE …]",
    target="folder",
    expected="a pretrained_model folder of LeRobot's",
    shown="The pretrained_model folder that LeRobot wrote.",
    as_value=Path,
)


def run_import(argv: Sequence[str]) -> int:
    """Do what the command line of `import` asks for; returns the exit code."""
    return IMPORT.run(_import, argv)


def _import(flags: ImportCommand) -> None:
    from act.export.importing import import_lerobot  # with torch, which takes seconds

    import_lerobot(flags, flags.folder)
