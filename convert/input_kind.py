"""What an input holds, LeRobot datasets or episode files, and which flags apply to it."""

from collections.abc import Sequence
from pathlib import Path

from convert.findings import Finding, warning
from convert.flags import DataFlags, conversion_only
from convert.lerobot.dataset import is_dataset
from episodes.flags import check_file_flags
from episodes.folder import folders_within, holds_episodes, refuse_twice
from episodes.input_folder import list_input
from episodes.reading import LEFT_OUT
from job.errors import UsageError

# What to do in place of a flag that episode files make no use of.
_INSTEAD = {
    "camera_keys": "choose cameras with --camera_names",
    "only_whole_episodes": "leave out broken ones with --exclude_episodes",
}


def find_episode_folders(inputs: Sequence[Path]) -> list[Path]:
    """The folders of episode files in the input: a folder itself, or its subfolders by name.

    None where the input is of LeRobot datasets. Raises UsageError where it is of both.
    """
    found = [_episode_folders_in(folder) for folder in inputs]
    folders = [path for within in found for path in within]
    others = [folder for folder, within in zip(inputs, found, strict=True) if not within]
    if folders and others:
        raise UsageError(
            f"--input: {folders[0]} holds episode_*.hdf5 files and {others[0]} does not, expected "
            f"folders of episode files alone, or LeRobot datasets alone; train on one kind, or "
            f"convert the datasets and give the folder of their episodes",
            code="input-mixed",
        )
    refuse_twice(folders)
    return folders


def unread_folders(inputs: Sequence[Path]) -> list[Finding]:
    """A warning for each folder of LeRobot datasets that holds folders of episode files as well."""
    found = []
    for folder in inputs:
        if not is_dataset(folder) and _datasets_within(folder) and not holds_episodes(folder):
            names = ", ".join(path.name for path in folders_within(folder))
            what = f"{names}: episode files beside LeRobot datasets, which are used; they are not"
            found += [warning("file-unlisted", folder, what)] if names else []
    return found


def refuse_unused_flags(flags: DataFlags, folders: Sequence[Path]) -> None:
    """Raise UsageError for a flag that this kind of input makes no use of.

    folders: those of episode files; none: the input is of LeRobot datasets
    """
    if not folders and flags.base_action != LEFT_OUT:
        raise UsageError(
            f"--base_action {flags.base_action} cannot apply: it is for episode files, and "
            f"{flags.folders[0]} holds none; leave it out",
            code="flag-unused",
        )
    if folders:
        check_file_flags(flags)
    useless = conversion_only() & flags.given if folders else frozenset()
    if flags.without_cameras:
        useless -= {"camera_keys"}  # its one value that needs no conversion
    if useless:
        name = min(useless)
        raise UsageError(
            f"--{name} cannot apply: {folders[0]} holds episode_*.hdf5 files, which are not "
            f"converted; {_INSTEAD.get(name, 'leave it out')}",
            code="flag-unused",
        )


def refuse_conversion(inputs: Sequence[Path]) -> None:
    """Raise UsageError for an input of episode files, of which nothing can be converted."""
    folders = find_episode_folders(inputs)
    if folders:
        raise UsageError(
            f"{folders[0]}: holds episode_*.hdf5 files, expected a LeRobot dataset; there is "
            f"nothing to convert; train on the folder as it is",
            code="nothing-to-convert",
        )


def _episode_folders_in(folder: Path) -> list[Path]:
    if is_dataset(folder):
        return []
    if holds_episodes(folder):
        return [folder]
    return [] if _datasets_within(folder) else folders_within(folder)


def _datasets_within(folder: Path) -> bool:
    return any(path.is_dir() and is_dataset(path) for path in list_input(folder))
