"""The losses of a pass over the episodes, and the norms of its gradients, as one reads them."""

import math
from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

from act.batches.batch import Batch
from act.batches.order import Order
from act.processes.group import Group
from episodes.episode_set import Episodes
from job.errors import DivergedError


class LossRecord:
    """The losses of a pass, kept on the device: they are read once, when it has ended.

    So a loss that is not finite is noticed up to an epoch late, before any weights are saved of it.
    """

    def __init__(
        self,
        phase: str,
        group: Group,
        episodes: Episodes,
        names: Sequence[str],
        before: Sequence[Tensor] = (),
    ) -> None:
        """names: of the losses; before: those of the steps that an earlier job did of the pass"""
        self._phase = phase
        self._group = group
        self._episodes = episodes
        self._names = tuple(names)
        self._steps = list(before)
        self._orders: list[Order | None] = [None] * len(self._steps)
        self._continues = False

    def add(self, batch: Batch, losses: dict[str, Tensor]) -> None:
        """Take what a part adds to the losses of its step."""
        values = torch.stack(tuple(losses.values()))
        if self._continues:
            self._steps[-1] = self._steps[-1] + values
        else:
            self._steps.append(values)
            self._orders.append(batch.order)
        self._continues = not batch.ends_step

    @property
    def last(self) -> Tensor:
        """The losses of the last step."""
        return self._steps[-1]

    def means(self) -> dict[str, float]:
        """Upstream's mean: of the batches' means, a smaller last batch counting like the others."""
        values = self.check()
        return dict(zip(self._names, values.mean(dim=0).tolist(), strict=True))

    def check(self) -> Tensor:
        """The losses of the steps, all processes together; raises DivergedError."""
        values = self._group.sum(stacked(self._steps)).cpu()
        for step, losses in enumerate(values):
            if not torch.isfinite(losses).all():
                self._refuse(step, losses)
        return values

    def _refuse(self, step: int, losses: Tensor) -> NoReturn:
        shown = ", ".join(
            f"{name} {value:g}" for name, value in zip(self._names, losses.tolist(), strict=True)
        )
        order = self._orders[step]
        episodes = sorted(set(order.episode.tolist())) if order is not None else []
        names = ", ".join(self._episodes.infos[e].path.name for e in episodes)
        raise DivergedError(
            f"{self._phase}, batch {step}: {shown}, expected finite losses; look at its episodes "
            f"({names or 'of an earlier job'}), or lower --learning_rate; the checkpoints written "
            f"before are intact",
            code="diverged",
        )


def mean_norm(norms: Sequence[Tensor], epoch: int) -> float:
    """The mean norm of an epoch's gradients; raises DivergedError when it is not finite."""
    norm = float(torch.stack(tuple(norms)).mean())
    if not math.isfinite(norm):
        raise DivergedError(
            f"training of epoch {epoch}: the gradient's norm is {norm}, expected a finite one; "
            f"lower --learning_rate or set --grad_clip; the checkpoints written before are intact",
            code="diverged",
        )
    return norm


def stacked(values: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape as one, also when there are none."""
    return torch.stack(tuple(values)) if values else torch.zeros(0)


def are_finite(values: Sequence[Tensor]) -> bool:
    """Whether every number in the tensors is finite."""
    return bool(torch.isfinite(stacked(values)).all())
