"""Batches from episode files: frames copied by threads, ahead of training.

No shared memory, no loader process, no restart per epoch: Docker's 64 MB of /dev/shm is enough.
B batch, C cameras, H and W pixels.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import h5py
import numpy as np
import torch
from torch import Tensor

from act.dataset import Episodes, Order, Purpose, batch_vectors, epoch_order, rng
from act.episode import FloatArray, Frame, open_episode
from act.jpeg import decode_jpeg

AHEAD = 2  # batches in the making while one is trained on


@dataclass(frozen=True)
class Batch:
    """What one step needs. `order` says which episodes and time steps it is made of."""

    order: Order
    image: Tensor  # (B, C, H, W, 3) uint8
    qpos: Tensor  # (B, Q)
    action: Tensor  # (B, K, A)
    is_pad: Tensor  # (B, K)
    eps: Tensor  # (B, latent) for the latent sample

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        if device.type == "cpu":
            return self
        tensors = (self.image, self.qpos, self.action, self.is_pad, self.eps)
        moved = (tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors)
        return Batch(self.order, *moved)


class FrameStore:
    """Frames by episode, camera and time step, mapped from the episode files where they can be.

    Raw frames are (T, H, W, 3), compressed ones JPEG rows (T, L), decoded here.
    """

    def __init__(self, episodes: Episodes) -> None:
        self._episodes = episodes
        self._maps = {
            (e, camera): _map_frames(info.path, camera)
            for e, info in enumerate(episodes.infos)
            for camera in episodes.camera_names
        }

    def copy_frame(self, episode: int, camera: str, ts: int, out: Frame) -> None:
        """Copy one frame into `out` (H, W, 3)."""
        info, rows = self._episodes.infos[episode], self._maps[episode, camera]
        if rows is None:
            with open_episode(info.path) as file:
                frame = file[f"observations/images/{camera}"][ts]
        else:
            frame = rows[ts]
        if info.compressed:
            frame = decode_jpeg(frame, f"{info.path}: frame {ts} of {camera}")
        out[:] = frame


def _map_frames(path: Path, camera: str) -> Frame | None:
    """The frames as a map of the file, or None when they are chunked (as upstream writes them)."""
    with open_episode(path) as file:
        images: h5py.Dataset = file[f"observations/images/{camera}"]
        offset = images.id.get_offset()
        if images.chunks is not None or offset is None or images.dtype != np.uint8:
            return None
        return np.memmap(path, np.uint8, "r", offset, images.shape)


class Loader:
    """Batches of an epoch, in an order that depends on (seed, epoch) alone."""

    def __init__(
        self,
        episodes: Episodes,
        stats: dict[str, FloatArray],
        *,
        chunk_size: int,
        latent_dim: int,
        batch_size: int,
        seed: int,
        threads: int,
    ) -> None:
        self._episodes = episodes
        self._stats = stats
        self._chunk_size = chunk_size
        self._latent_dim = latent_dim
        self._batch_size = batch_size
        self._seed = seed
        self._frames = FrameStore(episodes)
        self._makers = ThreadPoolExecutor(AHEAD, "batch")
        self._copiers = ThreadPoolExecutor(threads, "frames")

    def batches(self, chosen: Sequence[int], epoch: int, train: bool) -> Iterator[Batch]:
        """The batches of one epoch over the chosen episodes."""
        purposes = (
            (Purpose.TRAIN_ORDER, Purpose.TRAIN_LATENT)
            if train
            else (Purpose.VAL_ORDER, Purpose.VAL_LATENT)
        )
        order = epoch_order(chosen, self._episodes.lengths, self._seed, epoch, purposes[0])
        latents = rng(self._seed, epoch, purposes[1])
        eps = latents.standard_normal((len(order.episode), self._latent_dim), np.float32)
        parts = order.batches(self._batch_size)
        noise = (eps[i : i + self._batch_size] for i in range(0, len(eps), self._batch_size))
        yield from self._ahead(zip(parts, noise, strict=True))

    def _ahead(self, todo: Iterator[tuple[Order, FloatArray]]) -> Iterator[Batch]:
        making: deque[Future[Batch]] = deque()
        for order, eps in todo:
            making.append(self._makers.submit(self._make, order, eps))
            if len(making) > AHEAD:
                yield making.popleft().result()
        while making:
            yield making.popleft().result()

    def _make(self, order: Order, eps: FloatArray) -> Batch:
        vectors = batch_vectors(self._episodes, self._stats, order, self._chunk_size)
        return Batch(
            order,
            torch.from_numpy(self._images(order)),
            torch.from_numpy(vectors.qpos),
            torch.from_numpy(vectors.action),
            torch.from_numpy(vectors.is_pad),
            torch.from_numpy(eps),
        )

    def _images(self, order: Order) -> Frame:
        cameras = self._episodes.camera_names
        shape = (len(order.episode), len(cameras), *self._episodes.image_size, 3)
        images = np.empty(shape, np.uint8)
        copies = [
            self._copiers.submit(
                self._frames.copy_frame, int(episode), camera, int(ts), images[b, c]
            )
            for b, (episode, ts) in enumerate(zip(order.episode, order.start_ts, strict=True))
            for c, camera in enumerate(cameras)
        ]
        for copy in copies:
            copy.result()
        return images

    def close(self) -> None:
        """End the threads."""
        self._makers.shutdown(cancel_futures=True)
        self._copiers.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
