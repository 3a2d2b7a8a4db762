"""What is known of an input before it is read: a recipe computes flags from it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class InputNumbers:
    """The size of what a run is to learn from, as the input itself says it."""

    episodes: int  # those that are asked for
    frames: int  # time steps of all of them
    image_size: tuple[int, int] | None  # (H, W) of the first camera that is used; None: no image
