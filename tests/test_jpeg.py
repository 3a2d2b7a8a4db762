"""JPEG frames as OpenCV exchanges them with ALOHA: red and blue swapped in the file."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from episodes.jpeg import Frame, decode_jpeg, encode_jpeg
from job.errors import DatasetError
from tests.support.errors import raises_code


def row(data: bytes, padding: int = 0) -> Frame:
    return np.frombuffer(data + bytes(padding), np.uint8)


def smooth(height: int = 48, width: int = 64) -> Frame:
    down, across = np.mgrid[:height, :width]
    red, blue = 255 * down / height, 255 * across / width
    return np.stack([red, np.full_like(red, 60), blue], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("quality", "most"), [(50, 16), (95, 8), (100, 6)])
def test_colours_come_back(quality: int, most: int) -> None:
    found = decode_jpeg(row(encode_jpeg(smooth(), quality)))
    assert found.dtype == np.uint8
    assert found.shape == (48, 64, 3)
    assert found.flags.c_contiguous
    assert np.abs(found.astype(int) - smooth()).max() <= most


def test_the_files_own_red_is_our_blue() -> None:
    with Image.open(io.BytesIO(encode_jpeg(smooth(), 95))) as image:
        own = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(own[..., ::-1] - smooth()).max() <= 8


def test_the_bytes_are_opencvs() -> None:
    """As `cv2.imencode(".jpg", smooth(), [cv2.IMWRITE_JPEG_QUALITY, 50])` of OpenCV 5.0.0."""
    assert hashlib.sha256(encode_jpeg(smooth(), 50)).hexdigest()[:16] == "c29cc9043ff4b961"


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 500))
def test_padding_changes_nothing(height: int, width: int, padding: int) -> None:
    data = encode_jpeg(smooth(height, width), 80)
    assert np.array_equal(decode_jpeg(row(data, padding)), decode_jpeg(row(data)))


@pytest.mark.parametrize("data", [b"", bytes(50), b"\xff\xd8\xff", encode_jpeg(smooth(), 95)[:400]])
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    with raises_code(DatasetError, "episode-content", "episode_3, ts 7"):
        decode_jpeg(row(data), "episode_3, ts 7")
