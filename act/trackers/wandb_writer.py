"""Weights & Biases: offline unless WANDB_MODE says otherwise; `wandb sync` sends it later."""

import os
from typing import Any

_DEFAULTS = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)

import wandb  # noqa: E402  it reads them when it is imported


class Writer:
    """A run, which resumes as the same one where a server knows it."""

    def __init__(self, start: dict[str, Any]) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "lerobot-to-act"),
            name=start["run_name"],
            id=start["id"],
            resume="allow",
            dir=start["folder"],
            config=start["flags"],
        )
        self._run.define_metric("*", step_metric="step")  # its own must rise, also after a kill

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """A point of each."""
        self._run.log({"step": step, **values})

    def images(self, step: int, paths: dict[str, str]) -> None:
        """An image for each."""
        shown = {name: wandb.Image(path) for name, path in paths.items()}
        self._run.log({"step": step, **shown})

    def close(self) -> None:
        """Write what waits."""
        self._run.finish()
