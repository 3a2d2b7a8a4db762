"""Trackio: a database in the run's folder, unless TRACKIO_DIR or one of its servers is named."""

import os
from pathlib import Path
from typing import Any


class Writer:
    """A run, which is the same one when the job resumes."""

    def __init__(self, start: dict[str, Any]) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(Path(start["folder"]) / "trackio"))
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        import trackio  # it reads them when it is imported

        self._trackio = trackio
        self._run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", "lerobot-to-act"),
            name=f"{start['run_name']}-{start['id'][:6]}",  # by which it is resumed
            config=start["flags"],
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """A point of each."""
        self._run.log(values, step=step)

    def images(self, step: int, paths: dict[str, str]) -> None:
        """An image for each."""
        self._run.log({name: self._trackio.Image(path) for name, path in paths.items()}, step=step)

    def close(self) -> None:
        """Write what waits."""
        self._run.finish()
