"""JPEG frames that the device decodes: on a GPU nvJPEG, by torchvision.

It rounds otherwise than the decoder on the CPU, so that pixels differ a little: off by default.
B batch   C cameras   H, W pixels
"""

import threading

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from act.batches.order import Order
from episodes.arrays import Frame
from episodes.episode_set import Episodes
from episodes.frames import FrameSource
from job.errors import DatasetError, UsageError, first_line


class DeviceJpegs:
    """The frames of JPEG episodes, sent as they are stored and decoded by the device."""

    def __init__(self, source: FrameSource, device: torch.device) -> None:
        """source: of episodes for which `all_jpeg` holds"""
        self._source, self._device = source, device
        self._one_at_a_time = threading.Lock()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def gather(self, order: Order) -> Tensor:
        """The images of some samples: (B, C, H, W, 3) uint8 RGB, on the device and finished.

        Raises DatasetError where a frame is no JPEG, or not one that the device decodes.
        """
        rows = self._source.stored(order.episode, order.start_ts)
        encoded = [torch.from_numpy(_without_padding(row)) for row in rows]
        if self._stream is None:
            return self._decoded(encoded, order)
        # nvJPEG writes without waiting for what the GPU has still to read of its memory: so that
        # memory is of this stream alone, and read to the end before it may be used again
        with self._one_at_a_time, torch.cuda.stream(self._stream):
            return self._decoded(encoded, order)

    def _decoded(self, encoded: list[Tensor], order: Order) -> Tensor:
        try:
            frames = decode_jpeg(encoded, ImageReadMode.RGB, self._device)
        except RuntimeError as error:
            if "out of memory" in str(error):  # which is no fault of the frame
                raise torch.OutOfMemoryError(first_line(error)) from error
            raise self._undecodable(order, first_line(error)) from error
        _, height, width, _ = self._source.shape
        if any(frame.shape != (3, height, width) for frame in frames):
            raise self._undecodable(order, "it is of another size")
        swapped = torch.stack(frames)  # (B * C, 3, H, W): ALOHA's have red and blue swapped
        rgb = swapped.flip(1).permute(0, 2, 3, 1).contiguous()
        if self._stream is not None:
            self._stream.synchronize()
        return rgb.view(-1, *self._source.shape)

    def _undecodable(self, order: Order, reason: str) -> DatasetError:
        """The error of a batch that the device does not decode."""
        found = np.empty((len(order.episode), *self._source.shape), np.uint8)
        try:
            self._source.copy_into(order.episode, order.start_ts, found)
        except DatasetError as known:  # which names file and frame
            return known
        return DatasetError(
            f"--jpeg_decoder gpu: torchvision decodes the frames of a batch on the CPU, and not on "
            f"{self._device} ({reason}), expected both; train another run with --jpeg_decoder cpu",
            code="episode-content",
        )


def check_decoder(wanted: str, device: torch.device) -> None:
    """Raise UsageError where `--jpeg_decoder` wants a GPU and training is on none."""
    if wanted == "gpu" and device.type != "cuda":
        raise UsageError(
            f"--jpeg_decoder gpu cannot apply: training is on {device}, expected a GPU; leave it "
            f"out",
            code="flag-unused",
        )


def decodes_on_device(wanted: str, episodes: Episodes, device: torch.device) -> bool:
    """Whether `--jpeg_decoder` is the device; raises UsageError where it cannot be."""
    check_decoder(wanted, device)
    if wanted == "gpu" and not all_jpeg(episodes):
        raise UsageError(
            "--jpeg_decoder gpu cannot apply: not all frames are JPEG of the size that training "
            "takes, expected what --frames jpeg writes; leave it out",
            code="flag-unused",
        )
    return wanted == "gpu"


def all_jpeg(episodes: Episodes) -> bool:
    """Whether every frame of them is a JPEG of the size that training takes."""
    return bool(episodes.camera_names) and all(
        info.compressed
        and not info.filmed
        and set(info.image_sizes.values()) == {episodes.image_size}
        for info in episodes.infos
    )


def _without_padding(row: Frame) -> Frame:
    """A JPEG without the zeros behind it; its own end is none."""
    return row[: len(row) - int(np.argmax(row[::-1] != 0))]
