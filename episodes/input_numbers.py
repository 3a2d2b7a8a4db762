"""What is known of an input before it is read: a recipe computes flags from it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class InputNumbers:
    """The size of what a run is to learn from: close, as nothing was read for it."""

    episodes: int  # those that are asked for; 0: unknown
    frames: int  # time steps of them; 0: unknown
    image_size: tuple[int, int] | None  # (H, W) of the smallest camera; None: unknown, or no image
