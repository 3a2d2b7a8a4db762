"""What renders MuJoCo's scenes where there is no display."""

import ctypes.util
import os
from collections.abc import Callable, MutableMapping

from job.errors import UsageError, first_line

VARIABLE = "MUJOCO_GL"
_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}  # EGL renders on a GPU too
_REMEDY = "apt-get install libegl1 libgl1 libgl1-mesa-dri, or libosmesa6 with MUJOCO_GL=osmesa"


def choose_renderer(
    renders: bool,
    environ: MutableMapping[str, str] = os.environ,
    find: Callable[[str], str | None] = ctypes.util.find_library,
) -> None:
    """Set MUJOCO_GL unless the user has: MuJoCo's own choice needs a display.

    Called before dm_control is imported, which reads it once. Raises UsageError where no library is
    there, unless nothing is rendered.
    """
    if environ.get(VARIABLE):
        return
    for name, library in _LIBRARIES.items():
        if find(library):
            environ[VARIABLE] = name
            return
    if not renders:
        environ[VARIABLE] = "off"
        return
    raise UsageError(
        f"neither libEGL nor libOSMesa is here, expected one of them to render without a display; "
        f"{_REMEDY}",
        code="renderer-missing",
    )


def renderer_failed(error: Exception) -> UsageError:
    """The error of a simulator that could not be made, or could not render."""
    if isinstance(error, UsageError):
        return error
    return UsageError(
        f"MuJoCo with {VARIABLE}={os.environ.get(VARIABLE, '')}: {type(error).__name__} "
        f"({first_line(error)}), expected a renderer that needs no display; {_REMEDY}",
        code="renderer-missing",
    )
