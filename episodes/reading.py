"""What is done to episode files while they are read, without a copy on disk."""

from dataclasses import dataclass
from typing import Literal

NONE = ("none",)
NO_CAMERAS = NONE  # --camera_names none, or --camera_keys none: the policy sees no image
ENV_STATE = "env_state"  # below /observations
EnvStateUse = Literal["no", "if_there", "yes"]

# What --base_action does with /base_action, the velocities of a mobile base beside the arms.
LEFT_OUT, SMOOTHED, AS_RECORDED = "leave", "append", "append_raw"


@dataclass(frozen=True)
class Reading:
    """How episode files are read, where that is not as they are stored."""

    image_size: tuple[int, int] | None = None  # H, W that every frame is reduced to
    sim: bool | None = None  # in place of the files' attribute
    base_action: str = LEFT_OUT
    env_state: EnvStateUse = "no"


AS_STORED = Reading()
