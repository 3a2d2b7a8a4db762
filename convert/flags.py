"""The flags of a conversion, of its check, and of both as commands of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from episodes.flags import ChunkFlags, EpisodeFlags, names_or_none
from episodes.reading import NO_CAMERAS
from job.bounds import at_least, distinct, percent
from job.errors import UsageError
from job.flags import Flags, flag, names_of
from job.remote.flags import CacheFlags
from job.run_flags import OutputFlags, RunFlags, TaskFlags


@dataclass(frozen=True, kw_only=True)
class RecordingFlags(EpisodeFlags, CacheFlags, TaskFlags):
    """Which part of the recordings is converted."""

    title = "data"

    camera_keys: tuple[str, ...] = flag(
        "LeRobot image keys, comma-separated; auto = all but depth, none = no camera.",
        (),
        check=names_or_none,
    )
    state_key: tuple[str, ...] = flag(
        "LeRobot features that become qpos, comma-separated, joined in this order.",
        (),
        check=distinct,
    )
    action_key: tuple[str, ...] = flag(
        "LeRobot features that become action, comma-separated, joined in this order.",
        (),
        check=distinct,
    )
    only_whole_episodes: bool = flag(
        "Episodes that the check finds broken are left out.", False, same_run=True
    )

    def __post_init__(self) -> None:
        self._spell_no_cameras()
        super().__post_init__()
        keys, names = self.camera_keys, self.camera_names
        if keys and names and len(keys) != len(names):
            raise UsageError(
                f"--camera_names has {len(names)} names and --camera_keys {len(keys)} keys; "
                f"expected one name for each key, in the same order",
                code="camera-names",
            )

    def _spell_no_cameras(self) -> None:
        """Give both flags the value `none` where either has it; raises UsageError."""
        keys, names = self.camera_keys, self.camera_names
        if NO_CAMERAS not in (keys, names):
            return
        if keys and names and keys != names:
            raise UsageError(
                f"--camera_keys {','.join(keys)} with --camera_names {','.join(names)}: one asks "
                f"for a camera, the other for none; expected cameras in both, or none in one",
                code="flags-conflict",
            )
        for name in ("camera_keys", "camera_names"):
            object.__setattr__(self, name, NO_CAMERAS)

    @property
    def is_sim(self) -> bool:
        """`--sim`, where it is auto by the task's name."""
        return self.sim == "true" or (self.sim == "auto" and self.task_name.startswith("sim_"))

    def shaping(self) -> dict[str, Any]:
        """The flags that shape the result; `sim` by the task's name, where it is auto."""
        return super().shaping() | {"sim": self.is_sim}


@dataclass(frozen=True, kw_only=True)
class DataFlags(RecordingFlags, ChunkFlags):
    """All that the check judges: what the episode files will hold, and the chunks cut of them."""

    title = "conversion"

    fix_quaternions: bool = flag("Orientations are made unit-length and continuous in sign.", False)
    apply_rotation: bool = flag(
        "Frames are rotated and mirrored as a video's display matrix says.",
        False,
        needs_cameras=True,
    )
    frames: str = flag(
        "Source of the frames; auto = raw files, or the videos where those do not fit.",
        "auto",
        choices=("auto", "raw", "jpeg", "video"),
        same_run=True,
        needs_cameras=True,
    )
    image_storage: str = flag(
        "How images are stored: as raw pixels, or as JPEG in ALOHA's compressed layout.",
        "raw",
        choices=("raw", "jpeg"),
        needs_cameras=True,
    )
    jpeg_quality: int = flag(
        "Quality of --image_storage jpeg, 1 to 100.",
        95,
        check=percent,
        only_with=("image_storage", "jpeg"),
        needs_cameras=True,
    )

    def __post_init__(self) -> None:
        if self.frames == "jpeg":  # which shapes the result, as where the frames are does not
            object.__setattr__(self, "image_storage", "jpeg")
        super().__post_init__()
        if self.image_storage == "jpeg" and self.frames in ("raw", "video"):
            raise UsageError(
                f"--frames {self.frames} with --image_storage jpeg: one wants every pixel as it "
                f"was recorded, the other JPEGs of them; expected one of the two; leave one out",
                code="flags-conflict",
            )


@dataclass(frozen=True, kw_only=True)
class ConversionFlags(DataFlags, OutputFlags):
    """A conversion."""

    title = "conversion"

    convert_workers: int = flag(
        "Number of processes that convert; 0 = by cores and memory.",
        0,
        check=at_least(0),
        same_run=True,
    )


@dataclass(frozen=True, kw_only=True)
class KeepFlags(Flags):
    """What becomes of the episodes that a run converts for itself."""

    title = "conversion"

    keep_converted_hdf5: bool = flag(
        "The episodes in converted_hdf5/<run_name>/ are kept after a completed run.",
        False,
        same_run=True,
    )


@dataclass(frozen=True, kw_only=True)
class RunConversionFlags(RunFlags, ConversionFlags, KeepFlags):
    """The conversion of a run."""


def conversion_only() -> frozenset[str]:
    """The flags that mean nothing for an input of episode files, which are not converted."""
    other = (EpisodeFlags, ChunkFlags, RunFlags, CacheFlags)
    return names_of(RunConversionFlags).difference(*map(names_of, other))


@dataclass(frozen=True, kw_only=True)
class ConvertFlags(ConversionFlags):
    """The command `convert`."""

    title = "machines side by side"

    shard: str = flag(
        "Share i/n of the work: every n-th episode; auto = a scheduler's array.", "auto"
    )
    check_whole: bool = flag("Nothing is converted; every episode must be there.", False)
    frames: str = flag(
        "What the files hold of images: raw frames, JPEGs, or their place in the videos.",
        "raw",
        choices=("raw", "jpeg", "video"),
        same_run=True,
        needs_cameras=True,
    )


@dataclass(frozen=True, kw_only=True)
class CheckFlags(DataFlags):
    """The command `check`."""

    title = "report"

    json: bool = flag("The report is JSON.", False)
    deep: bool = flag("Every frame is decoded too.", False)
    output: Path | None = flag(
        "Folder that the job would write to, to judge the room on its disk.", None
    )
