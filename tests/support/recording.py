"""LeRobot datasets whose rows and pictures each say which moment they are of.

A take is what one episode recorded: at `fps`, a row and a picture at each moment. Some of its rows
and pictures may be gone, and metadata may follow the rows or the pictures. The state of a row is
(episode, moment); pictures carry both as a code (barcode.py).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.barcode import Code, paint_code

CAMERA = "observation.images.front"
VIDEO_V2 = f"videos/chunk-000/{CAMERA}/episode_{{:06d}}.mp4"
VIDEO_V3 = f"videos/{CAMERA}/chunk-000/file-000.mp4"
HEIGHT, WIDTH, FPS = 32, 128, 30


@dataclass
class Take:
    """One episode: the moments of its rows, the pictures of its video and when they are shown."""

    moments: int
    rows: Sequence[int] = ()  # the moments that have a row; (): all
    pictures: Sequence[int] = ()  # those that have a picture; (): all
    times: Sequence[float] | None = None  # timestamps in seconds; None: moment / FPS
    window: int | None = None  # frames that v3 metadata give it; None: one for each moment
    rate: int = FPS  # moments per second
    extra: dict[str, Any] = field(default_factory=dict)  # columns of the table; None: left out

    def __post_init__(self) -> None:
        self.rows = self.rows or range(self.moments)
        self.pictures = self.pictures or range(self.moments)

    def table(self, episode: int, start: int) -> pa.Table:
        """Its rows, numbered from 0 and from `start`."""
        rows = np.array(self.rows)
        times = rows / self.rate if self.times is None else np.array(self.times)
        states = np.stack([np.full(len(rows), episode), rows], 1).astype(np.float32)
        columns = {
            "observation.state": pa.array(list(states), pa.list_(pa.float32())),
            "action": pa.array(list(states + np.float32(0.5)), pa.list_(pa.float32())),
            "timestamp": pa.array(times.astype(np.float32)),
            "frame_index": pa.array(np.arange(len(rows))),
            "episode_index": pa.array(np.full(len(rows), episode)),
            "index": pa.array(np.arange(len(rows)) + start),
            "task_index": pa.array(np.zeros(len(rows), np.int64)),
        } | self.extra
        return pa.table({name: column for name, column in columns.items() if column is not None})


def encode(path: Path, pictures: Sequence[tuple[int, Code]], rate: int = FPS) -> None:
    """A video of pictures, each shown at its place / rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 5
        for place, code in pictures:
            frame = av.VideoFrame.from_ndarray(paint_code(code, HEIGHT, WIDTH), "rgb24")
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_v21(root: Path, takes: Sequence[Take], *, first: int = 0, dense: bool = False) -> Path:
    """A file for each episode; pictures are shown at their moments, or `dense`, without gaps."""
    start, rows = 0, []
    for episode, take in enumerate(takes):
        table = take.table(episode, start)
        _write(root / f"data/chunk-000/episode_{episode:06d}.parquet", table)
        rows.append({"episode_index": episode, "tasks": ["t"], "length": len(table)})
        places = range(len(take.pictures)) if dense else take.pictures
        codes = [Code(episode, moment, 0) for moment in take.pictures]
        pairs = [(first + place, code) for place, code in zip(places, codes, strict=True)]
        encode(root / VIDEO_V2.format(episode), pairs, take.rate)
        start += len(table)
    (root / "meta").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "meta/episodes.jsonl").write_text(lines)
    video = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    data = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    _write_info(root, "v2.1", len(takes), start, data_path=data, video_path=video)
    return root


def write_v30(root: Path, takes: Sequence[Take], *, first: int = 0, dense: bool = False) -> Path:
    """One file for all; its metadata give each take its moments."""
    start, at, rows, tables, pictures = 0, 0, [], [], list[tuple[int, Code]]()
    for episode, take in enumerate(takes):
        table = take.table(episode, start)
        tables.append(table)
        window = take.moments if take.window is None else take.window
        row: dict[str, Any] = {"episode_index": episode, "tasks": ["t"], "length": len(table)}
        row |= {"data/chunk_index": 0, "data/file_index": 0}
        row |= {f"videos/{CAMERA}/chunk_index": 0, f"videos/{CAMERA}/file_index": 0}
        row[f"videos/{CAMERA}/from_timestamp"] = at / FPS
        row[f"videos/{CAMERA}/to_timestamp"] = (at + window) / FPS
        rows.append(row)
        pictures += [(at + moment, Code(episode, moment, 0)) for moment in take.pictures]
        start, at = start + len(table), at + take.moments
    if dense:
        pictures = [(place, code) for place, (_, code) in enumerate(pictures)]
    encode(root / VIDEO_V3, [(first + place, code) for place, code in pictures])
    _write(root / "data/chunk-000/file-000.parquet", pa.concat_tables(tables))
    _write(root / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(rows))
    video = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    data = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    _write_info(root, "v3.0", len(takes), start, data_path=data, video_path=video)
    return root


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_info(root: Path, version: str, episodes: int, frames: int, **paths: str) -> None:
    vector = {"dtype": "float32", "shape": [2], "names": ["episode", "moment"]}
    video = {
        "dtype": "video",
        "shape": [HEIGHT, WIDTH, 3],
        "names": ["height", "width", "channels"],
    }
    info = {
        "codebase_version": version,
        "robot_type": "so101",
        "total_episodes": episodes,
        "total_frames": frames,
        "chunks_size": 1000,
        "fps": FPS,
        "features": {"observation.state": vector, "action": vector, CAMERA: video},
        **paths,
    }
    (root / "meta/info.json").write_text(json.dumps(info))


def read_info(root: Path) -> dict[str, Any]:
    """What info.json says."""
    values: dict[str, Any] = json.loads((root / "meta/info.json").read_text())
    return values
