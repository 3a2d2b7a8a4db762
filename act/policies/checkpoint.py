"""Save and load weights and statistics; knows no model class.

<run folder>/
├── policy_best.ckpt                    weights with the lowest validation loss
├── policy_last.ckpt                    weights after the last epoch
├── policy_epoch_<n>_seed_<s>.ckpt      a ladder of upstream's snapshots, and the best one again
└── dataset_stats.pkl, dataset_stats.json   what qpos and actions are normalised by
A checkpoint is a plain state dict on the CPU: upstream's strict load takes it, and it loads with
weights_only=True.
"""

import math
import os
import pickle
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from act.batches.samples import describe
from episodes.reader import FloatArray
from job.errors import UsageError, first_line
from job.whole_files import RECORD, sha256, whole_file, write_json

Weights = dict[str, Tensor]

LAST, BEST = "policy_last.ckpt", "policy_best.ckpt"
_RUN_FILES = (
    "policy_*.ckpt", "dataset_stats.*", "train_val_*.png", "metrics.jsonl", "run.json", RECORD,
)  # fmt: skip

SNAPSHOT_EPOCHS = 100  # upstream's
BEST_INTERVAL_S = 60.0
IMAGENET_FILE = "resnet18-f37072fd.pth"
IMAGENET_SHA256 = "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"


def run_files(folder: Path) -> list[Path]:
    """The files of a run in its folder, by name."""
    return sorted(path for pattern in _RUN_FILES for path in folder.glob(pattern))


def epoch_path(folder: Path, epoch: int, seed: int) -> Path:
    """The name that upstream gives the weights of an epoch."""
    return folder / f"policy_epoch_{epoch}_seed_{seed}.ckpt"


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


