"""Area averaging against means that are worked out plainly."""

import numpy as np
import pytest

from episodes.arrays import Frame
from episodes.resize import resize_area


def picture(height: int, width: int) -> Frame:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def largest_difference(a: Frame, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).max())


@pytest.mark.parametrize(("down", "across"), [(2, 2), (3, 2), (1, 4), (5, 1), (8, 8)])
def test_whole_factors_are_block_means(down: int, across: int) -> None:
    frame = picture(24 * down, 32 * across)
    small = resize_area(frame, 24, 32)
    blocks = frame.reshape(24, down, 32, across, 3).mean(axis=(1, 3))
    assert small.dtype == np.uint8
    assert small.shape == (24, 32, 3)
    assert largest_difference(small, blocks) <= 1


@pytest.mark.parametrize("size", [(20, 30), (47, 63), (48, 40), (40, 64), (7, 9), (1, 1)])
def test_parts_of_pixels_count_by_their_part(size: tuple[int, int]) -> None:
    frame = picture(48, 64)
    # every pixel cut into as many as make whole blocks
    fine = frame.repeat(size[0], axis=0).repeat(size[1], axis=1)
    blocks = fine.reshape(size[0], 48, size[1], 64, 3).mean(axis=(1, 3))
    small = resize_area(frame, *size)
    assert small.shape == (*size, 3)
    assert small.flags.c_contiguous
    assert largest_difference(small, blocks) <= 1


def test_the_same_size_is_the_same_frame() -> None:
    frame = picture(12, 16)
    assert resize_area(frame, 12, 16) is frame


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_one_colour_stays(value: int) -> None:
    small = resize_area(np.full((48, 64, 3), value, np.uint8), 31, 47)
    assert set(small.ravel().tolist()) == {value}


@pytest.mark.parametrize("size", [(13, 16), (12, 17), (24, 8), (0, 4), (4, -1)])
def test_no_detail_is_invented(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="12x16"):
        resize_area(picture(12, 16), *size)
