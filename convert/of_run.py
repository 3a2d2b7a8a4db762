"""Episodes of what a run was trained on, read as the run did: to try its policy on them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from convert.disk_and_memory import check_disk
from convert.episodes import convert, plan_conversion, write_episodes
from convert.findings import refuse
from convert.flags import RunConversionFlags
from convert.input_kind import find_episode_folders
from convert.sections import describe_dataset
from convert.sources import LeftOut, find_datasets
from episodes.folder import choose_files
from episodes.reading import NONE
from job.command_line import OneLineParser, add_flags, make
from job.errors import UsageError, first_line
from job.flags import as_json, flags_of
from job.output_names import CONVERTED, MANIFEST, RUN
from job.sections.whole import Whole
from job.whole_files import output_errors, read_bytes, read_json
from job.workers import Workers

# Which episodes are wanted, by number: of how many, and whether the run was trained on these
Choose = Callable[[int, bool], Collection[int]]


@dataclass(frozen=True)
class RunEpisodes:
    """Some of the episodes of an input, as episode files."""

    flags: RunConversionFlags  # how they are to be read
    paths: Mapping[int, Path]  # by their number in the run
    sources: Mapping[int, int | str]  # by number: the dataset's own index, or the file's name
    count: int  # of all episodes of the input
    is_of_run: bool  # whether the run was trained on this input


def episodes_of_run(
    record: Path,
    folders: tuple[Path, ...],
    scratch: Path,
    frames: int | None,
    *,
    images: bool = True,
) -> tuple[RunConversionFlags, tuple[Path, ...]]:
    """The first episodes of a run, with that many frames if it has them, as episode files.

    frames: None: all of its episodes
    record: the run's run.json; folders: of its dataset
    scratch: a folder to convert to, where the dataset is not episode files already
    images: whether what is converted has them
    returns: how they are to be read, and the files
    Raises DatasetError, and UsageError for a run.json that cannot be understood.
    """
    recorded = _read(record)
    values = dict(recorded.flags) if images else _without_images(recorded.flags)
    if frames is not None:
        totals = enumerate(accumulate(recorded.lengths), start=1)
        enough = next((number for number, total in totals if total >= frames), None)
        values["max_episodes"] = max(enough or len(recorded.lengths), 1)
    flags = _flags(values, folders, scratch)
    if of_files := find_episode_folders(flags.folders):
        return flags, tuple(file.path for file in choose_files(of_files, flags))
    return flags, convert(flags, scratch / CONVERTED).paths


def chosen_episodes(
    folder: Path,
    folders: tuple[Path, ...],
    scratch: Path,
    choose: Choose,
    otherwise: Mapping[str, Any],
) -> RunEpisodes:
    """The chosen episodes of an input, as the run in `folder` reads it; the others cost nothing.

    folders, scratch: as of `episodes_of_run`
    otherwise: the flags of a run that has not recorded them, as upstream's
    Raises DatasetError, OutputError for the disk, and UsageError as `episodes_of_run`.
    """
    recorded = _read(folder / RUN)
    values = recorded.flags if recorded.lengths else otherwise
    flags = _flags(values, folders, scratch)
    if of_files := find_episode_folders(flags.folders):
        files = [file.path for file in choose_files(of_files, flags)]
        is_of_run = len(files) == len(recorded.lengths)
        numbers = choose(len(files), is_of_run)
        paths = {number: files[number] for number in numbers}
        names = {number: path.name for number, path in paths.items()}
        return RunEpisodes(flags, paths, names, len(files), is_of_run)
    with Workers() as pool:
        left_out = _left_out(folder / MANIFEST, flags)
        planned = plan_conversion(flags, scratch / CONVERTED, left_out, pool)
        is_of_run = planned.fingerprint == recorded.fingerprint
        numbers = sorted(choose(len(planned.paths), is_of_run))
        with output_errors(planned.plan.folder):
            planned.plan.folder.mkdir(parents=True, exist_ok=True)
        check_disk(planned.plan, numbers, refuse)
        done = write_episodes(flags, planned, numbers, pool)
    sources = {used.number: used.source for used in describe_dataset(done).episodes}
    return RunEpisodes(
        flags,
        {number: done.paths[number] for number in numbers},
        {number: sources[number] for number in numbers},
        len(done.paths),
        is_of_run,
    )


def _left_out(manifest: Path, flags: RunConversionFlags) -> LeftOut:
    """The broken episodes that the run left out, wherever its datasets are now."""
    try:
        dataset = Whole.model_validate_json(read_bytes(manifest)).dataset
    except (OSError, ValidationError):
        dataset = None
    if dataset is None or not dataset.left_out:
        return frozenset()
    before = dict.fromkeys(dataset.path.split(", "))
    now = dict(zip(before, find_datasets(flags.folders), strict=False))
    return frozenset(
        (now[one.dataset], one.source) for one in dataset.left_out if one.dataset in now
    )


def _flags(
    values: Mapping[str, Any], folders: tuple[Path, ...], scratch: Path
) -> RunConversionFlags:
    """The run's own flags, but for where its episodes come from and go."""
    given = dict(values) | {"run_name": "some", "output": scratch}
    given.setdefault("task_name", "some")
    words = [word for name, value in given.items() for word in _words(name, value)]
    words += [word for folder in folders for word in ("--input", str(folder))]
    reader = OneLineParser("run", "", "")
    add_flags(reader, RunConversionFlags, environ={})
    return make(RunConversionFlags, reader.values(words), {})


def _without_images(values: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a conversion, with no camera in place of those that it has."""
    of_images = {entry.name for entry, one in flags_of(RunConversionFlags) if one.needs_cameras}
    kept = {n: v for n, v in values.items() if n not in of_images | {"camera_names"}}
    return kept | {"camera_keys": list(NONE)}


@dataclass(frozen=True)
class _Recorded:
    """What run.json has of a run's data."""

    flags: Mapping[str, Any]  # that are not the defaults
    lengths: list[int]  # of its episodes, in frames
    fingerprint: str | None


def _read(record: Path) -> _Recorded:
    known = {entry.name: entry for entry, _ in flags_of(RunConversionFlags)}
    try:
        run = read_json(record)
        lengths = [int(length) for length in run["dataset"]["lengths"]]
        fingerprint = run["dataset"].get("fingerprint")
        shaping = run["flags"].items()
    except FileNotFoundError:  # upstream's run has none, and what was imported neither
        return _Recorded({}, [], None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{record}: cannot be understood ({type(error).__name__}: {first_line(error)}), "
            f"expected what the run's job wrote; copy it from the run's folder again",
            code="run-unreadable",
        ) from error
    flags = {n: v for n, v in shaping if n in known and v != as_json(known[n].default)}
    return _Recorded(flags, lengths, fingerprint)


def _words(name: str, value: Any) -> tuple[str, ...]:
    """A flag on the command line, from what run.json has of it."""
    if isinstance(value, bool):
        return (f"--{name}", "true" if value else "false") if name == "sim" else (f"--{name}",)
    return (f"--{name}", ",".join(value) if isinstance(value, list) else str(value))
