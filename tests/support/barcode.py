"""The number painted into every frame of the datasets in tests/data/lerobot."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Code(NamedTuple):
    """What a frame says of itself."""

    episode: int
    frame: int
    camera: int  # 0 front, 1 wrist


def read_code(image: NDArray[np.uint8]) -> Code:
    """Two rows of eight blocks, 16x12 pixels each, most significant bit first, even parity."""
    blocks = image[:24].reshape(2, 12, 8, 16, 3)[:, 3:9, :, 4:12].mean(axis=(1, 3, 4))
    assert not ((blocks > 80) & (blocks < 175)).any(), blocks.round()
    bits = (blocks > 128).astype(int)
    assert bits.sum() % 2 == 0
    assert bits[1, 6] == 0
    return Code(_number(bits[1, :5]), _number(bits[0]), int(bits[1, 5]))


def _number(bits: NDArray[np.int_]) -> int:
    return int("".join(map(str, bits)), 2)


def paint_code(code: Code, height: int = 32, width: int = 128) -> NDArray[np.uint8]:
    """A picture that says so, (H, W, 3); the rest of it is grey."""
    bits = np.array([*_bits(code.frame, 8), *_bits(code.episode, 5), code.camera, 0, 0])
    bits[-1] = bits.sum() % 2
    image = np.full((height, width, 3), 100, np.uint8)
    image[:24] = np.where(np.kron(bits.reshape(2, 8), np.ones((12, 16))), 235, 16)[..., None]
    return image


def _bits(number: int, count: int) -> list[int]:
    return [number >> place & 1 for place in reversed(range(count))]
