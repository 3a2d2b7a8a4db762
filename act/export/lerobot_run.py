"""What an exported LeRobot folder predicts: read back by this project, or run by LeRobot itself."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act.export.graph import own_width
from act.export.lerobot_layout import ENV_STATE, STATE, camera_key
from act.export.observations import Observations
from act.load.backend import Backend
from act.load.own_dims import OwnDims
from episodes.arrays import FloatArray
from job.errors import UsageError, first_line
from job.sections.contract import Contract

_CHECK = Path(__file__).with_name("lerobot_check.py")  # imports lerobot: not to be imported here


def with_own_dims(backend: Backend, contract: Contract) -> OwnDims:
    """A backend of the dataset's own dims, in the place of one of the policy's.

    contract: of the policy
    """
    cameras = len(contract.cameras)

    def run(inputs: Sequence[NDArray[Any]]) -> FloatArray:
        images = np.stack(inputs[1 : 1 + cameras], axis=1) if cameras else None
        return backend.infer(inputs[0], images, inputs[-1] if contract.env_state else None)

    return OwnDims(run, contract, "hwc", None)


def run_lerobot(
    python: Path, folder: Path, contract: Contract, observations: Observations
) -> tuple[list[FloatArray], str]:
    """The actions that LeRobot's own code predicts, each (K, A), and which version that was.

    python: a Python that has lerobot
    contract: of the checkpoint that was exported, whose dims the observations have
    Raises UsageError where it cannot be run, or fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given, predicted = Path(scratch, "observations.npz"), Path(scratch, "actions.npz")
        np.savez(given, **_arrays(contract, observations))  # type: ignore[arg-type]
        words = [str(python), str(_CHECK), str(folder), str(given), str(predicted)]
        _run(words, python)
        with np.load(predicted) as file:
            return list(file["actions"]), f"lerobot {file['version']}"


def _run(words: list[str], python: Path) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
        failure = done.stderr.strip().splitlines()[-1:] if done.returncode else None
    except OSError as error:
        failure = [first_line(error)]
    if failure is not None:
        raise UsageError(
            f"--lerobot_python {python}: cannot run the policy ({''.join(failure)[:300]}), "
            f"expected a Python that has lerobot 0.4; leave it out to compare without it",
            code="lerobot-failed",
        )


def _arrays(contract: Contract, observations: Observations) -> dict[str, NDArray[Any]]:
    """By LeRobot's features: vectors of the dataset's own dims, images (N, 3, H, W) uint8."""
    every = list(observations.make())
    found = {STATE: np.concatenate([one.state for one in every])[:, : own_width(contract.state)]}
    for place, camera in enumerate(contract.cameras):
        images = [one.images[:, place] for one in every if one.images is not None]
        found[camera_key(camera)] = np.concatenate(images).transpose(0, 3, 1, 2).copy()
    if contract.env_state is not None:
        seen = [one.env_state for one in every if one.env_state is not None]
        found[ENV_STATE] = np.concatenate(seen)[:, : own_width(contract.env_state)]
    return found
