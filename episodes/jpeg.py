"""One frame as JPEG, the way ALOHA's compressed episodes hold it: with red and blue swapped.

ALOHA's recorder gives RGB arrays to `cv2.imencode`, which takes them for BGR, and act-plus-plus
takes what `cv2.imdecode` returns as RGB. Both exchange, so the file's own colours are wrong, and
only readers that exchange them too see the right ones.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from job.errors import DatasetError

Frame = NDArray[np.uint8]

_LARGEST_PIXELS = 1 << 26


def encode_jpeg(frame: Frame, quality: int) -> bytes:
    """Encode so that `cv2.imdecode` gives the RGB frame back.

    frame: (H, W, 3) uint8 RGB; quality: 1 to 100 (ALOHA's recorder uses 50, OpenCV 95)
    """
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(frame[..., ::-1]))
    image.save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    return stream.getvalue()


def decode_jpeg(row: NDArray[np.uint8], where: str = "a compressed frame") -> Frame:
    """Decode a row of ALOHA's compressed layout: a JPEG, padded with zeros behind its end.

    row: (N,) uint8; where: what to call it in an error; returns: (H, W, 3) uint8 RGB, contiguous.
    Raises DatasetError when it is not a whole JPEG.
    """
    try:
        with Image.open(io.BytesIO(row.tobytes()), formats=["JPEG"]) as image:
            if image.width * image.height > _LARGEST_PIXELS:  # by its head, before it takes memory
                raise ValueError(f"it says that it is {image.width}x{image.height}")
            swapped: NDArray[Any] = np.asarray(image.convert("RGB"))
    # Pillow's readers let all kinds of errors out on broken bytes
    except Exception as error:
        raise DatasetError(
            f"{where}: not a whole JPEG ({error}); expected one as ALOHA's recorder or the "
            f"converter writes it; convert the dataset again",
            code="episode-content",
        ) from error
    return np.ascontiguousarray(swapped[..., ::-1])
