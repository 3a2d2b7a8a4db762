"""TensorBoard: event files in the run's folder, by its own writer, without torch."""

import time
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

_FLUSH_S = 10


class Writer:
    """A file of events, beside those of earlier jobs of the run."""

    def __init__(self, start: dict[str, Any]) -> None:
        folder = Path(start["folder"]) / "tensorboard"
        self._file = EventFileWriter(str(folder), flush_secs=_FLUSH_S)
        if start["step"] is not None:  # hides what an earlier job did after the state
            begun = SessionLog(status=SessionLog.START)
            self._add(start["step"] + 1, session_log=begun)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """A scalar for each."""
        found = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._add(step, summary=Summary(value=found))

    def images(self, step: int, paths: dict[str, str]) -> None:
        """An image for each."""
        for tag, path in paths.items():
            with Image.open(path) as image:
                width, height = image.size
            encoded = Path(path).read_bytes()
            shown = Summary.Image(
                height=height, width=width, colorspace=4, encoded_image_string=encoded
            )
            self._add(step, summary=Summary(value=[Summary.Value(tag=tag, image=shown)]))

    def _add(self, step: int, **what: Any) -> None:
        self._file.add_event(Event(step=step, wall_time=time.time(), **what))

    def close(self) -> None:
        """Write what waits."""
        self._file.close()
