"""State dicts on disk, and the backbone's pretrained weights; knows no model class.

A checkpoint is a plain state dict on the CPU: upstream's strict load takes it, and it loads with
weights_only=True.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from act.policies.backbone_file import backbone_digest, backbone_file
from job.errors import UsageError, first_line
from job.whole_files import Note, regular, whole_file

Weights = dict[str, Tensor]


def to_cpu(weights: Mapping[str, Tensor]) -> Weights:
    """The weights in the host's memory, contiguous; those that are there are not copied."""
    return {
        name: tensor.to("cpu", memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }


def copy_weights(weights: Mapping[str, Tensor]) -> Weights:
    """A copy on the CPU, contiguous, that later training does not change."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }


def mean_of(several: Sequence[Mapping[str, Tensor]]) -> Weights:
    """The mean of weights of one network, by name, computed in float64 and rounded once."""
    return {
        name: torch.stack([one[name].double() for one in several]).mean(dim=0).to(tensor.dtype)
        for name, tensor in several[0].items()
    }


def save(path: Path, value: Any, note: Note | None = None) -> None:
    """Write what torch.save takes, whole and recorded; equal values give equal bytes.

    note: who is told its name and SHA-256 before it gets the name
    """
    with whole_file(path, recorded=True, note=note) as file:
        sink = _Sink(file)
        torch.save(value, sink)  # type: ignore[arg-type]  # it needs no more than these two
        if sink.error is not None:
            raise sink.error


class _Sink:
    """Where torch's zip writer writes: it turns a full disk into an error that does not say so."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write, or remember why not."""
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Nothing to do: the file is flushed when it is closed."""


def save_weights(path: Path, weights: Mapping[str, Tensor], note: Note | None = None) -> None:
    """Write a state dict whole; the same weights give the same bytes whatever the name.

    note: as for `save`
    """
    save(path, dict(weights), note)


def load_weights(path: Path) -> Weights:
    """Read a state dict without executing anything in it; raises UsageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of, it then refuses
            with open(path, "rb", opener=regular) as file:
                weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a reader of foreign bytes may stumble over
        raise UsageError(
            f"{path}: not a readable state dict ({first_line(error)}); expected tensors by name, "
            f"as torch.save writes them",
            code="weights-unreadable",
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise UsageError(
            f"{path}: holds {type(weights).__name__}, expected tensors by name",
            code="weights-unreadable",
        )
    return dict(weights)


def read_backbone(choice: str) -> tuple[Weights | None, str | None]:
    """The state dict and SHA-256 for `--backbone_weights`; both None for `none`.

    Raises UsageError when the file is not there or not the right one.
    """
    path = backbone_file(choice)
    if path is None:
        return None, None
    digest = backbone_digest(choice, path)
    return load_weights(path), digest
