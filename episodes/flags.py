"""The flags that mean something for a dataset and for a folder of episode files."""

import re
from dataclasses import dataclass
from pathlib import Path

from episodes.ranges import chosen, parse_ranges
from episodes.reading import (
    AS_RECORDED,
    ENV_STATE,
    LEFT_OUT,
    NO_CAMERAS,
    NONE,
    SMOOTHED,
    EnvStateUse,
    Reading,
)
from job.bounds import at_least, distinct, link_names
from job.errors import UsageError
from job.flags import Flags, flag, flags_of
from job.remote.address import Place, folders


def names_or_none(value: tuple[str, ...]) -> str | None:
    """Names that differ, or `none` alone."""
    return distinct(value) or (
        "none alone, or names" if "none" in value and value != NONE else None
    )


def _camera_names(value: tuple[str, ...]) -> str | None:
    return link_names(value) or names_or_none(value)


def _ranges(value: str) -> str | None:
    try:
        parse_ranges(value)
    except ValueError as error:
        return str(error)
    return None


def _size(value: str) -> str | None:
    fine = value == "own" or re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", value)
    return None if fine else "HEIGHTxWIDTH in pixels, like 240x320, or own"


@dataclass(frozen=True, kw_only=True)
class EpisodeFlags(Flags):
    """Which episodes are read, and what is taken of them."""

    title = "data"

    input: tuple[Place, ...] = flag(
        "Folder or address of a dataset, or of episode files; may be repeated.",
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
    image_size: str = flag(
        "Size (HxW) to which every camera is reduced, by area; own = as recorded.",
        "own",
        check=_size,
        needs_cameras=True,
    )
    episodes: str = flag(
        "Only these episodes are used, like 0:40,55: 0 to 39, and 55.", "all", check=_ranges
    )
    exclude_episodes: str = flag("These episodes are left out, like 7,12.", "none", check=_ranges)
    max_episodes: int = flag(
        "Only the first N of the episodes are used; 0 = all.", 0, check=at_least(0)
    )
    state_dim: int = flag(
        "Size to which qpos and action are padded or cut; 0 = the dataset's own.",
        16,
        check=at_least(0),
    )
    sim: str = flag(
        "The episodes' sim; false trains on action[t-1]; auto = the files' or the task's.",
        "auto",
        choices=("auto", "true", "false"),
    )
    base_action: str = flag(
        "Whether /base_action joins /action; append smooths it as Mobile ALOHA does.",
        LEFT_OUT,
        choices=(LEFT_OUT, SMOOTHED, AS_RECORDED),
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
    def folders(self) -> tuple[Path, ...]:
        """The input on this machine; what lies at addresses is to be fetched before."""
        return folders(self.input)

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

    @property
    def selects_episodes(self) -> bool:
        """Whether less than every episode is asked for."""
        ranges = parse_ranges(self.episodes) + parse_ranges(self.exclude_episodes)
        return bool(ranges) or self.max_episodes > 0

    def wants(self, number: int) -> bool:
        """Whether `--episodes` and `--exclude_episodes` ask for the episode of that number."""
        return chosen(number, parse_ranges(self.episodes), parse_ranges(self.exclude_episodes))

    @property
    def image_height_width(self) -> tuple[int, int] | None:
        """`--image_size` as (H, W); None = as recorded."""
        if self.image_size == "own":
            return None
        height, width = self.image_size.split("x")
        return int(height), int(width)

    @property
    def reading(self) -> Reading:
        """What is done to episode files while they are read; `--sim auto` is their own."""
        sim = None if self.sim == "auto" else self.sim == "true"
        return Reading(self.image_height_width, sim, self.base_action, self.env_state_use)


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
