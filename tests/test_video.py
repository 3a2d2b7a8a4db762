"""Reading videos by hand: out of order, past the end, and what is no colour picture."""

import gc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from episodes.video.file import open_video
from episodes.video.reader import VideoReader
from job.errors import DatasetError
from tests.support.barcode import read_code
from tests.support.errors import raises_code
from tests.support.paths import SMALL

FPS = Fraction(30)
ONE_FILE = "videos/observation.images.front/chunk-000/file-000.mp4"


@pytest.fixture(params=["v30_av1", "v30_h264", "v30_hevc", "v30_bframes", "v30_startoffset"])
def reader(request: pytest.FixtureRequest) -> Iterator[VideoReader]:
    with VideoReader(SMALL / request.param / ONE_FILE, FPS) as opened:
        yield opened


def codes(reader: VideoReader, first: int, count: int) -> list[tuple[int, int]]:
    return [read_code(frame)[:2] for frame in reader.frames(range(first, first + count))]


def test_spans_in_any_order_give_the_same_frames(reader: VideoReader) -> None:
    """Rows 0-11 are episode 0, 12-36 episode 1, 37-43 episode 2, 44-61 episode 3."""
    assert codes(reader, 37, 3) == [(2, 0), (2, 1), (2, 2)]
    assert codes(reader, 11, 3) == [(0, 11), (1, 0), (1, 1)]
    assert codes(reader, 14, 2) == [(1, 2), (1, 3)]
    assert codes(reader, 61, 1) == [(3, 17)]
    assert codes(reader, 0, 1) == [(0, 0)]
    assert codes(reader, 1, 1) == [(0, 1)]


def test_past_the_end_says_where_it_ends(reader: VideoReader) -> None:
    with raises_code(DatasetError, "video-short", "frame 61, .*frame 62"):
        list(reader.frames(range(60, 65)))


def test_frames_on_another_grid_have_the_rate_of_their_own() -> None:
    with VideoReader(SMALL / "v30_h264" / ONE_FILE, Fraction(25)) as reader:
        assert reader.index.rate == 30
        assert codes(reader, 11, 2) == [(0, 11), (1, 0)]


def test_a_depth_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grey.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray12le"
        # With B-frames x265 reads a delay that it sets only at a later frame, and one was encoded.
        stream.codec_context.max_b_frames = 0
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64), np.uint16), "gray16le")
        frame = frame.reformat(format="gray12le")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with VideoReader(path, FPS) as reader, raises_code(DatasetError, "video-depth", r"grey\.mp4"):
        list(reader.frames([0]))


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {other}\n",
    ],
)
def test_a_playlist_is_no_video(tmp_path: Path, text: str) -> None:
    """FFmpeg would follow it to any file or address."""
    path = tmp_path / "episode_000000.mp4"
    path.write_text(text.format(other=SMALL / "v30_h264" / ONE_FILE))
    with raises_code(DatasetError, "video-unreadable", r"episode_000000\.mp4"):
        VideoReader(path, FPS)
    with pytest.raises(av.error.FFmpegError):
        open_video(path)


def test_a_frame_that_is_done_with_is_gone_at_once(reader: VideoReader) -> None:
    """Each holds a decoder's picture, which no collector of garbage counts."""
    gc.collect()
    gc.disable()
    try:
        before = _frames_alive()
        for frame in reader.frames(range(20)):
            del frame
        assert _frames_alive() - before <= 2  # the last one, and its conversion
    finally:
        gc.enable()


def _frames_alive() -> int:
    return sum(type(one) is av.VideoFrame for one in gc.get_objects())
