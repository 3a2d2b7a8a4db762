"""What an exported LeRobot folder predicts: read back by this project, or run by LeRobot itself."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act.export.graph import own_width
from act.export.lerobot_layout import ENV_STATE, STATE, camera_key
from act.export.observations import Observations, PolicyInput
from act.load.backend import Backend
from act.load.own_dims import OwnDims
from episodes.arrays import FloatArray
from job.errors import UsageError, first_line
from job.sections.contract import Contract
from job.whole_files import output_errors, regular

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
    python: Path, folder: Path, contract: Contract, observations: Observations, scratch: Path
) -> tuple[list[FloatArray], str]:
    """The actions that LeRobot's own code predicts, each (K, A), and which version that was.

    python: a Python that has lerobot
    contract: of the checkpoint that was exported, whose dims the observations have
    scratch: a folder that is made for the observations, which need much room, and removed
    Raises UsageError where it cannot be run, or fails, OutputError for the disk.
    """
    with _folder(scratch):
        given, predicted = scratch.absolute() / "observations", scratch.absolute() / "actions.npz"
        given.mkdir()
        for number, one in enumerate(observations.make()):
            arrays = _arrays(contract, one)
            np.savez(given / f"{number:06}.npz", **arrays)  # type: ignore[arg-type]
        words = [str(python), str(_CHECK), str(folder.absolute()), str(given), str(predicted)]
        _run(words, python, given)
        return _predicted(predicted, python)


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """A folder that is there inside; errors of the disk become OutputError."""
    with output_errors(path):
        shutil.rmtree(path, ignore_errors=True)  # what a kill has left
        path.mkdir()
        try:
            yield
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _run(words: list[str], python: Path, folder: Path) -> None:
    """folder: where it runs, which has no module. In / torch cannot be imported where
    PYTHONPYCACHEPREFIX is set."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
        failure = done.stderr.strip().splitlines()[-1:] if done.returncode else None
    except OSError as error:
        failure = [first_line(error)]
    if failure is not None:
        raise _failed(python, "".join(failure)[:300])


def _predicted(path: Path, python: Path) -> tuple[list[FloatArray], str]:
    try:
        with open(path, "rb", opener=regular) as opened, np.load(opened) as file:
            return list(file["actions"]), f"lerobot {file['version']}"
    except Exception as error:  # whatever was left there
        raise _failed(python, f"it left no actions: {first_line(error)[:200]}") from error


def _failed(python: Path, reason: str) -> UsageError:
    return UsageError(
        f"--lerobot_python {python}: cannot run the policy ({reason}), "
        f"expected a Python that has lerobot 0.4; leave it out to compare without it",
        code="lerobot-failed",
    )


def _arrays(contract: Contract, one: PolicyInput) -> dict[str, NDArray[Any]]:
    """By LeRobot's features: vectors of the dataset's own dims, images (3, H, W) uint8."""
    found: dict[str, NDArray[Any]] = {STATE: one.state[0, : own_width(contract.state)]}
    if one.images is not None:
        for camera, image in zip(contract.cameras, one.images[0], strict=True):
            found[camera_key(camera)] = image.transpose(2, 0, 1)
    if contract.env_state is not None and one.env_state is not None:
        found[ENV_STATE] = one.env_state[0, : own_width(contract.env_state)]
    return found
