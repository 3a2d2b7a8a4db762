"""The state of a run: all that training needs to go on as if it had never stopped.

state.ckpt in the run folder is a dict of tensors, numbers and text, so it loads with
weights_only=True. It is written beside training where memory allows, now and then and before a run
ends early; the one before stays until the new one is whole.
"""

import contextlib
import hashlib
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from act.policies.weights import Weights, copy_weights, save, to_cpu
from act.training.best import Best
from job.errors import OutputError, first_line
from job.machine import free_memory_bytes
from job.whole_files import is_recorded, output_errors, regular

logger = logging.getLogger("act")

STATE = "state.ckpt"
_FORMAT = 1


@dataclass
class Progress:
    """How far a run has come. It changes only when a step, a validation or an epoch is complete."""

    epoch: int = 0  # that is under way
    epoch_samples: int = 0  # of its training
    step: int = 0  # updates in all
    samples: int = 0  # in all
    val: dict[str, float] = field(default_factory=dict)  # of the epoch; empty before validation
    losses: list[Tensor] = field(default_factory=list)  # of the epoch's steps, on the device
    norms: list[Tensor] = field(default_factory=list)  # of their gradients, on the device

    def next_epoch(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1
        self.epoch_samples = 0
        self.val, self.losses, self.norms = {}, [], []


@dataclass(frozen=True)
class State:
    """What state.ckpt holds."""

    epoch: int
    epoch_samples: int
    step: int
    samples: int
    val: dict[str, float]
    losses: Tensor  # (steps of the epoch so far, losses), all processes together
    norms: Tensor  # (steps of the epoch so far,)
    metrics: str  # the lines of metrics.jsonl so far
    best_epoch: int | None
    best_loss: float
    best_weights: Weights
    policy: Weights
    optimizer: dict[str, Any]
    format: int = _FORMAT

    def copied(self) -> "State":
        """A copy on the CPU that further training does not change."""
        values = vars(self) | {
            "policy": copy_weights(self.policy),
            "best_weights": to_cpu(self.best_weights),
            "optimizer": _copy_optimizer(self.optimizer),
        }
        return State(**values)

    @property
    def size_bytes(self) -> int:
        """What a copy takes."""
        moments = [value for slots in self.optimizer["state"].values() for value in slots.values()]
        return sum(tensor.nbytes for tensor in (*self.policy.values(), *moments))


_KINDS: dict[str, Any] = {
    "epoch": int, "epoch_samples": int, "step": int, "samples": int, "val": dict,
    "losses": Tensor, "norms": Tensor, "metrics": str, "best_epoch": int | None,
    "best_loss": float, "best_weights": dict, "policy": dict, "optimizer": dict,
}  # fmt: skip


def _copy_optimizer(state: Mapping[str, Any]) -> dict[str, Any]:
    slots = {
        number: {name: value.detach().to("cpu", copy=True) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {"state": slots, "param_groups": state["param_groups"]}


class Saver:
    """Writes the state of a run: beside training now and then, and at once when a run must end."""

    def __init__(self, folder: Path | None, interval_s: float) -> None:
        """folder: None on processes that write no files"""
        self._path = None if folder is None else folder / STATE
        self._interval_s = interval_s
        self._saved_at = time.monotonic()
        self._writing: threading.Thread | None = None
        self._error: Exception | None = None
        self._lock = threading.RLock()
        self._torn = False

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """What changes weights, optimizer, best and progress together: no state is of the middle.

        Nor is one of a change that did not come to its end.
        """
        with self._lock:
            self._torn = True
            yield
            self._torn = False

    @property
    def is_due(self) -> bool:
        """Whether the state should be saved; raises OutputError when the last time failed."""
        if self._path is None or (self._writing is not None and self._writing.is_alive()):
            return False
        self.wait()
        return time.monotonic() - self._saved_at >= self._interval_s

    def save(self, make: Callable[[], State], beside: bool) -> None:
        """Write a state; `beside`: by a thread while training goes on, if memory allows a copy."""
        if self._path is None:
            return
        with self._lock:
            self.wait()
            if self._torn:
                return
            state = make()
            if beside and 1.25 * state.size_bytes < free_memory_bytes():
                state = state.copied()
                self._writing = threading.Thread(target=self._write, args=(state,), name="state")
                self._writing.start()
            else:
                save(self._path, vars(state))
        self._saved_at = time.monotonic()

    def _write(self, state: State) -> None:
        assert self._path is not None
        try:
            save(self._path, vars(state))
        except Exception as error:  # MemoryError among them
            self._error = error

    def wait(self) -> None:
        """Wait for what is being written; raises what went wrong with it."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def settle(self) -> None:
        """Let what is being written, by whatever thread, come to its end."""
        with self._lock:
            self.wait()

    def remove(self) -> None:
        """Remove the state of a run that is finished."""
        self.wait()
        if self._path is not None:
            with output_errors(self._path):
                self._path.unlink(missing_ok=True)


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
            f"this run goes on from; make it readable",
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
    if not isinstance(values, dict) or set(values) != {f.name for f in fields(State)}:
        raise _damaged(path, "not what a state holds")
    if values["format"] != _FORMAT:
        raise OutputError(
            f"{path}: has format {values['format']!r}, expected {_FORMAT}; go on with the version "
            f"that wrote it, or choose another --run_name",
            code="checkpoint-unreadable",
        )
    state = State(**values)
    for name, kind in _KINDS.items():
        if not isinstance(getattr(state, name), kind):
            raise _damaged(path, f"{name} is a {type(getattr(state, name)).__name__}")
    counts = (state.epoch, state.epoch_samples, state.step, state.samples, state.best_epoch or 0)
    numbers = [state.best_loss, *state.val.values()]
    if min(counts) < 0 or not all(isinstance(number, float) for number in numbers):
        raise _damaged(path, "not the progress of a run")
    return state


@contextlib.contextmanager
def state_errors(folder: Path) -> Iterator[None]:
    """A state that was read, but does not fit its own run, is damaged."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise _damaged(folder / STATE, f"does not fit: {first_line(error)}") from error


def restored(
    state: State,
    policy: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Best,
    device: torch.device,
    counts: bool,
) -> Progress:
    """Bring policy, optimizer and best to where the state has them; returns how far that is.

    counts: whether this process adds what the epoch had lost so far to the sum over all
    """
    policy.load_state_dict(state.policy)
    optimizer.load_state_dict(state.optimizer)
    best.restore(state.best_epoch, state.best_loss, state.best_weights)
    losses = state.losses if counts else torch.zeros_like(state.losses)
    return Progress(
        state.epoch,
        state.epoch_samples,
        state.step,
        state.samples,
        state.val,
        list(losses.to(device)),
        list(state.norms.to(device)),
    )


def _damaged(path: Path, what: str) -> OutputError:
    return OutputError(
        f"{path}: damaged ({what}), expected the state that this run goes on from; move it away "
        f"to start the run over, or choose another --run_name",
        code="checkpoint-unreadable",
    )
