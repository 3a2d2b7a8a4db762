"""Of the tracks of a video file the camera's is taken: the default, else the largest; no cover."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.stream import Disposition

from convert.check.dataset import check
from convert.flags import DataFlags
from episodes.video.reader import VideoReader
from job.errors import DatasetError
from tests.support.barcode import read_code
from tests.support.errors import raises_code
from tests.support.recording import FPS, HEIGHT, VIDEO_V2, WIDTH, Take, write_v21

FLAGS = DataFlags(chunk_size=3)
FRAMES = 6
PREVIEW = (16, 64)  # height, width


class _Track:
    """A track of black pictures."""

    def __init__(self, container: OutputContainer, size: tuple[int, int], codec: str) -> None:
        self._container = container
        stream: Any = container.add_stream(codec, rate=FPS)
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        self.stream = stream

    def write(self, count: int) -> None:
        black = np.zeros((self.stream.height, self.stream.width, 3), np.uint8)
        for place in range(count):
            frame = av.VideoFrame.from_ndarray(black, "rgb24").reformat(format=self.stream.pix_fmt)
            frame.pts, frame.time_base = place, Fraction(1, FPS)
            self._container.mux(self.stream.encode(frame))
        self._container.mux(self.stream.encode())


def mux(
    path: Path,
    before: Sequence[tuple[int, int]] = (),
    after: Sequence[tuple[int, int]] = (),
    cover: tuple[int, int] | None = None,
    *,
    default: bool,
) -> None:
    """Put a video between tracks of other sizes, and beside a cover.

    default: whether it is marked as the default track; if not, no track is
    """
    plain = path.rename(path.with_suffix(".plain"))
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        tracks = [_Track(target, size, "libx264") for size in before]
        video: Any = target.add_stream_from_template(source.streams.video[0])
        tracks += [_Track(target, size, "libx264") for size in after]
        for stream in (video, *(track.stream for track in tracks)):
            stream.disposition = Disposition(0)
        video.disposition = Disposition.default if default else Disposition(0)
        pictures = [_Track(target, cover, "mjpeg")] if cover else []
        for picture in pictures:
            picture.stream.disposition = Disposition.attached_pic
            picture.write(1)
        for track in tracks:
            track.write(FRAMES)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
    plain.unlink()
    if not default:  # FFmpeg's muxer marks the first one
        enabled, disabled = (b"tkhd\0\0\0" + bytes([flags]) for flags in (3, 2))
        path.write_bytes(path.read_bytes().replace(enabled, disabled))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_v21(tmp_path / "in", [Take(FRAMES)])


def tracks_of(path: Path) -> list[tuple[int, Disposition]]:
    """The height of each, and how it is marked."""
    with av.open(str(path)) as container:
        return [(stream.height, stream.disposition) for stream in container.streams.video]


def check_and_read(root: Path) -> set[str]:
    """The codes of the check; the pictures are those of the recording."""
    with VideoReader(root / VIDEO_V2.format(0), Fraction(FPS)) as reader:
        codes = [read_code(frame) for frame in reader.frames(range(FRAMES))]
    assert [code.frame for code in codes] == list(range(FRAMES))
    report = check(root, FLAGS, deep=True)
    assert list(report.facts["cameras"].values()) == [f"{HEIGHT}x{WIDTH}"]
    return {finding.code for finding in report.findings if finding.camera}


def test_the_default_track_is_taken_though_another_is_larger(root: Path) -> None:
    path = root / VIDEO_V2.format(0)
    mux(path, before=[PREVIEW], after=[(2 * HEIGHT, 2 * WIDTH)], default=True)
    marks = [bool(mark & Disposition.default) for _, mark in tracks_of(path)]
    assert marks == [False, True, False]
    assert check_and_read(root) == {"video-tracks"}


@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 1)])
def test_of_tracks_without_a_default_the_largest_is_taken(
    root: Path, before: int, after: int
) -> None:
    path = root / VIDEO_V2.format(0)
    mux(path, before=before * [PREVIEW], after=after * [PREVIEW], default=False)
    assert {mark for _, mark in tracks_of(path)} == {Disposition(0)}
    assert check_and_read(root) == {"video-tracks"}


@pytest.mark.parametrize("default", [False, True])
def test_a_cover_is_no_track_though_it_is_larger(root: Path, default: bool) -> None:
    path = root / VIDEO_V2.format(0)
    mux(path, cover=(4 * HEIGHT, 4 * WIDTH), default=default)
    assert (4 * HEIGHT, Disposition.attached_pic) in tracks_of(path)
    assert check_and_read(root) == set()


def test_a_cover_alone_is_no_video(root: Path) -> None:
    path = root / VIDEO_V2.format(0)
    with av.open(str(path), "w") as target:
        sound: Any = target.add_stream("aac", rate=44100)
        cover = _Track(target, (HEIGHT, WIDTH), "mjpeg")
        cover.stream.disposition = Disposition.attached_pic
        cover.write(1)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 44100
        target.mux(sound.encode(silence))
        target.mux(sound.encode())
    assert [mark for _, mark in tracks_of(path)] == [Disposition.attached_pic]
    with raises_code(DatasetError, "video-none"):
        VideoReader(path, Fraction(FPS))
    assert {finding.code for finding in check(root, FLAGS).errors} == {"video-none"}
