"""The average of the weights over the steps so far, kept beside training: `--ema`.

Not upstream's, and off by default. A step weighs less the older it is, by one of two schedules:
power, decay 1 - (1 + t)^-0.75 at step t, as LeRobot and diffusers have it, which forgets the start
by itself; or a constant decay d, whose mean is over the steps so far alone: d^n of the weights that
a run begins with is taken out, as Adam does of its moments. Frozen norms, and layers that are not
computed, are not averaged: they are those of the last step.
"""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from act.batches.batch import Samples
from act.policies.weights import Weights, copy_weights
from act.processes.data_parallel import Computation

POWER = 0.75
_EACH_STEP = 100  # the first steps change the most
_EVERY = 10  # steps from then on: of a small network each would take 5 % of the time


class Average:
    """The averaged weights of a policy, updated after each step of its training."""

    def __init__(self, computation: Computation, ema: str) -> None:
        """computation: the policy's losses; ema: `power`, or a decay between 0 and 1"""
        self._computation = computation
        trained = computation.policy.trained_parameters()
        self._parameters = {name: one.detach() for name, one in trained.items()}
        self._decay = None if ema == "power" else float(ema)
        self._step = 0  # of the last update
        self.parameters: Weights = {name: one.clone() for name, one in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights as they are after so many steps of training, when it is time."""
        if step > _EACH_STEP and step - self._step < _EVERY:
            return
        share = self._share(step, step - self._step)
        torch._foreach_lerp_([*self.parameters.values()], [*self._parameters.values()], share)
        self._step = step

    def _share(self, step: int, steps: int) -> float:
        """What the newest weights count, which stand for so many steps."""
        if self._decay is None:
            return 1 - (1 - step**-POWER) ** steps
        return (1 - self._decay**steps) / (1 - self._decay**step)

    def weights(self) -> Weights:
        """The whole state dict with the averaged weights in it, a copy on the CPU."""
        return copy_weights(self._computation.policy.state_dict() | self.parameters)

    def losses(self, batch: Samples) -> dict[str, Tensor]:
        """What the samples add to the losses of the averaged weights."""
        averaged = {f"policy.{name}": one for name, one in self.parameters.items()}
        found: dict[str, Tensor] = functional_call(self._computation, averaged, (batch,))
        return found

    def state_dict(self) -> dict[str, Any]:
        """The average so far."""
        return {"step": self._step, "parameters": dict(self.parameters)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the average of an earlier job; raises ValueError for one of other weights."""
        step, parameters = state_dict["step"], state_dict["parameters"]
        if not isinstance(step, int) or set(parameters) != set(self.parameters):
            raise ValueError("averages of other weights")
        self._step = step
        for name, one in self.parameters.items():
            one.copy_(parameters[name])  # into its own order in memory
