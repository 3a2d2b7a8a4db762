"""Images inside data files, against what the real lerobot reads, and made small otherwise."""

import hashlib
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from convert.lerobot.image import ImageReader, page_bytes
from episodes.arrays import Frame
from job.errors import DatasetError
from tests.support.barcode import read_code
from tests.support.errors import raises_code
from tests.support.paths import ROOT, SMALL

KEY = "observation.images.front"
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LENGTHS = (12, 25, 7, 18)
LEROBOT = json.loads((SMALL / "frames.json").read_text())

Write = Callable[..., Path]


def picture(seed: int, height: int = 6, width: int = 8) -> Frame:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encode(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **options)
    return stream.getvalue()


def cell(data: bytes | None, path: str | None = None) -> dict[str, Any]:
    return {"bytes": data, "path": path}


def data_path(name: str, episode: int) -> Path:
    file = f"episode_{episode:06d}" if name.startswith("v2") else "file-000"
    return SMALL / name / f"data/chunk-000/{file}.parquet"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a data file in a dataset: `write(cells)` or with columns of its own."""

    def run(
        cells: list[Any], kind: pa.DataType = STRUCT, group: int = 1000, **columns: Any
    ) -> Path:
        (tmp_path / "meta").mkdir(exist_ok=True)
        (tmp_path / "meta/info.json").write_text("{}")
        path = tmp_path / "data/file.parquet"
        path.parent.mkdir(exist_ok=True)
        rows: dict[str, Any] = {
            "episode_index": [0] * len(cells),
            "frame_index": list(range(len(cells))),
            KEY: pa.array(cells, kind),
        }
        pq.write_table(pa.table(rows | columns), path, row_group_size=group)
        return path

    return run


def read(path: Path, episode: int, count: int) -> list[Frame]:
    with ImageReader(path, KEY) as reader:
        return list(reader.frames(episode, count))


def first(path: Path) -> Frame:
    return read(path, 0, 1)[0]


@pytest.mark.parametrize("name", ["v21_image", "v30_image"])
@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_frames_are_lerobots_on_every_row(name: str, camera: str) -> None:
    key, found = f"observation.images.{camera}", []
    readers: dict[Path, ImageReader] = {}
    for episode, length in enumerate(LENGTHS):
        path = data_path(name, episode)
        reader = readers.setdefault(path, ImageReader(path, key))
        for ts, frame in enumerate(reader.frames(episode, length)):
            assert read_code(frame) == (episode, ts, int(camera == "wrist"))
            found.append(hashlib.sha256(frame.tobytes()).hexdigest()[:16])
    assert found == LEROBOT[name]["frames"][key]
    for reader in readers.values():
        reader.close()


@pytest.mark.parametrize("order", [(3, 1, 0, 2), (2, 2, 0, 0), (0, 1, 2, 3)])
def test_episodes_in_any_order(order: tuple[int, ...]) -> None:
    with ImageReader(data_path("v30_image", 0), KEY) as reader:
        for episode in order:
            next(reader.frames(episode, 1))  # as when only the size is wanted
            codes = [read_code(frame) for frame in reader.frames(episode, LENGTHS[episode])]
            assert [(code.episode, code.frame) for code in codes] == [
                (episode, ts) for ts in range(LENGTHS[episode])
            ]


@pytest.mark.parametrize("group", [1000, 3, 1])
@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_in_any_order_and_grouping(write: Write, group: int, shuffled: bool) -> None:
    places = [(episode, ts) for episode in (4, 9, 2) for ts in range(5)]
    if shuffled:
        np.random.default_rng(1).shuffle(places)
    path = write(
        [cell(encode(picture(10 * episode + ts))) for episode, ts in places],
        group=group,
        episode_index=[episode for episode, _ in places],
        frame_index=[ts for _, ts in places],
    )
    with ImageReader(path, KEY) as reader:
        for episode in (4, 9, 2, 4):
            for ts, frame in enumerate(reader.frames(episode, 5)):
                assert np.array_equal(frame, picture(10 * episode + ts))


def test_following_episodes_read_nothing_twice(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        [cell(encode(picture(i, 96, 128))) for i in range(200)],
        episode_index=[i // 50 for i in range(200)],
        frame_index=[i % 50 for i in range(200)],
    )
    read = list[int]()
    batches_of = pq.ParquetFile.iter_batches

    def counted(file: pq.ParquetFile, **options: Any) -> Iterator[pa.RecordBatch]:
        for batch in batches_of(file, **options):
            read.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    with ImageReader(path, KEY) as reader:
        for episode in range(4):
            assert len(list(reader.frames(episode, 50))) == 50
    assert read == [64, 64, 64, 8]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), STRUCT])
@pytest.mark.parametrize("file", ["PNG", "BMP", "TIFF", "WEBP"])
def test_column_types_and_formats(write: Write, kind: pa.DataType, file: str) -> None:
    data = encode(picture(0), file, **({"lossless": True} if file == "WEBP" else {}))
    found = first(write([cell(data) if kind == STRUCT else data], kind))
    assert found.dtype == np.uint8
    assert found.shape == (6, 8, 3)
    assert np.array_equal(found, picture(0))


def test_jpeg_is_read_and_turned_as_its_exif_says(write: Write) -> None:
    smooth = np.full((16, 32, 3), 90, np.uint8)
    smooth[:, 16:] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    upright, turned = read(
        write([cell(encode(smooth, "JPEG")), cell(encode(smooth, "JPEG", exif=exif))]), 0, 2
    )
    assert np.abs(upright.astype(int) - smooth).max() < 8
    assert turned.shape == (32, 16, 3)
    assert turned[0].mean() < 100 < turned[-1].mean()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK"])
def test_other_modes_become_rgb_with_one_warning(
    write: Write, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    image = Image.fromarray(picture(0)).convert(mode)
    if mode == "P":
        image.info["transparency"] = bytes([0, 128])
    data = encode(image, "TIFF" if mode == "CMYK" else "PNG")
    with caplog.at_level(logging.WARNING, "act"):
        frames = read(write([cell(data)] * 3), 0, 3)
    assert np.array_equal(frames[2], np.asarray(image.convert("RGBA").convert("RGB")))
    assert [repr(mode) in text for text in caplog.messages] == [True]


@pytest.mark.parametrize(
    ("pixels", "kind", "mode"),
    [
        (np.arange(48, dtype=np.uint16).reshape(6, 8), "TIFF", "I;16"),
        (np.arange(48, dtype=np.uint16).reshape(6, 8), "PNG", "I;16"),
        (np.arange(48, dtype=np.int32).reshape(6, 8), "TIFF", "I"),
        (np.ones((6, 8), np.float32), "TIFF", "F"),
        (np.ones((6, 8), bool), "PNG", "1"),
    ],
)
def test_depth_is_refused_by_name(write: Write, pixels: Any, kind: str, mode: str) -> None:
    with raises_code(
        DatasetError, "image-depth", f"frame 0 of episode 0, .*'{mode}'.*--camera_keys"
    ):
        first(write([cell(encode(pixels, kind))]))


@pytest.mark.parametrize(
    "data",
    [
        encode(picture(0, 64, 64))[:2000],
        encode(picture(0), "JPEG")[:200],
        encode(picture(0))[:20],
        encode(picture(0), "GIF"),
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        bytes(1000),
    ],
    ids=["png", "jpeg", "header", "gif", "text", "zeros behind a signature", "zeros"],
)
def test_broken_images_are_named(write: Write, data: bytes) -> None:
    path = write([cell(encode(picture(0))), cell(data)])
    with raises_code(
        DatasetError, "image-unreadable", r"file\.parquet: frame 1 of episode 0"
    ) as error:
        read(path, 0, 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_no_broken_byte_crashes(write: Write, kind: str) -> None:
    whole, rng = encode(picture(0, 24, 24), kind), np.random.default_rng(0)
    cells = []
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        cells.append(cell(bytes(data)))
    path = write(cells, episode_index=range(300), frame_index=[0] * 300)
    refused: list[str] = []
    with ImageReader(path, KEY) as reader:
        for episode in range(300):
            try:
                assert next(reader.frames(episode, 1)).dtype == np.uint8
            except DatasetError as error:
                refused.append(str(error))
    assert refused
    assert all("\n" not in message for message in refused)


@pytest.mark.parametrize("share", [0.8, 0.3])
def test_a_decompression_bomb_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    path = write([cell(encode(np.zeros((100, 100, 3), np.uint8)))])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(share * 10_000))
    with raises_code(DatasetError, "image-unreadable", "frame 0 of episode 0"):
        first(path)


@pytest.mark.parametrize(
    "place",
    [
        "images/{key}/episode_000000/f.png",
        "images/{key}/episode-000000/f.png",
        "elsewhere/f.png",
    ],
)
@pytest.mark.parametrize("data", [None, b""])
def test_images_beside_the_table(write: Write, place: str, data: bytes | None) -> None:
    name = place if place.startswith("elsewhere") else "/home/me/.cache/lerobot/f.png"
    path = write([cell(data, name)])
    image = path.parent.parent / place.format(key=KEY)
    image.parent.mkdir(parents=True)
    image.write_bytes(encode(picture(3)))
    assert np.array_equal(first(path), picture(3))
    image.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with raises_code(DatasetError, "lfs-pointer", r"f\.png"):
        first(path)


@pytest.mark.parametrize(
    "name", [None, "", "gone.png", "../outside.png", "{outside}", "x" * 5000, "\0", "/", ".."]
)
def test_images_that_are_nowhere_or_outside(write: Write, name: str | None) -> None:
    path = write([])
    root = path.parent.parent
    outside = root.parent / "outside.png"
    outside.write_bytes(encode(picture(3)))
    path = write([cell(None, name and name.format(outside=outside))])
    with raises_code(DatasetError, "image-unreadable", "frame 0 of episode 0"):
        first(path)


@pytest.mark.parametrize(
    ("columns", "code", "values"),
    [
        ({"frame_index": [0, 1, 3]}, "frame-index", r"frame_index is \[0, 1, 3\]"),
        ({"frame_index": [0, 1, 1]}, "frame-index", r"frame_index is \[0, 1, 1\]"),
        ({"frame_index": [0, None, 2]}, "frame-index", "frame_index is int64 .*1 empty"),
        ({"frame_index": [0, 0.5, 1]}, "frame-index", "frame_index is double"),
        ({"episode_index": ["0", "0", "0"]}, "frame-index", "episode_index is string"),
        ({"episode_index": [0, 0, 1]}, "table-rows", "has 2 rows, expected 3"),
        ({KEY: [1, 2, 3]}, "image-unreadable", f"'{KEY}' .*int64"),
        ({KEY: [[1], [2], [3]]}, "image-unreadable", f"'{KEY}' .*list"),
        ({KEY: [{"path": "a"}] * 3}, "image-unreadable", f"'{KEY}' .*struct<path: string>"),
    ],
)
def test_odd_tables_are_refused(
    write: Write, columns: dict[str, Any], code: str, values: str
) -> None:
    path = write([cell(encode(picture(0)))] * 3, **columns)
    with raises_code(DatasetError, code, rf"file\.parquet: .*{values}"):
        read(path, 0, 3)


@pytest.mark.parametrize(
    "columns",
    [
        {"frame_index": [2, 1, 0]},
        {"frame_index": [13.0, 12.0, 11.0], "episode_index": [0.0, 0.0, 0.0]},
    ],
)
def test_rows_are_taken_in_the_order_of_the_vectors(write: Write, columns: dict[str, Any]) -> None:
    path = write([cell(encode(picture(place))) for place in range(3)], **columns)
    for frame, expected in zip(read(path, 0, 3), (2, 1, 0), strict=True):
        assert np.array_equal(frame, picture(expected))


def test_without_frame_index_the_order_is_that_of_index(write: Write) -> None:
    path = write([cell(encode(picture(place))) for place in range(3)])
    table = pq.read_table(path).drop_columns(["frame_index"])
    pq.write_table(table.append_column("index", pa.array([7, 8, 9])), path)
    assert all(np.array_equal(f, picture(i)) for i, f in enumerate(read(path, 0, 3)))


def test_a_missing_column_is_named(write: Write) -> None:
    with raises_code(DatasetError, "image-unreadable", "'other'"):
        ImageReader(write([cell(b"")]), "other")


def test_a_damaged_table_is_named(write: Write) -> None:
    path = write([cell(encode(picture(i, 64, 64))) for i in range(40)])
    data = bytearray(path.read_bytes())
    data[len(data) // 8 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 8)
    path.write_bytes(data)
    with raises_code(DatasetError, "table-unreadable", r"file\.parquet: "):
        read(path, 0, 40)


_MEASURE = r"""
import re, sys
from pathlib import Path
from convert.lerobot.image import ImageReader, page_bytes
def peak():
    # not getrusage, whose peak begins with that of the parent process
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
with ImageReader(Path(sys.argv[1]), "image") as reader:
    for episode in range(4):
        assert sum(1 for _ in reader.frames(episode, 75)) == 75
print((peak() - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("page_rows", "most_mb"), [(16, 85), (1024, 280)])
def test_memory_does_not_hold_a_collapsed_file(
    tmp_path: Path, page_rows: int, most_mb: int
) -> None:
    """One row group of 95 MB: with small pages, and with all in one page as lerobot writes it."""
    data = encode(picture(0, 325, 325), "BMP")
    images = pa.array(
        [cell(data[:54] + np.random.bytes(len(data) - 54)) for _ in range(300)], STRUCT
    )
    rows = {"episode_index": [i // 75 for i in range(300)], "frame_index": [*range(75)] * 4}
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({**rows, "image": images}), path, write_batch_size=page_rows)
    command = [sys.executable, "-c", _MEASURE, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < most_mb, done.stdout
    # by which the number of workers is chosen; small pages need not be foreseen
    assert int(done.stdout) << 20 < page_bytes(path, "image") < 300 << 20
