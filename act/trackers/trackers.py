"""The trackers of a run: what they are told, and the folder that those without a server use."""

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from act.trackers.feed import Feed
from job.errors import Interrupted, JobError, first_line
from job.warning import warn
from job.whole_files import read_json, write_json

FOLDER = "trackers"  # in the run's
_ID = "id.json"  # in that one: the name under which trackers know the run
_END_S, _SUDDEN_END_S = 20.0, 2.0  # the second where a scheduler may not wait


class Trackers:
    """The trackers of a run, open as long as the context lasts."""

    def __init__(self, names: Sequence[str], folder: Path, about: Mapping[str, Any]) -> None:
        """folder: of the run; about: run_name, task_name, flags, and the step it resumes from"""
        self._names = names
        self._folder = folder / FOLDER
        self._about = about
        self._feeds: list[Feed] = []

    def __enter__(self) -> Self:
        if self._names:
            try:
                self._start()
            except (OSError, ValueError, JobError) as error:
                warn("tracker-failed", f"--tracker: {first_line(error)}; the run has none")
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        feeds, self._feeds = self._feeds, []
        for feed in feeds:
            feed.finish()
        ends = time.monotonic() + (_SUDDEN_END_S if isinstance(error, Interrupted) else _END_S)
        for feed in feeds:
            feed.close(ends)

    def _start(self) -> None:
        start = {"kind": "start", "id": self._id(), "folder": str(self._folder.absolute())}
        for name in self._names:
            log = self._folder / f"{name}.log"
            self._feeds.append(Feed(name, start | dict(self._about), log))

    def _id(self) -> str:
        """A name of the run that no other has, and that it keeps; raises OutputError."""
        path = self._folder / _ID
        if path.exists():
            found = read_json(path)
            if isinstance(found, dict) and str(found.get("id", "")).isalnum():
                return str(found["id"])
        made = uuid.uuid4().hex[:16]
        write_json(path, {"id": made})
        return made

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Give them some numbers of a step, by name."""
        self._send({"kind": "numbers", "step": step, "values": dict(values)})

    def images(self, step: int, paths: Sequence[Path]) -> None:
        """Give them pictures, which are PNG files."""
        for path in paths:  # in a message each: a long one would not go through the pipe whole
            shown = {path.stem: str(path.absolute())}
            self._send({"kind": "images", "step": step, "paths": shown})

    def _send(self, message: Mapping[str, Any]) -> None:
        for feed in self._feeds:
            feed.send(message)
