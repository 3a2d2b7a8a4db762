"""The input as episode files: LeRobot datasets are converted, episodes are taken as they are."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from convert import notes
from convert.check.gate import check_files, check_input
from convert.episode_folder import remove_episodes
from convert.episodes import (
    Planned,
    plan_conversion,
    prepare_folder,
    write_episodes,
)
from convert.features import choose_env_state
from convert.findings import refuse
from convert.flags import RunConversionFlags
from convert.input_kind import find_episode_folders, refuse_unused_flags
from convert.lerobot.dataset import choose_cameras, read_features
from convert.sections import describe_conversion, describe_dataset
from convert.sources import NOTHING, LeftOut, find_datasets
from episodes.folder import choose_files
from job.errors import DatasetError, OutputError, UsageError
from job.manifest import Manifest
from job.output_names import CONVERTED
from job.ranks import local_rank
from job.sections.data import Dataset
from job.whole_files import refuse_inside
from job.workers import Workers

logger = logging.getLogger("act")

T = TypeVar("T")


class Turns(Protocol):
    """What is needed of a group of processes (act/processes/group.py), without torch."""

    @property
    def is_first(self) -> bool:
        """Whether this process goes first."""

    def each(self, work: Callable[[], T]) -> T:
        """Do `work`, then wait for the others."""

    def from_first(self, value: T) -> T:
        """What the first process has."""


@dataclass(frozen=True)
class InputEpisodes:
    """The episode files of an input."""

    paths: tuple[Path, ...]
    dataset: Dataset | None = None  # the manifest's section; None: the files are all that is known


@dataclass(frozen=True)
class InputPlan:
    """What the conversion of an input is of, before anything is written."""

    planned: Planned
    digest: str  # of the input, where a check decoded everything; else empty

    @property
    def dataset(self) -> Dataset:
        """The manifest's dataset section."""
        return describe_dataset(self.planned)


def plan_input(flags: RunConversionFlags, pool: Workers) -> InputPlan:
    """Check an input of LeRobot datasets and plan its conversion; nothing is written."""
    digest = notes.input_digest(flags) if flags.only_whole_episodes else ""
    left_out = check_input(flags, notes.noted_left_out(flags, digest), pool)
    return InputPlan(plan_conversion(flags, _folder(flags), left_out, pool), digest)


def convert_input(
    flags: RunConversionFlags, plan: InputPlan, manifest: Manifest, pool: Workers
) -> InputEpisodes:
    """Convert as planned; fills the manifest's dataset and conversion."""
    planned, kept = plan.planned, flags.keep_converted_hdf5
    if kept:
        notes.keep(flags, [path.name for path in planned.paths])
    if flags.only_whole_episodes:
        notes.note_left_out(flags, plan.digest, planned.plan.left_out)
    todo = prepare_folder(flags, planned)
    if todo and not kept:
        fingerprints = {planned.paths[n].name: planned.plan.fingerprint(n) for n in todo}
        notes.note_temporary(flags, fingerprints)
    done = write_episodes(flags, planned, todo, pool)
    dataset = describe_dataset(done)
    manifest.set("dataset", dataset)
    manifest.set("conversion", describe_conversion(done))
    manifest.write()
    return InputEpisodes(done.paths, dataset)


def look_at_input(flags: RunConversionFlags) -> None:
    """Refuse an input that info.json alone shows to be wrong: missing, or without a chosen camera.

    Takes a moment and opens no table or video: native code reads those in processes of its own.
    Where something is wrong the whole check runs, so that the report is complete.
    Raises DatasetError, and UsageError for flags that the input makes no use of.
    """
    folders = find_episode_folders(flags.input)
    refuse_unused_flags(flags, folders)
    if folders:
        return
    try:
        for root in find_datasets(flags.input):
            dataset = read_features(root, videos=not flags.without_cameras)
            choose_cameras(dataset, flags.camera_keys)
            choose_env_state([dataset], flags.env_state_use, flags.env_state_key, refuse)
    except DatasetError:
        check_input(flags)
        raise


def episode_files(flags: RunConversionFlags) -> tuple[Path, ...]:
    """The episode files of an input that needs no conversion, checked; none where it does."""
    folders = find_episode_folders(flags.input)
    _check_apart(flags, converting=not folders)
    if not folders:
        return ()
    check_files(flags, folders)
    return tuple(file.path for file in choose_files(folders, flags))


def describe_input(flags: RunConversionFlags) -> Dataset:
    """The manifest's dataset section of an input that needs conversion; nothing is converted."""
    left_out: LeftOut | None = NOTHING
    if flags.only_whole_episodes:
        left_out = notes.noted_left_out(flags, notes.input_digest(flags))
    if left_out is None:
        left_out = check_input(flags)
    return describe_dataset(plan_conversion(flags, _folder(flags), left_out))


def convert_in_turn(group: Turns, work: Callable[[], InputEpisodes]) -> InputEpisodes:
    """`work` once for each machine: the first process, then the first of each other one.

    Where the machines share the output, the others find everything there; where each has its own,
    each converts for itself.
    """
    files: InputEpisodes | None = None
    for mine in (group.is_first, local_rank() == 0 and not group.is_first):
        if mine:
            files = group.each(work)
        else:
            group.each(lambda: None)
    of_first = group.from_first(files)
    found = files or of_first
    assert found is not None, "the first process has worked"
    return found


def remove_converted(flags: RunConversionFlags) -> None:
    """Remove the episodes that a completed run wrote for itself, unless they are to be kept.

    A run that is found finished does so too: a kill may have come between its end and this.
    """
    temporary = notes.temporary(flags)
    if local_rank() or flags.keep_converted_hdf5 or not temporary:
        return
    try:
        remove_episodes(_folder(flags), temporary)
        notes.forget_temporary(flags)
    except OutputError as error:  # the run is completed, and its manifest says so
        logger.warning("%s; the run is completed, remove converted_hdf5/ by hand", error)


def _folder(flags: RunConversionFlags) -> Path:
    return flags.output / CONVERTED


def _check_apart(flags: RunConversionFlags, converting: bool) -> None:
    """The input is never written to: refuse an output inside it, or one that holds it."""
    refuse_inside(flags.output, flags.input)
    written = [flags.run_folder, *([_folder(flags)] if converting else [])]
    for folder in (path.resolve() for path in flags.input):
        for path in (path.resolve() for path in written):
            if path == folder or path in folder.parents:
                raise UsageError(
                    f"--input {folder} is inside {path}, where this job writes, expected another "
                    f"folder, as the input is never written to",
                    code="output-inside-input",
                )
