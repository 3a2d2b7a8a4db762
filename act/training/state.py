"""The state of a run: all that training needs to resume as if it had never stopped.

state.ckpt in the run folder is a dict of what each owner's `state_dict` gives, by the owner's name:
tensors, numbers and text, so it loads with weights_only=True. The owners are listed once, in
act/training/setup.py.
"""

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from job.errors import OutputError, first_line
from job.output_names import STATE
from job.whole_files import is_recorded, regular

FORMAT = 2  # 1: one flat dict of thirteen values

State = dict[str, Any]


class Stateful(Protocol):
    """Whoever owns a part of the state: a module, an optimizer, or a class of ours."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to be where this is: tensors, numbers and text."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Be where the one was that gave this; raises ValueError for values of another kind."""


def state_of(owners: Mapping[str, Stateful]) -> State:
    """The state of a run; its tensors are those in use."""
    return {"format": FORMAT} | {name: owner.state_dict() for name, owner in owners.items()}


def copied(value: Any) -> Any:
    """The same value, its tensors copied to the CPU: further training does not change them.

    They keep their order in memory: fused AdamW takes the moments of a channels-last weight in the
    weight's own order, whatever their strides say.
    """
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list | tuple) else value


def tensor_bytes(value: Any) -> int:
    """What the tensors of a value take."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(tensor_bytes, value.values()))
    return sum(map(tensor_bytes, value)) if isinstance(value, list | tuple) else 0


def read_state(folder: Path) -> bytes | None:
    """The bytes of state.ckpt, or None where there is none; raises OutputError when damaged."""
    path = folder / STATE
    try:
        with open(path, "rb", opener=regular) as file:
            content = file.read()
        digest = hashlib.sha256(content).hexdigest()
        recorded = is_recorded(path, digest)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(
            f"{error.filename or path}: cannot be read ({error.strerror}), expected the state that "
            f"this run resumes from; make it readable",
            code="checkpoint-unreadable",
        ) from error
    if not recorded:
        raise _damaged(path, f"its SHA-256 is {digest[:12]}…, which was never recorded")
    return content


def parse_state(content: bytes, folder: Path) -> State:
    """The state that the bytes hold, nothing in them executed; raises OutputError."""
    path = folder / STATE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of, it then refuses
            values = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a reader of foreign bytes may stumble over
        raise _damaged(path, first_line(error)) from error
    if not isinstance(values, dict) or not isinstance(values.get("format"), int):
        raise _damaged(path, "not what a state holds")
    if values["format"] != FORMAT:
        raise OutputError(
            f"{path}: has format {values['format']}, expected {FORMAT}; continue with the version "
            f"that wrote it, or start another run",
            code="checkpoint-unreadable",
        )
    return values


def load_state(state: State, owners: Mapping[str, Stateful], folder: Path) -> None:
    """Bring each owner to where the state has it; raises OutputError where they do not fit."""
    if set(state) != {"format", *owners}:
        raise _damaged(folder / STATE, "not what a state holds")
    with _fitting(folder):
        for name, owner in owners.items():
            if not isinstance(state[name], dict):
                raise ValueError(f"{name} is a {type(state[name]).__name__}")
            owner.load_state_dict(state[name])


@contextlib.contextmanager
def _fitting(folder: Path) -> Iterator[None]:
    """A state that was read, but does not fit its own run, is damaged."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise _damaged(folder / STATE, f"does not fit: {first_line(error)}") from error


def _damaged(path: Path, what: str) -> OutputError:
    return OutputError(
        f"{path}: damaged ({what}), expected the state that this run resumes from; move it away "
        f"to start the run anew",
        code="checkpoint-unreadable",
    )