def save(path: Path, value: Any) -> None:
    """Write what torch.save takes, whole and recorded; equal values give equal bytes."""
    with whole_file(path, recorded=True) as file:
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


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a state dict whole; the same weights give the same bytes whatever the name."""
    save(path, dict(weights))


def load_weights(path: Path) -> Weights:
    """Read a state dict without executing anything in it; raises UsageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of, it then refuses
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a reader of foreign bytes may stumble over
        raise UsageError(
            f"{path}: not a readable state dict ({first_line(error)}); expected tensors by name, "
            f"as torch.save writes them"
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise UsageError(f"{path}: holds {type(weights).__name__}, expected tensors by name")
    return dict(weights)


def save_stats(folder: Path, stats: dict[str, FloatArray]) -> None:
    """Write the statistics as upstream's pickle and as JSON."""
    with whole_file(folder / "dataset_stats.pkl", recorded=True) as file:
        _StatsPickler(file, protocol=4).dump(stats)
    write_json(folder / "dataset_stats.json", describe(stats), recorded=True)


def load_stats(path: Path) -> dict[str, FloatArray]:
    """Read dataset_stats.pkl, ours or upstream's, without executing anything in it.

    Only what rebuilds numpy arrays is known to the reader. Raises UsageError.
    """
    try:
        with path.open("rb") as file:
            stats = _StatsUnpickler(file).load()
    except Exception as error:  # whatever a reader of foreign bytes may stumble over
        raise UsageError(
            f"{path}: cannot be read ({first_line(error)}), expected numpy arrays by name, as "
            f"training writes them"
        ) from error
    if not isinstance(stats, dict) or not all(
        isinstance(name, str) and isinstance(value, np.ndarray) for name, value in stats.items()
    ):
        raise UsageError(f"{path}: holds {type(stats).__name__}, expected numpy arrays by name")
    return stats


class _StatsUnpickler(pickle.Unpickler):
    """Knows numpy's arrays and number types, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        place = module.replace("numpy._core", "numpy.core")  # where NumPy 2 and 1 keep them
        if (place, name) in _REBUILDS:
            return _REBUILDS[place, name]
        raise pickle.UnpicklingError(f"{module}.{name} is not part of an array of numbers")


def _empty_array(*_: Any) -> "np.ndarray[Any, Any]":
    return np.ndarray((0,), np.uint8)  # its shape and content follow


def _filled_array(
    content: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any
) -> "np.ndarray[Any, Any]":
    # unlike np.ndarray itself, frombuffer takes no pointers for content
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _content(*parts: Any) -> bytearray:
    """The bytes of a bytearray; never as many as a number claims."""
    match parts:
        case [bytes() | bytearray() as content]:
            return bytearray(content)
        case [str() as text, str()]:  # as protocol 2 has them
            return bytearray(text, "latin1")
        case []:
            return bytearray()
    raise pickle.UnpicklingError("a bytearray of something else than bytes")


# What pickles of arrays name, by protocol, and what stands in for it here.
_REBUILDS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): lambda shape, dtype, content: _filled_array(content, dtype, shape),
    ("builtins", "bytearray"): _content,
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.numeric", "_frombuffer"): _filled_array,
}


class _StatsPickler(pickle.Pickler):
    """Pickles arrays by numpy's public name only.

    By default NumPy 2 names `numpy._core`, which the NumPy 1 of upstream's environments lacks.
    """

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray):
            return np.ndarray, (obj.shape, obj.dtype.str, bytearray(obj.tobytes()))
        return NotImplemented


def snapshot_epochs(epochs: int, keep: int) -> range:
    """The epochs whose weights are kept: upstream's every 100, or as many hundreds as leave `keep`.

    Upstream keeps them all, which fills a disk: 340 MB each.
    """
    if keep == 0:
        return range(0)
    snapshots = -(-epochs // SNAPSHOT_EPOCHS)
    return range(0, epochs, SNAPSHOT_EPOCHS * -(-snapshots // keep))


class Best:
    """The weights with the lowest validation loss, on disk soon after each improvement.

    At most one write a minute in a long run; a copy in memory waits until then, so the last file
    is the best one however the improvements fall. Without a path it only remembers which it was.
    """

    def __init__(self, path: Path | None, interval_s: float = BEST_INTERVAL_S) -> None:
        self._path = path
        self._interval_s = interval_s
        self._written_at = -math.inf
        self._waits = False
        self.epoch: int | None = None
        self.loss = math.inf
        self.weights: Weights = {}

    def restore(self, epoch: int | None, loss: float, weights: Weights) -> None:
        """Go on from the best of a run that was interrupted; its file may be of a later epoch."""
        self.epoch, self.loss = epoch, loss
        if self._path is not None:
            self.weights, self._waits = weights, epoch is not None

    def offer(self, epoch: int, loss: float, weights: Mapping[str, Tensor]) -> None:
        """Keep `weights` when `loss` is strictly below the best so far: upstream's rule."""
        if loss < self.loss:
            if self._path is not None:
                # on their device: bringing them to the host would have a GPU wait
                self.weights = {name: one.detach().clone() for name, one in weights.items()}
                self._waits = True
            self.epoch, self.loss = epoch, loss

    def write_in_turn(self) -> None:
        """Write what waits, unless something was written a moment ago."""
        if time.monotonic() - self._written_at >= self._interval_s:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._path is not None and self._waits:
            save_weights(self._path, to_cpu(self.weights))
            self._waits = False
            self._written_at = time.monotonic()

    def copy_to(self, path: Path) -> None:
        """Write the best weights, once more, under upstream's name for their epoch."""
        self.flush()
        assert self._path is not None
        with self._path.open("rb") as source, whole_file(path, recorded=True) as target:
            shutil.copyfileobj(source, target)


def read_backbone(choice: str) -> tuple[Weights | None, str | None]:
    """The state dict and SHA-256 for `--backbone_weights`: imagenet, none, or a file.

    Nothing is downloaded: ImageNet's file is baked into the image, or lies where torchvision
    caches it. Raises UsageError when it is not there or not the right one.
    """
    if choice == "none":
        return None, None
    path = _imagenet_path() if choice == "imagenet" else Path(choice)
    if not path.is_file():
        raise UsageError(
            f"--backbone_weights {choice}: {path} is not there; expected a torchvision ResNet-18 "
            f"state dict; give a file, use an image built with the weights, or choose none"
        )
    try:
        digest = sha256(path)
    except OSError as error:
        raise UsageError(
            f"--backbone_weights {choice}: {path} cannot be read ({error.strerror}); expected a "
            f"file that user {os.getuid()}:{os.getgid()} may read"
        ) from error
    if choice == "imagenet" and digest != IMAGENET_SHA256:
        raise UsageError(
            f"{path}: its SHA-256 is {digest}, expected {IMAGENET_SHA256}; the file is damaged or "
            f"another one; put torchvision's {IMAGENET_FILE} there"
        )
    return load_weights(path), digest


def _imagenet_path() -> Path:
    baked = os.environ.get("BACKBONE_WEIGHTS_FILE")
    return Path(baked) if baked else Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILE
