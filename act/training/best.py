"""The weights with the lowest validation loss."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from act.policies.weights import Weights, save_weights, to_cpu
from job.whole_files import Note, whole_copy

BEST_INTERVAL_S = 60.0


class Best:
    """The weights with the lowest validation loss, on disk soon after each improvement.

    At most one write a minute in a long run; a copy in memory waits until then, so the last file
    is the best one however the improvements fall. Without a path it only remembers which it was.
    """

    def __init__(
        self, path: Path | None, interval_s: float = BEST_INTERVAL_S, note: Note | None = None
    ) -> None:
        """note: who is told the name and SHA-256 of each file before it gets the name"""
        self._path = path
        self._note = note
        self._interval_s = interval_s
        self._written_at = -math.inf
        self._waits = False
        self.epoch: int | None = None
        self.loss = math.inf
        self.weights: Weights = {}

    def state_dict(self) -> dict[str, Any]:
        """Which epoch is the best, and its weights."""
        return {"epoch": self.epoch, "loss": self.loss, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best of an earlier job; its file may be of a later epoch. Raises ValueError."""
        epoch, loss, weights = (state_dict[name] for name in ("epoch", "loss", "weights"))
        if not (epoch is None or (isinstance(epoch, int) and epoch >= 0)):
            raise ValueError(f"the best epoch is {epoch!r}")
        if not isinstance(loss, float) or not isinstance(weights, dict):
            raise ValueError("a best loss or weights of another kind")
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
            save_weights(self._path, to_cpu(self.weights), self._note)
            self._waits = False
            self._written_at = time.monotonic()

    def copy_to(self, path: Path) -> None:
        """Put the best weights under upstream's name for their epoch as well."""
        self.flush()
        assert self._path is not None
        whole_copy(self._path, path, self._note)
