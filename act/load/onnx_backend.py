"""A policy in an ONNX file, computed by onnxruntime in place of torch."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from numpy.typing import NDArray
from pydantic import ValidationError

from act.load.own_dims import Layout, OwnDims, own
from act.load.packages import needed
from act.load.source import is_name
from episodes.arrays import FloatArray
from job.errors import UsageError, first_line
from job.machine import cores_each
from job.output_names import MANIFEST
from job.sections.contract import Contract
from job.whole_files import read_json, sha256

ONNX_FILE = "policy.onnx"
CONTRACT_KEY, LAYOUT_KEY = "lerobot_to_act.contract", "lerobot_to_act.layout"  # its metadata


def find_onnx(source: str | os.PathLike[str]) -> Path | None:
    """The ONNX file that a source means: an .onnx, or a folder that `export` wrote; else None."""
    path = Path(source)
    if path.suffix == ".onnx" and path.is_file():
        return path
    found = path / ONNX_FILE
    return found if found.is_file() and not is_name(source) else None


class OnnxBackend(OwnDims):
    """A `Backend` on the CPU."""

    def __init__(self, file: Path) -> None:
        """Raises UsageError for a file that no `export` wrote, or without onnxruntime."""
        runtime = needed("onnxruntime")
        _check_digest(file)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = cores_each()
        # else each session keeps its threads busy while it waits
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
            metadata = self._session.get_modelmeta().custom_metadata_map
            self.contract = Contract.model_validate_json(metadata[CONTRACT_KEY])
            layout = metadata[LAYOUT_KEY]
        except (KeyError, ValidationError) as error:
            raise _foreign(file, f"no contract in its metadata: {first_line(error)}") from error
        except Exception as error:  # onnxruntime's own are of many classes
            raise _foreign(file, first_line(error)) from error
        self._names = [one.name for one in self._session.get_inputs()]
        _check_shapes(file, self._session, self.contract, layout)
        batch = self._session.get_inputs()[0].shape[0]
        fixed = batch if isinstance(batch, int) else None
        super().__init__(self._infer, self.contract, layout, fixed)

    def _infer(self, inputs: Sequence[NDArray[Any]]) -> FloatArray:
        feed = dict(zip(self._names, inputs, strict=True))
        found: FloatArray = self._session.run(None, feed)[0]
        return found


def _check_shapes(file: Path, session: Any, contract: Contract, layout: str) -> None:
    """Refuse a file whose tensors are not those that its metadata describe."""
    widths = [int(own(one).sum()) for one in (contract.state, contract.action)]
    inputs: list[list[int]] = [[widths[0]]]
    for camera in contract.cameras:
        size = [camera.height, camera.width]
        inputs.append([3, *size] if layout == "chw" else [*size, 3])
    if contract.env_state is not None:
        inputs.append([int(own(contract.env_state).sum())])
    described = {
        "layout": (layout in get_args(Layout), True),
        "inputs": ([list(one.shape[1:]) for one in session.get_inputs()], inputs),
        "outputs": (
            [list(one.shape[1:]) for one in session.get_outputs()],
            [[contract.action.chunk_size, widths[1]]],
        ),
    }
    for what, (found, expected) in described.items():
        if found != expected:
            raise _foreign(file, f"its {what} are {found}, and by its metadata {expected}")


def _check_digest(file: Path) -> None:
    """Refuse a file that is not the one of the manifest beside it, if there is one."""
    manifest = file.parent / MANIFEST
    if not manifest.exists():
        return
    try:
        listed = {one["path"]: one["sha256"] for one in read_json(manifest)["artifacts"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _foreign(file, f"{MANIFEST} beside it cannot be read: {error}") from error
    if listed.get(file.name) != sha256(file):
        raise UsageError(
            f"{file}: is not the file of the {MANIFEST} beside it, expected an export whose files "
            f"belong together; export it again, or copy the whole folder",
            code="contract-other",
        )


def _foreign(file: Path, reason: str) -> UsageError:
    return UsageError(
        f"{file}: cannot be used ({reason[:300]}), expected a policy that `export --format onnx` "
        f"wrote; export it again",
        code="weights-unreadable",
    )
