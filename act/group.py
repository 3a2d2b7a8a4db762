"""The processes of one training run: torch.distributed under torchrun, or one process alone.

Gradients are averaged by DistributedDataParallel; what else the processes must agree on is here.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from act import stop
from act.errors import Interrupted
from act.launch import in_group

_PATIENCE = timedelta(days=7)  # for those who wait while the first converts
_SIGNS_OF_LOSS = ("gloo", "NCCL", "Connection", "Timed out", "Socket", "TCPStore")


@dataclass
class Group:
    """This process and how many there are; `Group()` is one alone."""

    rank: int = 0
    size: int = 1
    # A process must not stop alone: the others would wait for it. So each step ends with a vote
    # whose result is looked at one step later, when it has long arrived.
    _votes: Any = None
    _patient: Any = None
    _vote: Tensor = field(default_factory=lambda: torch.zeros(1))
    _pending: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    def check_stop(self) -> None:
        """Raise Interrupted on every process at the same step when one of them got a signal."""
        if self.size == 1:
            stop.check()
            return
        if self._pending is not None:
            self._pending.wait()
            if self._vote.item():
                stop.check()
                raise Interrupted("another process got a signal; the same command runs it again")
        self._vote.fill_(float(stop.requested()))
        self._pending = dist.all_reduce(
            self._vote, dist.ReduceOp.MAX, group=self._votes, async_op=True
        )

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, the same everywhere."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until every process is here, also for hours."""
        if self.size > 1:
            dist.barrier(group=self._patient)

    def from_first(self, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        """What the first process has."""
        if self.size == 1:
            return paths
        shared = [paths]
        dist.broadcast_object_list(shared, src=0, group=self._patient)
        return shared[0]


@contextlib.contextmanager
def joined_group(device: torch.device, timeout_s: int) -> Iterator[Group]:
    """Join the processes that torchrun started, for as long as the context lasts.

    Raises Interrupted when one of them is lost or does not answer for `timeout_s`.
    """
    if not in_group():
        yield Group()
        return
    wait = timedelta(seconds=timeout_s)
    on_gpu = device.type == "cuda"
    try:
        dist.init_process_group(
            "nccl" if on_gpu else "gloo", timeout=wait, device_id=device if on_gpu else None
        )
        votes = dist.new_group(backend="gloo", timeout=wait)
        patient = dist.new_group(backend="gloo", timeout=_PATIENCE)
        yield Group(dist.get_rank(), dist.get_world_size(), votes, patient)
    except RuntimeError as error:
        if not is_lost(error):
            raise
        raise Interrupted(
            f"a process of this run was lost, or did not answer for {timeout_s} s "
            f"({str(error).strip().splitlines()[0]}); the same command runs it again"
        ) from error
    finally:
        with contextlib.suppress(Exception):  # nothing to close where a peer is gone
            dist.destroy_process_group()


def is_lost(error: BaseException) -> bool:
    """Whether an error of torch means that another process is gone or stands still."""
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in _SIGNS_OF_LOSS)
