"""Whether the name of a camera says that it is a depth stream or a mask: a guess by its words."""

import re

_WORDS = {"depth", "disparity", "mask", "seg", "segmentation"}  # at the end of a name
_COLOUR_WORDS = {"rgb", "color", "colour"}


# Where a word begins within a name: DepthLeft, leftDepth, RGBDepth.
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_DEPTHAI = re.compile(r"depth_?ai", re.IGNORECASE)  # a make of cameras, written DepthAI


def is_depth_name(name: str) -> bool:
    """Whether "depth" is among the words of a name, unless another one is of colour."""
    split = _HUMPS.sub("_", _DEPTHAI.sub("depthai", name))
    words = re.split(r"[\W_]+", split.lower())
    return ("depth" in words or words[-1] in _WORDS) and _COLOUR_WORDS.isdisjoint(words)
