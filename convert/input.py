"""The input as episode files: LeRobot datasets are converted, episodes are taken as they are."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from convert import notes
from convert.check.gate import check_files, check_input
from convert.episode_folder import converted_once, is_done, remove_empty, remove_episodes, take_over
from convert.episodes import (
    Converted,
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
from job.errors import DatasetError, OutputError
from job.input_folders import refuse_holding, refuse_inside
from job.manifest import Manifest
from job.output_names import CONVERTED
from job.ranks import local_rank
from job.sections.data import Conversion, Dataset
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
    dataset: Dataset | None = None  # the manifest's sections; None: they were not converted
    conversion: Conversion | None = None


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
    """Convert as planned; fills the manifest's dataset and conversion.

    What other runs of the output convert to the very same files is converted once.
    """
    planned = plan.planned
    if flags.only_whole_episodes:
        notes.note_left_out(flags, plan.digest, planned.plan.left_out)
    done = _convert(flags, planned, pool)
    dataset, conversion = describe_dataset(done), describe_conversion(done)
    manifest.set("dataset", dataset)
    manifest.set("conversion", conversion)
    manifest.write()
    return InputEpisodes(done.paths, dataset, conversion)


def _convert(flags: RunConversionFlags, planned: Planned, pool: Workers) -> Converted:
    plan, paths = planned.plan, planned.paths
    if flags.keep_converted_hdf5:
        notes.keep(flags, [path.name for path in paths])
    else:
        new = [number for number, path in enumerate(paths) if not is_done(plan, number, path)]
        notes.note_temporary(flags, {paths[n].name: plan.fingerprint(n) for n in new})
    runs = flags.output / CONVERTED
    take_over(runs, plan, paths)
    whole = all(is_done(plan, number, path) for number, path in enumerate(paths))
    with nullcontext() if whole else converted_once(runs, plan):
        take_over(runs, plan, paths)  # what another run has converted meanwhile
        return write_episodes(flags, planned, prepare_folder(flags, planned), pool)


def look_at_input(flags: RunConversionFlags) -> None:
    """Refuse an input that info.json alone shows to be wrong: missing, or without a chosen camera.

    Takes a moment and opens no table or video: native code reads those in processes of its own.
    Where something is wrong the whole check runs, so that the report is complete.
    Raises DatasetError, and UsageError for flags that the input makes no use of.
    """
    folders = find_episode_folders(flags.folders)
    refuse_unused_flags(flags, folders)
    if folders:
        return
    try:
        for root in find_datasets(flags.folders):
            dataset = read_features(root, videos=not flags.without_cameras)
            choose_cameras(dataset, flags.camera_keys)
            choose_env_state([dataset], flags.env_state_use, flags.env_state_key, refuse)
    except DatasetError:
        check_input(flags)
        raise


def episode_files(flags: RunConversionFlags) -> tuple[Path, ...]:
    """The episode files of an input that needs no conversion, checked; none where it does."""
    folders = find_episode_folders(flags.folders)
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
        for folder, fingerprints in temporary:
            remove_episodes(folder, fingerprints)
        notes.forget_temporary(flags)
        remove_empty(flags.output / CONVERTED)
    except OutputError as error:  # the run is completed, and its manifest says so
        logger.warning("%s; the run is completed, remove %s by hand", error, _folder(flags))


def _folder(flags: RunConversionFlags) -> Path:
    return notes.episodes_folder(flags)


def _check_apart(flags: RunConversionFlags, converting: bool) -> None:
    """The input is never written to: refuse an output inside it, or one that holds it."""
    refuse_inside(flags.output, flags.folders)
    for folder in (flags.run_folder, *([flags.output / CONVERTED] if converting else [])):
        refuse_holding(folder, flags.folders)
