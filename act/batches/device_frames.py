"""All frames of a run in the device's memory.

B batch   C cameras   H, W pixels
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from act.batches.order import Order
from episodes.arrays import Frame
from episodes.episode_set import Episodes
from episodes.frames import FrameSource
from job.machine import cores_each

_CACHE_SHARE = 0.5  # of the GPU's free memory, for --data_cache auto


class DeviceFrames:
    """Every frame in the device's memory as uint8; a batch is gathered there."""

    def __init__(
        self,
        source: FrameSource,
        lengths: list[int],
        device: torch.device,
        decode: Callable[[Order], Tensor] | None = None,
    ) -> None:
        """Read all frames, episode by episode; decode: what gives them in place of the source."""
        self._firsts = np.cumsum([0, *lengths])
        self._frames = torch.empty((sum(lengths), *source.shape), dtype=torch.uint8, device=device)

        parts = list(_episode_parts(lengths))
        if decode is not None:
            for first, part in parts:
                frames = decode(part)
                self._frames[first : first + len(frames)] = frames
                _finish(device)  # its memory may be written to afterwards
            return

        def read(part: Order) -> Frame:
            host = np.empty((len(part.episode), *source.shape), np.uint8)
            source.copy_into(part.episode, part.start_ts, host)
            return host

        threads = cores_each()  # a JPEG takes milliseconds
        with ThreadPoolExecutor(threads) as pool:
            for at in range(0, len(parts), threads):  # the host's memory holds no more than these
                some = parts[at : at + threads]
                hosts = pool.map(read, [part for _, part in some])
                for (first, _), host in zip(some, hosts, strict=True):
                    self._frames[first : first + len(host)] = torch.from_numpy(host).to(device)

    def gather(self, order: Order) -> Tensor:
        """The images of some samples: (B, C, H, W, 3) uint8, on the device."""
        rows = torch.from_numpy(self._firsts[order.episode] + order.start_ts)
        return self._frames[rows.to(self._frames.device, non_blocking=True)]


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _episode_parts(lengths: list[int], most: int = 64) -> Iterator[tuple[int, Order]]:
    first = 0
    for episode, length in enumerate(lengths):
        for start in range(0, length, most):
            ts = np.arange(start, min(start + most, length))
            yield first + start, Order(np.full(len(ts), episode), ts)
        first += length


def fits_device(episodes: Episodes, device: torch.device) -> bool:
    """Whether there are frames, and all take less than half of the GPU's free memory."""
    if device.type != "cuda" or not episodes.camera_names:
        return False
    height, width = episodes.image_size
    sample_bytes = len(episodes.camera_names) * height * width * 3
    free, _ = torch.cuda.mem_get_info(device)
    return sum(episodes.lengths) * sample_bytes <= _CACHE_SHARE * free
