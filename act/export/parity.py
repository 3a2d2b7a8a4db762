"""How far the actions of an export are from those of its checkpoint.

K chunk   A action dims
"""

from dataclasses import dataclass

import numpy as np

from act.export.observations import Observations
from act.load.backend import Backend
from act.load.own_dims import own, own_dims
from episodes.arrays import FloatArray
from job import signals
from job.errors import UsageError
from job.sections.contract import Contract
from job.sections.export import DimError, NumberFormat, Parity

FP32_BOUND_IN_STD = 1e-4


@dataclass(frozen=True)
class Reference:
    """The checkpoint's actions on the observations, in the dataset's dims and units."""

    observations: Observations
    actions: list[FloatArray]  # each (K, A)
    computed_by: str


def reference_actions(
    contract: Contract, observations: Observations, backend: Backend, computed_by: str
) -> Reference:
    """What the checkpoint predicts for each of the observations."""
    return Reference(observations, actions_of(contract, observations, backend), computed_by)


def actions_of(
    contract: Contract, observations: Observations, backend: Backend
) -> list[FloatArray]:
    """What a backend of the policy's dims predicts: each (K, A) of the dataset's own dims."""
    found = []
    for one in observations.make():
        signals.check()
        found.append(one.actions_of(backend)[0][:, own(contract.action)])
    return found


def compared(
    contract: Contract,
    reference: Reference,
    actions: list[FloatArray],
    ran_in: str,
    *,
    number_format: NumberFormat = "fp32",
    bound: float = FP32_BOUND_IN_STD,
) -> Parity:
    """The errors of an export's actions, each (K, A).

    bound: standard deviations of a dim; raises UsageError where an error is larger
    """
    error = np.abs(np.stack(actions).astype(np.float64) - np.stack(reference.actions))
    error = error.reshape(-1, error.shape[-1])
    named = own_dims(contract.action)
    stds = contract.statistics.action_std[: len(named)]
    largest, mean = error.max(axis=0), error.mean(axis=0)
    in_std = largest / stds
    worst = int(np.argmax(np.where(np.isnan(in_std), np.inf, in_std)))
    if not in_std[worst] <= bound:  # NaN is not
        raise UsageError(
            f"the actions of the {number_format} export ({ran_in}) differ by up to "
            f"{largest[worst]:.3g} from the checkpoint's in {named[worst].name or f'dim {worst}'}, "
            f"{in_std[worst]:.3g} of its standard deviation, expected at most {bound:g}; "
            + _remedy(number_format),
            code="export-inexact",
        )
    return Parity(
        number_format=number_format,
        ran_in=ran_in,
        compared_with=reference.computed_by,
        observations=len(actions),
        source=reference.observations.source,
        seed=reference.observations.seed,
        largest=float(largest.max()),
        mean=float(mean.mean()),
        largest_in_std=float(in_std[worst]),
        bound_in_std=bound,
        dims=[
            DimError(name=dim.name, largest=float(most), mean=float(usual), std=std)
            for dim, most, usual, std in zip(named, largest, mean, stds, strict=True)
        ],
    )


def _remedy(number_format: str) -> str:
    if number_format == "fp32":
        return "please report this, with the versions of torch and of what ran it"
    return "export it as fp32, or allow more with --max_error"
