"""The commands `export RUN` and `import FOLDER`: what is asked for, and their exit code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from act.export.flags import ExportFlags, ImportFlags
from job import signals
from job.command import log_to_terminal, report_error
from job.command_line import OneLineParser, add_flags, make
from job.errors import EXIT_DONE, JobError, UsageError
from job.machine import limit_threads


@dataclass(frozen=True, kw_only=True)
class ExportCommand(ExportFlags):
    """The command line of `export`."""

    run: str = ""  # its name, or a path


@dataclass(frozen=True, kw_only=True)
class ImportCommand(ImportFlags):
    """The command line of `import`."""

    folder: Path = Path()


def run_export(do: Callable[[ExportCommand], object], argv: Sequence[str]) -> int:
    """Do what the command line of `export` asks for; returns the exit code."""
    return _run(lambda: do(parse_export(argv)))


def run_import(argv: Sequence[str]) -> int:
    """Do what the command line of `import` asks for; returns the exit code."""

    def do() -> None:
        flags = parse_import(argv)
        from act.export.importing import import_lerobot  # with torch, which takes seconds

        import_lerobot(flags, flags.folder)

    return _run(do)


def _run(do: Callable[[], object]) -> int:
    signals.install()
    log_to_terminal()
    limit_threads()
    try:
        do()
    except JobError as error:
        return report_error(error)
    return EXIT_DONE


def parse_export(argv: Sequence[str]) -> ExportCommand:
    """What the command line of `export` asks for; raises UsageError."""
    given = export_parser().values(argv)
    run = _only(given.pop("runs", []), "run", "a run's name, or the path of its folder")
    return make(ExportCommand, given | {"run": run})


def parse_import(argv: Sequence[str]) -> ImportCommand:
    """What the command line of `import` asks for; raises UsageError."""
    given = import_parser().values(argv)
    folder = _only(given.pop("folders", []), "folder", "a pretrained_model folder of LeRobot's")
    return make(ImportCommand, given | {"folder": Path(folder)})


def _only(found: Sequence[str], what: str, expected: str) -> str:
    if len(found) != 1:
        raise UsageError(
            f"found {len(found)} {what}s, expected one: {expected}; --help lists the flags",
            code="flag-missing",
        )
    return found[0]


def export_parser() -> OneLineParser:
    """The command line of `export`."""
    made = OneLineParser(
        "export",
        "A run's policy for LeRobot, ONNX or torch.export, compared with its checkpoint.",
        "RUN --format lerobot|onnx|torch_export [FLAG VALUE …]",
    )
    made.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="Name of a run below --output, or the path of its folder or of a .ckpt in it.",
    )
    add_flags(made, ExportCommand)
    return made


def import_parser() -> OneLineParser:
    """The command line of `import`."""
    made = OneLineParser(
        "import",
        "A LeRobot ACT policy as a run of this project, with its checkpoint and policy.json.",
        "FOLDER --run_name NAME [FLAG VALUE …]",
    )
    made.add_argument(
        "folders",
        nargs="*",
        metavar="FOLDER",
        help="The pretrained_model folder that LeRobot wrote.",
    )
    add_flags(made, ImportCommand)
    return made
