"""A rollout as an mp4 file."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from act.simulate.robot import Robot
from episodes.arrays import Frame
from job.whole_files import whole_path

_EVERY = 5  # time steps: ten pictures a second show enough, and rendering takes the time
_CODEC = "libx264"  # every browser shows it
_DEFAULT_FPS = 50.0


class Film:
    """The pictures of a rollout."""

    def __init__(self, robot: Robot) -> None:
        self._robot, self._ts = robot, 0
        self.pictures: list[Frame] = []

    def watch(self) -> None:
        """Take a picture, if it is time for one and the environment has one."""
        self._ts += 1
        if self._ts % _EVERY == 0:
            picture = self._robot.picture()
            if picture is not None:
                self.pictures.append(picture)


def write_video(path: Path, pictures: Sequence[Frame], fps: float | None) -> None:
    """Write the pictures of a film, all of one size; raises OutputError.

    fps: time steps a second
    """
    height, width = (size - size % 2 for size in pictures[0].shape[:2])  # as the codec wants it
    rate = Fraction((fps or _DEFAULT_FPS) / _EVERY).limit_denominator(1000)
    with whole_path(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream: Any = container.add_stream(_CODEC, rate=rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for picture in pictures:
            cropped = np.ascontiguousarray(picture[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cropped)))
        container.mux(stream.encode())
