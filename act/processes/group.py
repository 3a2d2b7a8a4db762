"""The processes of one training run: torch.distributed under torchrun, or one process alone.

Gradients are averaged by DistributedDataParallel; what else the processes must agree on is here.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from job import signals
from job.errors import Interrupted, first_line
from job.ranks import in_group

_TICK_S = 0.5
T = TypeVar("T")
_SIGNS_OF_LOSS = (
    *("gloo", "NCCL", "Connection", "Timed out", "Socket", "TCPStore"),
    "Application timeout caused pair closure",  # gloo's, where a process does not answer
)


class Ask(IntEnum):
    """What the processes agree to do; the greatest wish of any of them."""

    NOTHING = 0
    SAVE = 1
    STOP = 2


@dataclass
class Group:
    """This process and how many there are; `Group()` is one alone."""

    rank: int = 0
    size: int = 1
    # A process must not stop alone: the others would wait for it. So each step begins with a vote
    # whose result is looked at one step later, when it has long arrived.
    _votes: Any = None
    _talk: Any = None
    _vote: Tensor = field(default_factory=lambda: torch.zeros(1))
    _pending: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.rank == 0

    def poll(self, wants_save: bool = False) -> "Ask":
        """What every process is to do now, the same on all at the same step.

        wants_save: this process would have the state saved
        """
        asked = Ask.STOP if signals.reason() else Ask.SAVE if wants_save else Ask.NOTHING
        if self.size == 1:
            return asked
        found = Ask.NOTHING
        if self._pending is not None:
            self._pending.wait()
            found = Ask(int(self._vote.item()))
        self._vote.fill_(asked)
        self._pending = dist.all_reduce(
            self._vote, dist.ReduceOp.MAX, group=self._votes, async_op=True
        )
        return found

    def interruption(self) -> Interrupted:
        """Why the processes end, to be raised when the state is saved."""
        why = signals.reason() or "another process got a signal"
        return Interrupted(f"{why}; run the same command again", code="interrupted")

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, the same everywhere."""
        if self.size > 1 and values.numel():
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier(group=self._talk)

    def each(self, work: Callable[[], T]) -> T:
        """Do `work`, which may take hours on some process and nothing on others; wait for all.

        Meanwhile each process shows the others that it is there, so a lost one is noticed.
        """
        if self.size == 1:
            return work()
        ticks = _Ticks(self._talk)
        try:
            result = work()
            ticks.is_done = True
            ticks.wake.set()
            while not ticks.ended.wait(_TICK_S):
                signals.check()
        except BaseException as error:
            ticks.leave()
            if ticks.lost and isinstance(error, Interrupted):  # which asked for the interruption
                raise ticks.lost[0] from None
            raise
        if ticks.lost:
            raise ticks.lost[0]
        if ticks.another_left:
            signals.check()
        return result

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the values of the first one's tensors, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def from_first(self, value: T) -> T:
        """What the first process has."""
        if self.size == 1:
            return value
        shared = [value]
        dist.broadcast_object_list(shared, src=0, group=self._talk)
        return shared[0]


class _Ticks:
    """A thread that tells the other processes twice a second that this one is there.

    It ends when all have done their work, or when one leaves before, on all at the same tick: a
    thread that still waits in torch when Python ends would end the process with an abort.
    """

    def __init__(self, group: Any) -> None:
        self._group = group
        self.is_done = False  # the work of this process
        self._leaves = self.another_left = False
        self.wake, self.ended = threading.Event(), threading.Event()
        self.lost: list[RuntimeError] = []  # what was wrong with the others
        self._thread = threading.Thread(target=self._tick, name="tick", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Leave before all are done; a signal's grace ends the wait for one that stands still."""
        self._leaves = True
        self.wake.set()
        self._thread.join()

    def _tick(self) -> None:
        all_done = False
        try:
            while not (all_done or self.another_left):
                self.wake.wait(_TICK_S)
                flags = torch.tensor([self.is_done, not self._leaves], dtype=torch.uint8)
                dist.all_reduce(flags, dist.ReduceOp.MIN, group=self._group)
                all_done, all_stay = map(bool, flags)
                if not all_stay:
                    self.another_left = True
                    signals.request("another process of this run has ended")
        except RuntimeError as error:
            self.lost.append(error)
            signals.request("another process was lost")  # or it would be noticed hours later
        self.ended.set()


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
        talk = dist.new_group(backend="gloo", timeout=wait)
        yield Group(dist.get_rank(), dist.get_world_size(), votes, talk)
        dist.destroy_process_group()
    except BaseException as error:
        if on_gpu:  # closing in order would wait for what a lost process never sends
            with contextlib.suppress(Exception):
                dist.distributed_c10d._abort_process_group()
        if not isinstance(error, RuntimeError) or not is_lost(error):
            raise
        if signals.from_outside():  # all of them get it, and some end earlier than others
            signals.check()
        raise Interrupted(
            f"a process of this run was lost, or did not answer for {timeout_s} s "
            f"({first_line(error)}); run the same command again",
            code="process-lost",
        ) from error


def is_lost(error: BaseException) -> bool:
    """Whether an error of torch means that another process is gone or stands still."""
    text = str(error)
    lacking = "built in" in text  # a torch without NCCL would lack it the next time too
    signs = any(sign in text for sign in _SIGNS_OF_LOSS)
    return isinstance(error, dist.DistError) or (signs and not lacking)
