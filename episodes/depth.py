"""Whether the name of a camera says that it is a depth stream or a mask: a guess by its words."""

import re

_WORDS = {"depth", "disparity", "mask", "seg", "segmentation"}  # at the end of a name
_COLOUR_WORDS = {"rgb", "color", "colour"}


def is_depth_name(name: str) -> bool:
    """Whether "depth" is among the words of a name, unless another one is of colour."""
    words = re.split(r"[._/-]", name.lower())
    return ("depth" in words or words[-1] in _WORDS) and _COLOUR_WORDS.isdisjoint(words)
