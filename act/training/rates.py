"""Rates of success that are measured while a run trains, by whatever can execute its policy.

A rate changes no weights. It ends a run where it has not risen for long, so the rates so far are a
part of the state: a run that is resumed ends where an undisturbed one does. What measures has to
give the same rate for the same weights: a simulation from fixed initial states.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from act.policies.policy import Policy

logger = logging.getLogger("act")

# Takes the policy and the epoch that it was trained to; gives the share of successes, 0 to 1
Measure = Callable[[Policy, int], float]


@dataclass(frozen=True)
class Measuring:
    """How a rate is measured, and what follows from it."""

    measure: Measure
    every: int  # epochs
    patience: int = 0  # rates without a higher one that end the run; 0: any number
    check: Callable[[], None] | None = None  # called once the contract is there; may refuse


class Rates:
    """The rates so far, of epochs that are complete."""

    def __init__(self, measuring: Measuring) -> None:
        self._measuring = measuring
        self.of_epoch: dict[int, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """All of them."""
        return {"of_epoch": dict(self.of_epoch)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take those of an earlier job; raises ValueError for what is none."""
        found = state_dict["of_epoch"]
        if not all(isinstance(e, int) and isinstance(rate, float) for e, rate in found.items()):
            raise ValueError("rates that are no numbers")
        self.of_epoch = dict(found)

    def measured(self, policy: Policy, epoch: int, is_first: bool) -> float | None:
        """The rate after an epoch, by the first process; None where it is not its turn."""
        if (epoch + 1) % self._measuring.every or not is_first:
            return None
        was_training = policy.training
        policy.eval()
        try:
            return float(self._measuring.measure(policy, epoch))
        finally:
            policy.train(was_training)

    def add(self, epoch: int, rate: float | None) -> None:
        """Keep a rate."""
        if rate is not None:
            self.of_epoch[epoch] = rate

    @property
    def has_not_risen(self) -> bool:
        """Whether the run is to end, as the last rates are not above the best one before."""
        patience, rates = self._measuring.patience, list(self.of_epoch.values())
        if not patience or len(rates) <= patience:
            return False
        stuck = max(rates[-patience:]) <= max(rates[:-patience])
        if stuck:
            logger.info("plateau     no higher rate of success in the last %d", patience)
        return stuck
