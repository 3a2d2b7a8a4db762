"""A few episodes of what a run was trained on, read as the run did: to try its policy on them."""

from itertools import accumulate
from pathlib import Path
from typing import Any

from convert.episodes import convert
from convert.flags import RunConversionFlags
from convert.input_kind import find_episode_folders
from episodes.folder import choose_files
from job.command_line import OneLineParser, add_flags, make
from job.errors import UsageError, first_line
from job.flags import as_json, flags_of
from job.output_names import CONVERTED
from job.whole_files import read_json


def episodes_of_run(
    record: Path, folders: tuple[Path, ...], scratch: Path, frames: int
) -> tuple[RunConversionFlags, tuple[Path, ...]]:
    """The first episodes of a run, with that many frames if it has them, as episode files.

    record: the run's run.json; folders: of its dataset
    scratch: a folder to convert to, where the dataset is not episode files already
    returns: how they are to be read, and the files
    Raises DatasetError, and UsageError for a run.json that cannot be understood.
    """
    flags = _flags(record, folders, scratch, frames)
    if of_files := find_episode_folders(flags.input):
        return flags, tuple(file.path for file in choose_files(of_files, flags))
    return flags, convert(flags, scratch / CONVERTED).paths


def _flags(
    record: Path, folders: tuple[Path, ...], scratch: Path, frames: int
) -> RunConversionFlags:
    """The run's own flags, but for how many episodes, and where they go."""
    values, lengths = _recorded(record)
    totals = enumerate(accumulate(lengths), start=1)
    enough = next((number for number, total in totals if total >= frames), len(lengths))
    values |= {"run_name": "some", "task_name": "some", "output": scratch}
    values["max_episodes"] = max(enough, 1)
    words = [word for name, value in values.items() for word in _words(name, value)]
    words += [word for folder in folders for word in ("--input", str(folder))]
    reader = OneLineParser("run", "", "")
    add_flags(reader, RunConversionFlags, environ={})
    return make(RunConversionFlags, reader.values(words), {})


def _recorded(record: Path) -> tuple[dict[str, Any], list[int]]:
    """The flags of a run that are not the defaults, and how long its episodes are, in frames."""
    known = {entry.name: entry for entry, _ in flags_of(RunConversionFlags)}
    try:
        run = read_json(record)
        lengths = [int(length) for length in run["dataset"]["lengths"]]
        shaping = run["flags"].items()
    except FileNotFoundError:  # upstream's run has none, and what was imported neither
        return {}, []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{record}: cannot be understood ({type(error).__name__}: {first_line(error)}), "
            f"expected what the run's job wrote; copy it from the run's folder again",
            code="run-unreadable",
        ) from error
    return {n: v for n, v in shaping if n in known and v != as_json(known[n].default)}, lengths


def _words(name: str, value: Any) -> tuple[str, ...]:
    """A flag on the command line, from what run.json has of it."""
    if isinstance(value, bool):
        return (f"--{name}", "true" if value else "false") if name == "sim" else (f"--{name}",)
    return (f"--{name}", ",".join(value) if isinstance(value, list) else str(value))
