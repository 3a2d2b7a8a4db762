"""The input folder as episode files: a LeRobot dataset is converted, episodes are taken."""

from pathlib import Path

from act.config import Config
from act.episode import find_episodes, read_info
from act.errors import DatasetError, UsageError
from act.manifest import Manifest
from convert.convert import convert, remove_episodes
from convert.describe import describe_conversion, describe_dataset
from convert.lerobot import is_dataset

# What shapes a conversion, and so says nothing when there is none.
_CONVERSION_FLAGS = {"camera_keys", "sim", "convert_workers", "keep_converted_hdf5"}


def episode_files(config: Config, manifest: Manifest) -> tuple[Path, ...]:
    """The episode files to train on; fills the manifest's dataset and conversion."""
    _check_readable(config.input)
    official = find_episodes(config.input)
    if official and not is_dataset(config.input):
        return _take(config, official)
    converted = convert(config, converted_folder(config))
    manifest.set("dataset", describe_dataset(converted))
    manifest.set("conversion", describe_conversion(converted))
    manifest.write()
    return converted.paths


def converted_folder(config: Config) -> Path:
    """Where the converted episodes lie."""
    return config.output / "converted_hdf5"


def remove_converted(config: Config) -> None:
    """Remove the converted episodes of a completed run, unless they are to be kept."""
    if not config.keep_converted_hdf5 and converted_folder(config).is_dir():
        remove_episodes(find_episodes(converted_folder(config)))


def _check_readable(folder: Path) -> None:
    try:
        found = any(folder.iterdir())
    except OSError as error:
        raise DatasetError(
            f"{folder}: cannot be read ({error.strerror}); expected a LeRobot dataset or "
            f"episode_*.hdf5 files; mount it there, or name it with --input"
        ) from error
    if not found:
        raise DatasetError(
            f"{folder}: empty; expected a LeRobot dataset or episode_*.hdf5 files; mount it there"
        )


def _take(config: Config, paths: list[Path]) -> tuple[Path, ...]:
    """Official episodes as they are; raises UsageError for a flag that only a conversion obeys."""
    useless = _CONVERSION_FLAGS & config.given
    if useless:
        raise UsageError(
            f"--{min(useless)} cannot apply: {config.input} holds episode_*.hdf5 files, which are "
            f"not converted; leave it out"
        )
    info = read_info(paths[0])
    dims = {info.qpos_dim, info.action_dim}
    if "state_dim" in config.given and config.state_dim and dims != {config.state_dim}:
        raise UsageError(
            f"--state_dim {config.state_dim} cannot apply: the episodes in {config.input} have "
            f"{info.qpos_dim} qpos and {info.action_dim} action dims and are not converted; leave "
            f"it out"
        )
    return tuple(paths[: config.max_episodes or None])
