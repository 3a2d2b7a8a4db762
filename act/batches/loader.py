"""Batches from episode files, made by threads ahead of training.

No shared memory, no loader process, no restart per epoch: Docker's 64 MB of /dev/shm is enough, and
while an epoch ends the first batches of the next one are in the making.
B batch, C cameras, H and W pixels.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, cycle
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from act.batches.batch import Batch
from act.batches.device_frames import DeviceFrames
from act.batches.device_jpegs import DeviceJpegs
from act.batches.order import Order
from act.batches.sampler import Part, Sampler
from act.batches.vectors import VectorStore
from episodes.arrays import FloatArray
from episodes.frame_cache import FrameCache
from episodes.frames import FrameSource, open_frames

AHEAD = 1  # batches that wait, besides those in the making: more would fall out of the caches


@dataclass(frozen=True)
class Pass:
    """One pass over the episodes of one side of the split."""

    epoch: int
    train: bool
    done: int = 0  # samples of it that a run before had computed


def passes(epochs: int, first: int = 0, validated: bool = False, done: int = 0) -> Iterator[Pass]:
    """Upstream's order: each epoch is validated, then trained.

    first: the epoch to go on with, `validated` and with `done` samples trained on
    """
    for epoch in range(first, epochs):
        begun = epoch == first
        if not (begun and validated):
            yield Pass(epoch, train=False)
        yield Pass(epoch, train=True, done=done if begun else 0)


class _Buffer:
    """Memory for the images of a batch, used again and again; pinned where a GPU copies from it."""

    def __init__(self, shape: tuple[int, ...], pinned: bool) -> None:
        self._shape = shape
        self._pinned = pinned
        self._memory = torch.empty(0, *shape, dtype=torch.uint8)
        self.copied: torch.cuda.Event | None = None  # when the GPU has read what is in it

    def take(self, count: int) -> Tensor:
        """(count, C, H, W, 3), to be overwritten."""
        if self.copied is not None:
            self.copied.synchronize()
        if len(self._memory) < count:
            size = (count, *self._shape)
            if self._pinned:
                self._memory = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            else:  # numpy asks for huge pages, which are faster to fill
                self._memory = torch.from_numpy(np.empty(size, np.uint8))
        return self._memory[:count]


class Loader:
    """The batches of a run, on its device, pass by pass."""

    def __init__(
        self,
        sampler: Sampler,
        stats: dict[str, FloatArray],
        todo: Iterable[tuple[Pass, Sequence[int]]],
        *,
        threads: int,
        device: torch.device,
        cached: bool = False,
        decodes_jpegs: bool = False,
        kept: FrameCache | None = None,
    ) -> None:
        """todo: the passes in order and the episodes of each

        cached: keep frames on the device; decodes_jpegs: the device decodes them
        kept: where frames that are decoded from videos stay
        """
        self._device = device
        self._vectors = VectorStore(sampler.episodes, stats, sampler.chunk_size)
        self._frames = open_frames(sampler.episodes, kept)
        self._device_frames = _device_frames(self._frames, sampler, device, cached, decodes_jpegs)
        self._todo = chain.from_iterable(
            ((one, part) for part in sampler.parts(chosen, one.epoch, one.train, one.done))
            for one, chosen in todo
        )
        on_gpu = device.type == "cuda"
        self._makers = ThreadPoolExecutor(
            threads, "batch", *((torch.cuda.set_device, (device,)) if on_gpu else ())
        )
        self._making: deque[tuple[Pass, _Buffer, Future[Batch]]] = deque()
        self._ahead = threads + AHEAD
        self._buffers = cycle([_Buffer(self._frames.shape, on_gpu) for _ in range(self._ahead + 1)])
        self._copies = torch.cuda.Stream(device) if on_gpu else None
        if self._copies is not None:  # the frames of the cache are written on the other one
            self._copies.wait_stream(torch.cuda.current_stream(device))

    def batches(self, wanted: Pass) -> Iterator[Batch]:
        """The batches of the next pass, which must be the one that is wanted."""
        while True:
            self._fill()
            if not self._making or self._making[0][0] != wanted:
                return
            _, buffer, future = self._making.popleft()
            yield self._taken(future.result(), buffer)

    def _fill(self) -> None:
        while len(self._making) < self._ahead:
            following = next(self._todo, None)
            if following is None:
                return
            one, part = following
            buffer = next(self._buffers)
            self._making.append((one, buffer, self._makers.submit(self._make, part, buffer)))

    def _taken(self, batch: Batch, buffer: "_Buffer") -> Batch:
        """A batch whose copies the device's computations wait for; the host does not."""
        if buffer.copied is not None:
            here = torch.cuda.current_stream(self._device)
            here.wait_event(buffer.copied)
            for value in vars(batch).values():
                if isinstance(value, Tensor):
                    value.record_stream(here)
        return batch

    def _on_device(self, batch: Batch, buffer: "_Buffer") -> Batch:
        """Move a batch as soon as it is made, while the GPU computes steps before.

        By the thread that made it: the main one may stand at the end of an epoch, which with a few
        steps each would be the time to copy in; and what is not pinned makes its copier wait.
        """
        if self._copies is None:
            return replace(batch, image=self._image_there(batch, batch.image))
        with torch.cuda.stream(self._copies):
            moved: dict[str, Any] = {
                name: value.to(self._device, non_blocking=True)
                for name, value in vars(batch).items()
                if isinstance(value, Tensor)
            }
            moved["image"] = self._image_there(batch, moved["image"])
            buffer.copied = self._copies.record_event()
        return replace(batch, **moved)

    def _image_there(self, batch: Batch, image: Tensor) -> Tensor:
        """The frames on the device, which it may have, or decode, by itself."""
        return image if self._device_frames is None else self._device_frames.gather(batch.order)

    def _make(self, part: Part, buffer: "_Buffer") -> Batch:
        order = part.order
        vectors = self._vectors.gather(order)
        batch = Batch(
            order=order,
            image=self._image(order, buffer),
            qpos=torch.from_numpy(vectors.qpos),
            action=torch.from_numpy(vectors.action),
            is_pad=torch.from_numpy(vectors.is_pad),
            eps=torch.from_numpy(part.eps),
            loss_weights=torch.from_numpy(part.loss_weights),
            augment=_tensor(part.augment),
            env_state=_tensor(vectors.env_state),
            step_samples=part.step_samples,
            ends_step=part.ends_step,
        )
        return self._on_device(batch, buffer)

    def _image(self, order: Order, buffer: "_Buffer") -> Tensor:
        """The frames of the samples; none where the device gets them by itself."""
        if self._device_frames is not None:
            return torch.empty(0, dtype=torch.uint8)
        image = buffer.take(len(order.episode))
        self._frames.copy_into(order.episode, order.start_ts, image.numpy())
        return image

    def close(self) -> None:
        """End the threads."""
        self._makers.shutdown(cancel_futures=True)
        self._frames.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _device_frames(
    source: FrameSource,
    sampler: Sampler,
    device: torch.device,
    cached: bool,
    decodes_jpegs: bool,
) -> DeviceFrames | DeviceJpegs | None:
    """What gives the frames on the device; None: they are copied there with each batch."""
    jpegs = DeviceJpegs(source, device) if decodes_jpegs else None
    if not cached:
        return jpegs
    lengths = sampler.episodes.lengths
    return DeviceFrames(source, lengths, device, None if jpegs is None else jpegs.gather)


def _tensor(values: FloatArray | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(values)
