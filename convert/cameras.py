"""The cameras of a conversion: their names and sizes, by one rule for check and plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.findings import Add, error, warning
from convert.lerobot.dataset import camera_name
from episodes.orientation import AS_STORED, Orientation
from episodes.resize import Reduction, Size, by, enlarges
from episodes.video.display import Display


@dataclass(frozen=True)
class FrameOptions:
    """How the frames of videos are given."""

    rotated: bool = False  # as display matrices have players show them
    grey: frozenset[str] = frozenset()  # cameras named on purpose, which may have one channel


@dataclass(frozen=True)
class Camera:
    """One camera: its LeRobot key, its name in the files and the policy, its size in pixels."""

    key: str
    name: str
    recorded: Size  # of the first episode's frames
    height: int
    width: int
    any_size: bool = False  # whether other frames may be recorded in another size
    orientation: Orientation = AS_STORED  # of the frames, beside how players show the video

    @property
    def reduction(self) -> Reduction:
        """How its frames become those of the episode files."""
        return Reduction(self.recorded, (self.height, self.width), self.any_size)


def orientation(display: Display | None, rotated: bool) -> Orientation:
    """How the frames of a camera lie, for the contract with the robot.

    display: how players show the video of the first episode; rotated: --apply_rotation
    """
    if display is None:
        return AS_STORED
    return Orientation(applied=display.turn) if rotated else Orientation(shown=display.turn)


def name_cameras(keys: Sequence[str], asked: Sequence[str], root: Path, add: Add) -> list[str]:
    """A name for each camera: those asked for, else short ones that differ."""
    if asked and len(asked) != len(keys):
        message = (
            f"--camera_names: found {len(asked)} names for the dataset's cameras {list(keys)}; "
            f"expected one name for each, in this order (or choose with --camera_keys)"
        )
        add(error("camera-names", root, message))
    return list(asked) or _short_names(keys)


def _short_names(keys: Sequence[str]) -> list[str]:
    names: list[str] = []
    for key in keys:
        short = name = camera_name(key)
        while name in names:
            name = f"{short}_{names.count(short) + 1}" if name == short else f"{name}_"
        names.append(name)
    return names


def check_sizes(sizes: Mapping[str, Size], wanted: Size | None, root: Path, add: Add) -> None:
    """Whether the cameras' sizes go together.

    sizes: of each camera's frames, by key; wanted: --image_size
    """
    if wanted is None and len(set(sizes.values())) > 1:
        shown = {key: by(size) for key, size in sizes.items()}
        message = (
            f"the cameras differ in size: {shown}; expected one size, as the network joins them "
            f"along the width; choose with --camera_keys, or give --image_size HxW"
        )
        add(error("camera-sizes", root / "meta/info.json", message))
    for key, size in sizes.items():
        check_reduction(key, size, wanted, root, add)


def check_reduction(key: str, recorded: Size, wanted: Size | None, where: Path, add: Add) -> None:
    """An error where --image_size would enlarge the frames, a warning where it distorts them."""
    if wanted is None:
        return
    if enlarges(recorded, wanted):
        message = (
            f"is {by(recorded)}, which --image_size {by(wanted)} would enlarge; expected a size "
            f"that is not larger, as enlarging adds nothing"
        )
        add(error("image-enlarged", where, message, camera=key))
    elif abs(wanted[0] * recorded[1] - wanted[1] * recorded[0]) > max(recorded):
        message = f"is {by(recorded)}, and --image_size {by(wanted)} distorts its images"
        add(warning("image-distorted", where, message, camera=key))
