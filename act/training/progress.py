"""How far a run has come."""

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from act.processes.group import Group
from act.training.losses import stacked

_COUNTS = ("epoch", "epoch_samples", "step", "samples")


@dataclass
class Progress:
    """How far a run has come. It changes only when a step, a validation or an epoch is complete."""

    device: torch.device
    epoch: int = 0  # that is under way
    epoch_samples: int = 0  # of its training
    step: int = 0  # updates in all
    samples: int = 0  # in all
    val: dict[str, float] = field(default_factory=dict)  # of the epoch; empty before validation
    average: dict[str, float] = field(default_factory=dict)  # that of the averaged weights
    losses: list[Tensor] = field(default_factory=list)  # of the epoch's steps, on the device
    norms: list[Tensor] = field(default_factory=list)  # of their gradients, on the device
    stepped_at: float | None = None  # this job's last step, in seconds since 1970

    def add_step(self, samples: int, losses: Tensor, norm: Tensor) -> None:
        """Take a step of training that is done."""
        self.step += 1
        self.stepped_at = time.time()
        self.samples += samples
        self.epoch_samples += samples
        self.losses.append(losses)
        self.norms.append(norm)

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch += 1
        self.epoch_samples = 0
        self.val, self.average, self.losses, self.norms = {}, {}, [], []

    def gather_losses(self, group: Group) -> None:
        """Give the first process the losses of all; their sum over the processes stays.

        So that its state has them. Every process has to do so at the same step.
        """
        if group.size > 1:
            losses = group.sum(stacked(self.losses))
            self.losses = list(losses if group.is_first else torch.zeros_like(losses))

    def keep_losses(self, group: Group) -> None:
        """Drop on all but the first process the losses that a state has of all of them."""
        if not group.is_first:
            self.losses = [torch.zeros_like(losses) for losses in self.losses]

    def state_dict(self) -> dict[str, Any]:
        """The counts, and the epoch so far."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        losses, norms = stacked(self.losses).cpu(), stacked(self.norms).cpu()
        validated = {"val": dict(self.val), "average": dict(self.average)}
        return counts | validated | {"losses": losses, "norms": norms}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Be as far as another; raises ValueError for what no run has come to."""
        counts = {name: state_dict[name] for name in _COUNTS}
        val, losses, norms = state_dict["val"], state_dict["losses"], state_dict["norms"]
        if not all(isinstance(count, int) and count >= 0 for count in counts.values()):
            raise ValueError(f"not the progress of a run: {counts}")
        average = state_dict.get("average", {})  # a state from before there were averages
        for one in (val, average):
            if not isinstance(one, dict) or not all(isinstance(x, float) for x in one.values()):
                raise ValueError("validation losses that are no numbers")
        if not isinstance(losses, Tensor) or not isinstance(norms, Tensor):
            raise ValueError("losses that are no tensors")
        for name, count in counts.items():
            setattr(self, name, count)
        self.val, self.average = val, average
        self.losses, self.norms = list(losses.to(self.device)), list(norms.to(self.device))
