"""The flags that mean something for a dataset and for a folder of episode files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from job.bounds import at_least, distinct, link_names
from job.errors import UsageError
from job.flags import Flags, flag, flags_of

EnvStateUse = Literal["no", "if_there", "yes"]
ENV_STATE = "env_state"  # in episode files
NONE = ("none",)
NO_CAMERAS = NONE  # --camera_names none, or --camera_keys none: the policy sees no image


def names_or_none(value: tuple[str, ...]) -> str | None:
    """Names that differ, or `none` alone."""
    return distinct(value) or (
        "none alone, or names" if "none" in value and value != NONE else None
    )


def _camera_names(value: tuple[str, ...]) -> str | None:
    return link_names(value) or names_or_none(value)


@dataclass(frozen=True, kw_only=True)
class EpisodeFlags(Flags):
    """Which episodes are read, and what is taken of them."""

    title = "data"

    input: tuple[Path, ...] = flag(
        "Folder of a LeRobot dataset, or of episode_*.hdf5 files; may be repeated.",
        (Path("/data/input"),),
        same_run=True,
    )
    camera_names: tuple[str, ...] = flag(
        "Names of the cameras for files and policy, in order; none = no camera.",
        (),
        check=_camera_names,
    )
    env_state_key: tuple[str, ...] = flag(
        "Features of the environment state; auto = the usual one, without cameras only.",
        (),
        check=names_or_none,
    )
    max_episodes: int = flag(
        "Only the first N of the episodes are used; 0 = all.", 0, check=at_least(0)
    )
    state_dim: int = flag(
        "Size to which qpos and action are padded or cut; 0 = the dataset's own.",
        16,
        check=at_least(0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.without_cameras:
            return
        for entry, declared in flags_of(type(self)):
            if declared.needs_cameras and entry.name in self.given:
                raise UsageError(
                    f"{self.option(entry.name)} cannot apply: the policy has no camera "
                    f"({self._no_cameras}); leave it out",
                    code="flag-unused",
                )

    @property
    def without_cameras(self) -> bool:
        """Whether the policy sees no image: `--camera_names none`, or `--camera_keys none`."""
        return self.camera_names == NO_CAMERAS

    @property
    def _no_cameras(self) -> str:
        """The flag that says so."""
        given = [name for name in ("camera_keys", "camera_names") if name in self.given]
        return f"{self.option(*given[:1] or ('camera_names',))} none"

    @property
    def env_state_use(self) -> EnvStateUse:
        """Whether the policy sees an environment state."""
        if not self.env_state_key:
            return "if_there" if self.without_cameras else "no"
        return "no" if self.env_state_key == NONE else "yes"


def check_file_flags(flags: EpisodeFlags) -> None:
    """Refuse what the flags ask of a LeRobot dataset, where the input is episode files."""
    if flags.env_state_use == "yes" and flags.env_state_key != (ENV_STATE,):
        raise UsageError(
            f"--env_state_key {','.join(flags.env_state_key)} cannot apply: episode files have "
            f"their environment state in /observations/{ENV_STATE}; give {ENV_STATE}, or leave it "
            f"out",
            code="flag-unused",
        )


@dataclass(frozen=True, kw_only=True)
class ChunkFlags(Flags):
    """How many actions follow each observation."""

    title = "network"

    chunk_size: int = flag(
        "Number of actions that the policy predicts at once.",
        100,
        check=at_least(1),
    )
