"""Datasets broken in one place each, with what a check must find: the corpus of test_check.py.

Each function gets a fresh copy of a good dataset from tests/data/lerobot, at 30 fps with episodes
of 12, 25, 7 and 18 frames (v30_multifile: 8 episodes).
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

Break = Callable[[Path], None]
FRONT, WRIST = "observation.images.front", "observation.images.wrist"
VIDEO = f"videos/chunk-000/{WRIST}/episode_000001.mp4"
TABLE = "data/chunk-000/episode_000001.parquet"
VIDEO_3 = f"videos/{WRIST}/chunk-000/file-000.mp4"
TABLE_3 = "data/chunk-000/file-000.parquet"
EPISODES_3 = "meta/episodes/chunk-000/file-000.parquet"
INFO = "meta/info.json"
IMAGE_TABLE = "data/chunk-000/episode_000000.parquet"


class Broken(NamedTuple):
    """One breakage: of which dataset, and what is found in which file."""

    breaking: Break
    base: str
    code: str
    file: str  # what `where` ends with
    also: frozenset[str]  # codes of other errors, which follow from it
    options: dict[str, Any]  # of the check


BROKEN: dict[str, Broken] = {}  # errors
ODD: dict[str, Broken] = {}  # warnings alone


def _entry(registry: dict[str, Broken], base: str) -> Callable[..., Callable[[Break], Break]]:
    def entry(code: str, file: str, *also: str, **options: Any) -> Callable[[Break], Break]:
        def register(breaking: Break) -> Break:
            name = f"{base}-{breaking.__name__}"
            registry[name] = Broken(breaking, base, code, file, frozenset(also), options)
            return breaking

        return register

    return entry


v21, v30 = _entry(BROKEN, "v21_h264"), _entry(BROKEN, "v30_h264")
multi, image, av1 = (_entry(BROKEN, name) for name in ("v30_multifile", "v21_image", "v21_av1"))
odd_v21, odd_v30 = _entry(ODD, "v21_h264"), _entry(ODD, "v30_h264")
odd_multi = _entry(ODD, "v30_multifile")


# How to break.


def edit_info(root: Path, **changes: Any) -> None:
    path = root / INFO
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_feature(root: Path, key: str, **changes: Any) -> None:
    features = json.loads((root / INFO).read_text())["features"]
    features[key] |= changes
    edit_info(root, features=features)


def edit_lines(root: Path, edit: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = root / "meta/episodes.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    edit(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit_rows(path: Path, edit: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change a parquet file row by row, its column types kept."""
    table = pq.read_table(path, partitioning=None)
    rows = table.to_pylist()
    edit(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def set_column(path: Path, key: str, column: Any) -> None:
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(table.column_names.index(key), key, column), path)


def set_vectors(root: Path, key: str, change: Callable[[NDArray[Any]], Any]) -> None:
    """Change a vector (T, D) in place, in every table."""
    for path in sorted((root / "data").rglob("*.parquet")):
        values = np.array(pq.read_table(path)[key].to_pylist())
        change(values)
        set_column(path, key, pa.array(list(values.astype(np.float32))))


def encode(  # noqa: PLR0913  one keyword per property
    path: Path,
    places: Iterable[int],
    *,
    fps: int = 30,
    size: tuple[int, int] = (96, 128),
    pixels: str = "yuv420p",
    codec: str = "libx264",
    level: Callable[[int], int] = lambda frame: 5 * frame % 200,
    ramp: int = 50,
    gop: int = 2,
    **options: str,
) -> None:
    """A video with frames shown at `places` / fps, of a plain gradient that moves."""
    height, width = size
    across = np.linspace(0, ramp, width, dtype=np.uint8)
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.gop_size = gop
        for place in places:
            values = np.broadcast_to(across[None, :, None] + level(place), (height, width, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values, np.uint8), "rgb24")
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


# The metadata.


@v21("info-missing", INFO)
def no_info(root: Path) -> None:
    (root / INFO).unlink()


@v21("info-unreadable", INFO)
def json_cut_off(root: Path) -> None:
    (root / INFO).write_text("{")


@v21("info-unreadable", INFO)
def json_of_another_kind(root: Path) -> None:
    (root / INFO).write_text("[]")


@v21("file-kind", INFO)
def info_is_a_pipe(root: Path) -> None:
    (root / INFO).unlink()
    os.mkfifo(root / INFO)


@v21("version", INFO)
def unknown_version(root: Path) -> None:
    edit_info(root, codebase_version="v4.0")


@v21("version", "meta_data")
def first_version(root: Path) -> None:
    (root / "meta").rename(root / "meta_data")


@v21("layout", INFO)
def v2_says_that_it_is_v3(root: Path) -> None:
    edit_info(root, codebase_version="v3.0")


@v30("layout", INFO)
def v3_says_that_it_is_v2(root: Path) -> None:
    edit_info(root, codebase_version="v2.1")


@v21("fps", INFO)
def no_fps(root: Path) -> None:
    edit_info(root, fps=0)


@v21("features", INFO)
def feature_without_a_type(root: Path) -> None:
    edit_feature(root, "action", dtype=None)


@v21("template", INFO)
def template_leaves_the_dataset(root: Path) -> None:
    edit_info(root, data_path="../../{episode_index}.parquet")


@v21("template", INFO)
def cameras_share_a_template(root: Path) -> None:
    edit_info(root, video_path="videos/episode_{episode_index:06d}.mp4")


@v21("info-value", INFO)
def no_chunk_size(root: Path) -> None:
    edit_info(root, chunks_size=0)


@v21("state-missing", INFO)
def no_state(root: Path) -> None:
    features = json.loads((root / INFO).read_text())["features"]
    features["proprio"] = features.pop("observation.state")
    edit_info(root, features=features)


@v21("action-missing", INFO)
def no_action(root: Path) -> None:
    features = json.loads((root / INFO).read_text())["features"]
    edit_info(root, features={k: v for k, v in features.items() if k != "action"})


@v21("camera-none", INFO)
def only_depth_cameras(root: Path) -> None:
    for key in (FRONT, WRIST):
        edit_feature(root, key, info={"is_depth_map": True})


@v21("camera-unknown", INFO, camera_keys=("observation.images.frnot",))
def misspelt_camera(root: Path) -> None:
    """Nothing is wrong but what is asked for."""


@v21("env-state-missing", INFO, env_state_key=("observation.goal",))
def environment_state_asked_for(root: Path) -> None:
    """Nothing is wrong but what is asked for."""


@v21("camera-depth", INFO, camera_keys=(FRONT, WRIST))
def depth_asked_for(root: Path) -> None:
    edit_feature(root, WRIST, info={"video.is_depth_map": True})


# The list of episodes.


@v21("episodes-missing", "meta/episodes.jsonl")
def no_list(root: Path) -> None:
    (root / "meta/episodes.jsonl").unlink()


@v30("episodes-missing", "meta/episodes")
def recording_without_metadata(root: Path) -> None:
    shutil.rmtree(root / "meta/episodes")


@v21("episodes-unreadable", "meta/episodes.jsonl")
def line_cut_off(root: Path) -> None:
    cut(root / "meta/episodes.jsonl", 200)


@v21("episode-row", "meta/episodes.jsonl")
def line_without_length(root: Path) -> None:
    edit_lines(root, lambda rows: rows[2].pop("length"))


@v30("episode-row", EPISODES_3)
def row_without_file_number(root: Path) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[3][f"videos/{WRIST}/file_index"] = None

    edit_rows(root / EPISODES_3, edit)


@v21("episode-twice", "meta")
def episode_listed_twice(root: Path) -> None:
    edit_lines(root, lambda rows: rows.append(rows[1] | {"length": 9}))


@v21("episodes-empty", "meta")
def nothing_recorded(root: Path) -> None:
    edit_lines(root, lambda rows: [row.update(length=0) for row in rows])
    edit_info(root, total_frames=0)


@v21("episode-count", INFO)
def more_episodes_promised(root: Path) -> None:
    edit_info(root, total_episodes=9)


@v21("frame-count", INFO)
def more_frames_promised(root: Path) -> None:
    edit_info(root, total_frames=63)


@v30("table-truncated", EPISODES_3)
def list_without_footer(root: Path) -> None:
    cut(root / EPISODES_3, 5000)


@multi("column-missing", EPISODES_3)
def list_without_timestamps(root: Path) -> None:
    table = pq.read_table(root / EPISODES_3)
    pq.write_table(table.drop_columns([f"videos/{FRONT}/from_timestamp"]), root / EPISODES_3)


# The tables.


@v21("table-missing", TABLE)
def no_table(root: Path) -> None:
    (root / TABLE).unlink()


@v21("table-truncated", TABLE)
def table_without_footer(root: Path) -> None:
    cut(root / TABLE, 3000)


@multi("table-truncated", "data/chunk-000/file-001.parquet")
def recording_not_finalized(root: Path) -> None:
    cut(root / "data/chunk-000/file-001.parquet", 3000)


@v21("table-unreadable", TABLE)
def table_with_a_broken_footer(root: Path) -> None:
    data = (root / TABLE).read_bytes()
    (root / TABLE).write_bytes(data[:-100] + b"\xff" * 92 + data[-8:])


@v21("table-unreadable", TABLE)
def table_is_text(root: Path) -> None:
    (root / TABLE).write_text("<html>404 Not Found</html>")


@v21("lfs-pointer", TABLE)
def table_is_a_pointer(root: Path) -> None:
    (root / TABLE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


@v21("table-rows", TABLE)
def rows_missing_at_the_end(root: Path) -> None:
    pq.write_table(pq.read_table(root / TABLE).slice(0, 20), root / TABLE)


@v21("table-rows", TABLE)
def table_of_another_episode(root: Path) -> None:
    shutil.copy(root / "data/chunk-000/episode_000002.parquet", root / TABLE)


@v30("episode-not-found", TABLE_3)
def rows_of_an_episode_missing(root: Path) -> None:
    table = pq.read_table(root / TABLE_3)
    pq.write_table(table.filter(pa.compute.field("episode_index") != 2), root / TABLE_3)


@v21("frame-index", TABLE)
def row_doubled(root: Path) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[7] = rows[6]

    edit_rows(root / TABLE, edit)


@v21("frame-index", TABLE)
def no_episode_numbers(root: Path) -> None:
    set_column(root / TABLE, "episode_index", pa.nulls(25, pa.int64()))


@v21("column-missing", TABLE)
def no_action_column(root: Path) -> None:
    pq.write_table(pq.read_table(root / TABLE).drop_columns(["action"]), root / TABLE)


@v21("not-finite", TABLE)
def not_a_number(root: Path) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[3]["action"][2] = float("nan")

    edit_rows(root / TABLE, edit)


@v30("not-finite", TABLE_3)
def infinite(root: Path) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[40]["observation.state"][0] = float("inf")

    edit_rows(root / TABLE_3, edit)


@v21("value-missing", TABLE)
def row_without_action(root: Path) -> None:
    column = pq.read_table(root / TABLE)["action"].to_pylist()
    set_column(root / TABLE, "action", pa.array([None, *column[1:]], pa.list_(pa.float32())))


@v21("column-type", TABLE)
def words_for_numbers(root: Path) -> None:
    set_column(root / TABLE, "action", pa.array(["up"] * 25))


@v21("vector-width", TABLE)
def ragged_vectors(root: Path) -> None:
    column = pq.read_table(root / TABLE)["action"].to_pylist()
    column[4], column[5] = column[4][:6], [*column[5], 0.0]
    set_column(root / TABLE, "action", pa.array(column, pa.list_(pa.float32())))


@v21("vector-width", TABLE)
def episode_of_another_robot(root: Path) -> None:
    column = pq.read_table(root / TABLE)["action"].to_pylist()
    set_column(root / TABLE, "action", pa.array([row[:6] for row in column]))


# The files of videos.


@v21("video-missing", VIDEO)
def no_video(root: Path) -> None:
    (root / VIDEO).unlink()


@multi("video-missing", f"videos/{FRONT}/chunk-001/file-001.mp4")
def download_not_finished(root: Path) -> None:
    (root / f"videos/{FRONT}/chunk-001/file-001.mp4").unlink()


@v21("file-empty", VIDEO)
def empty_video(root: Path) -> None:
    (root / VIDEO).write_bytes(b"")


@v21("file-kind", VIDEO)
def video_is_a_folder(root: Path) -> None:
    (root / VIDEO).unlink()
    (root / VIDEO).mkdir()


@v21("file-kind", VIDEO)
def video_is_a_pipe(root: Path) -> None:
    (root / VIDEO).unlink()
    os.mkfifo(root / VIDEO)


@v21("lfs-pointer", VIDEO)
def video_is_a_pointer(root: Path) -> None:
    (root / VIDEO).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


@v21("link-dangling", VIDEO)
def snapshot_without_its_cache(root: Path) -> None:
    (root / VIDEO).unlink()
    (root / VIDEO).symlink_to("../../../../../blobs/7c4f0e7d")


@v30("link-dangling", VIDEO_3)
def folder_is_a_dead_link(root: Path) -> None:
    shutil.rmtree(root / f"videos/{WRIST}")
    (root / f"videos/{WRIST}").symlink_to("/nowhere/wrist")


@v21("video-unreadable", VIDEO)
def video_is_text(root: Path) -> None:
    (root / VIDEO).write_text("<html>404 Not Found</html>")


@v21("video-unreadable", VIDEO)
def video_without_index(root: Path) -> None:
    cut(root / VIDEO, 2000)


@v21("video-truncated", VIDEO)
def video_cut_off(root: Path) -> None:
    encode(root / VIDEO, range(25), movflags="faststart")
    cut(root / VIDEO, (root / VIDEO).stat().st_size - 500)


@v21("video-none", VIDEO)
def only_sound(root: Path) -> None:
    with av.open(str(root / VIDEO), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@v21("codec-missing", VIDEO)
def unknown_codec(root: Path) -> None:
    (root / VIDEO).write_bytes((root / VIDEO).read_bytes().replace(b"avc1", b"zzz1"))


@v21("video-depth", VIDEO)
def depth_in_disguise(root: Path) -> None:
    encode(root / VIDEO, range(25), codec="libx265", pixels="gray12le")


@v21("video-size", VIDEO)
def resolution_changed(root: Path) -> None:
    encode(root / VIDEO, range(25), size=(48, 64))


@v30("camera-sizes", INFO)
def cameras_differ(root: Path) -> None:
    encode(root / VIDEO_3, range(62), size=(48, 64))
    edit_feature(root, WRIST, shape=[48, 64, 3])


@av1("video-decode", VIDEO, deep=True)
def damaged_in_the_middle(root: Path) -> None:
    data = (root / VIDEO).read_bytes()
    with av.open(str(root / VIDEO)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = packets[12]
    assert position is not None
    data = data[:position] + b"\xff" * size + data[position + size :]
    (root / VIDEO).write_bytes(data)


# Which frames are there.


@v21("video-short", VIDEO)
def video_of_another_episode(root: Path) -> None:
    shutil.copy(root / VIDEO.replace("000001", "000002"), root / VIDEO)


@v21("video-short", VIDEO)
def frame_never_written(root: Path) -> None:
    encode(root / VIDEO, range(24))


@v21("video-short", VIDEO)
def edit_list_hides_frames(root: Path) -> None:
    data = bytearray((root / VIDEO).read_bytes())
    at = data.index(b"elst") + 16  # version, flags, count, duration; then the media time
    started = int.from_bytes(data[at : at + 4], "big")
    data[at : at + 4] = (started + 6 * 512).to_bytes(4, "big")
    (root / VIDEO).write_bytes(data)


@v21("video-stale", VIDEO)
def video_of_an_aborted_take(root: Path) -> None:
    encode(root / VIDEO, range(31))
    (root / f"images/{WRIST}/episode_000001").mkdir(parents=True)


@v21("video-dropped", VIDEO)
def frames_dropped(root: Path) -> None:
    encode(root / VIDEO, [place for place in range(28) if place not in (11, 12, 13)])


@v21("video-rate", VIDEO)
def another_rate(root: Path) -> None:
    encode(root / VIDEO, range(25), fps=25)


@v21("video-shared", "episode_000000.mp4")
def one_video_for_all(root: Path) -> None:
    edit_info(root, video_path="videos/chunk-000/{video_key}/episode_000000.mp4")


def _move_window(root: Path, episode: int, start: float, end: float) -> None:
    """Shift the ends of the wrist's window by frames."""

    def edit(rows: list[dict[str, Any]]) -> None:
        rows[episode][f"videos/{WRIST}/from_timestamp"] += start / 30
        rows[episode][f"videos/{WRIST}/to_timestamp"] += end / 30

    edit_rows(root / EPISODES_3, edit)


@v30("video-window-short", VIDEO_3)
def window_too_short(root: Path) -> None:
    _move_window(root, 1, 0, -3)


@v30("video-frames-lost", VIDEO_3)
def window_after_the_end(root: Path) -> None:
    _move_window(root, 3, 300, 300)


@v30("video-frames-lost", VIDEO_3)
def video_ends_early(root: Path) -> None:
    encode(root / VIDEO_3, range(60))


@v30("video-window-outside", VIDEO_3)
def first_pictures_lost(root: Path) -> None:
    """The file starts at 0.1 s, where its fourth picture is."""
    encode(root / VIDEO_3, range(3, 62))


@v30("video-start-unknown", VIDEO_3)
def file_starts_late_and_ends_early(root: Path) -> None:
    encode(root / VIDEO_3, range(3, 60))


@v21("row-rate", TABLE)
def rows_of_another_rate(root: Path) -> None:
    times = np.arange(25) / 10
    set_column(root / TABLE, "timestamp", pa.array(times, pa.float32()))


@v21("picture-unknown", VIDEO)
def times_beyond_a_longer_video(root: Path) -> None:
    """As many frames as neither rows nor times say."""
    encode(root / VIDEO, range(30))
    times = np.arange(25) / 30 + 0.5
    set_column(root / TABLE, "timestamp", pa.array(times, pa.float32()))


@v30("video-overlap", VIDEO_3)
def windows_overlap(root: Path) -> None:
    _move_window(root, 2, -4, -4)


# Images in tables.


def _set_image(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    edit_rows(root / TABLE, lambda rows: change(rows[0][FRONT]))


@image("image-unreadable", TABLE)
def image_cut_off(root: Path) -> None:
    _set_image(root, lambda cell: cell.update(bytes=cell["bytes"][:100]))


@image("image-unreadable", TABLE)
def image_not_embedded(root: Path) -> None:
    _set_image(root, lambda cell: cell.update(bytes=None))


# What is read, but said.


@odd_v21("video-long", VIDEO)
def discarded_take(root: Path) -> None:
    encode(root / VIDEO, range(31))


@odd_v30("video-window-long", VIDEO_3)
def discarded_take_in_the_window(root: Path) -> None:
    encode(root / VIDEO_3, range(66))
    _move_window(root, 3, -0, 4)


@odd_v21("leftover-images", f"images/{WRIST}/episode_000002")
def leftovers(root: Path) -> None:
    (root / f"images/{WRIST}/episode_000002").mkdir(parents=True)


@odd_v21("version-minor", INFO)
def next_minor_version(root: Path) -> None:
    edit_info(root, codebase_version="v2.2")


@odd_v21("episode-gap", "meta")
def hole_in_the_numbers(root: Path) -> None:
    edit_lines(root, lambda rows: rows.pop(1))
    edit_info(root, total_episodes=3, total_frames=37)
    (root / TABLE).unlink()
    for key in (FRONT, WRIST):
        (root / f"videos/chunk-000/{key}/episode_000001.mp4").unlink()


@odd_v21("episode-empty", "meta")
def empty_episode(root: Path) -> None:
    edit_lines(root, lambda rows: rows.append({"episode_index": 4, "tasks": [], "length": 0}))
    edit_info(root, total_episodes=5)


@odd_v21("tasks", "meta")
def two_tasks(root: Path) -> None:
    edit_lines(root, lambda rows: rows[1].update(tasks=["another"]))


@odd_v21("file-unlisted", "episode_000009.mp4")
def video_of_nobody(root: Path) -> None:
    shutil.copy(root / VIDEO, root / VIDEO.replace("000001", "000009"))


@odd_multi("table-pointer", "data/chunk-000/file-001.parquet")
def stale_pointer(root: Path) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        moved = next(row for row in rows if row["data/file_index"] == 1)
        moved["data/file_index"] = 0

    for path in sorted((root / "meta/episodes").rglob("*.parquet")):
        rows = pq.read_table(path, columns=["data/file_index"]).to_pylist()
        if any(row["data/file_index"] == 1 for row in rows):
            edit_rows(path, edit)
            return


@odd_v30("table-extra", TABLE_3)
def rows_of_nobody(root: Path) -> None:
    table = pq.read_table(root / TABLE_3)
    more = table.slice(0, 3)
    place = more.column_names.index("episode_index")
    more = more.set_column(place, "episode_index", pa.array([7, 7, 7]))
    pq.write_table(pa.concat_tables([table, more]), root / TABLE_3)


@odd_multi("table-twice", "data/chunk-000/file-000.parquet")
def rows_in_two_files(root: Path) -> None:
    first, second = (root / f"data/chunk-000/file-00{number}.parquet" for number in (0, 1))
    rows = pq.read_table(first).filter(pa.compute.field("episode_index") == 0)
    pq.write_table(pa.concat_tables([rows, pq.read_table(second)]), second)


@odd_v21("listed-twice", "meta/episodes.jsonl")
def line_copied(root: Path) -> None:
    edit_lines(root, lambda rows: rows.append(rows[1]))


@odd_v30("listed-twice", "meta/episodes/chunk-000/file-001.parquet")
def list_copied(root: Path) -> None:
    shutil.copy(root / EPISODES_3, root / "meta/episodes/chunk-000/file-001.parquet")


@odd_v30("window-derived", "meta/episodes")
def windows_without_an_end(root: Path) -> None:
    table = pq.read_table(root / EPISODES_3)
    ends = [f"videos/{key}/to_timestamp" for key in (FRONT, WRIST)]
    pq.write_table(table.drop_columns(ends), root / EPISODES_3)


@odd_v30("index-range", "meta/episodes")
def scrambled_ranges(root: Path) -> None:
    edit_rows(root / EPISODES_3, lambda rows: rows[2].update(dataset_from_index=0))


@odd_v21("video-fps", INFO)
def encoder_had_another_rate(root: Path) -> None:
    edit_feature(root, WRIST, info={"video.fps": 60})


@odd_v21("camera-shape", INFO)
def stale_shape(root: Path) -> None:
    edit_feature(root, WRIST, shape=[480, 640, 3])


@odd_v21("vector-shape", INFO)
def stale_width(root: Path) -> None:
    edit_feature(root, "action", shape=[6], names=None)


@odd_v21("depth-left-out", INFO)
def depth_camera(root: Path) -> None:
    edit_feature(root, WRIST, info={"video.is_depth_map": True})


@odd_v21("video-bits", VIDEO)
def ten_bits(root: Path) -> None:
    encode(root / VIDEO, range(25), pixels="yuv420p10le")


@odd_v21("video-blank", VIDEO)
def black_at_first(root: Path) -> None:
    encode(root / VIDEO, range(25), level=lambda frame: 5 * frame, ramp=0)


@odd_v21("video-frozen", VIDEO, deep=True)
def camera_hung(root: Path) -> None:
    encode(root / VIDEO, range(25), level=lambda _: 100)


@odd_v21("codec-changes", VIDEO)
def codec_changed(root: Path) -> None:
    encode(root / VIDEO, range(25), codec="libx265")


@odd_v21("picture-times", VIDEO)
def rows_cut_off_at_the_start(root: Path) -> None:
    _keep_rows(root, range(5, 25))


def _keep_rows(root: Path, kept: Iterable[int]) -> None:
    """Rows of episode 1 with the timestamps that they had."""
    table = pq.read_table(root / TABLE).take(list(kept))
    pq.write_table(table, root / TABLE)
    set_column(root / TABLE, "frame_index", pa.array(np.arange(len(table))))
    edit_lines(root, lambda rows: rows[1].update(length=len(table)))
    edit_info(root, total_frames=62 - 25 + len(table))


@odd_v21("frame-index-derived", TABLE)
def rows_counted_from_1(root: Path) -> None:
    set_column(root / TABLE, "frame_index", pa.array(np.arange(25) + 1))


@odd_v21("frame-index-derived", TABLE)
def rows_without_a_number(root: Path) -> None:
    table = pq.read_table(root / TABLE, partitioning=None)
    pq.write_table(table.drop_columns(["frame_index"]), root / TABLE)


@v21("frame-index", TABLE)
def rows_without_number_index_or_times(root: Path) -> None:
    table = pq.read_table(root / TABLE, partitioning=None)
    pq.write_table(table.drop_columns(["frame_index", "index", "timestamp"]), root / TABLE)


@odd_v21("hidden-files", "dataset")
def files_of_a_mac(root: Path) -> None:
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(bytes.fromhex("00051607") + bytes(4092))


@odd_v21("rows-thinned", "data/chunk-000/episode_000000.parquet")
def times_of_a_third_of_the_rate(root: Path) -> None:
    for path in sorted((root / "data").rglob("*.parquet")):
        times = np.array(pq.read_table(path)["timestamp"].to_pylist())
        set_column(path, "timestamp", pa.array(3 * times, pa.float32()))


@odd_v21("timestamp-fps", TABLE)
def hardware_clock(root: Path) -> None:
    times = [float(at) * 1.03 / 30 + (at > 3) * 0.05 for at in range(25)]
    set_column(root / TABLE, "timestamp", pa.array(times, pa.float32()))


@odd_v21("timestamp-order", TABLE)
def clock_went_back(root: Path) -> None:
    times = [at / 30 for at in range(12)] + [at / 30 for at in range(13)]
    set_column(root / TABLE, "timestamp", pa.array(times, pa.float32()))


@odd_v21("timestamp-value", TABLE)
def no_clock(root: Path) -> None:
    times = [float("nan")] + [at / 30 for at in range(1, 25)]
    set_column(root / TABLE, "timestamp", pa.array(times, pa.float32()))


@odd_v21("dim-still", "data")
def dead_joint(root: Path) -> None:
    set_vectors(root, "action", lambda values: values[:, 3].fill(0.25))


@odd_v21("vector-still", "data")
def no_commands(root: Path) -> None:
    set_vectors(root, "action", lambda values: values.fill(0))


@odd_v21("episode-still", TABLE)
def robot_was_off(root: Path) -> None:
    set_column(root / TABLE, "action", pa.array([[0.1] * 7] * 25, pa.list_(pa.float32())))


@odd_v21("jump", TABLE)
def angle_wraps(root: Path) -> None:
    values = np.array(pq.read_table(root / TABLE)["observation.state"].to_pylist(), np.float32)
    values[12:, 0] += 6.2832
    set_column(root / TABLE, "observation.state", pa.array(list(values)))


@odd_v21("action-is-state", "data")
def action_copies_state(root: Path) -> None:
    for path in sorted((root / "data").rglob("*.parquet")):
        state = pq.read_table(path)["observation.state"].to_pylist()
        set_column(path, "action", pa.array([[*row, row[0]] for row in state]))


@odd_v21("gripper-range", TABLE)
def gripper_spikes(root: Path) -> None:
    values = np.array(pq.read_table(root / TABLE)["action"].to_pylist(), np.float32)
    values[12, 5] = 1.4
    set_column(root / TABLE, "action", pa.array(list(values)))


@odd_v21("gripper-units", "data")
def gripper_in_per_cent(root: Path) -> None:
    def percent(values: NDArray[Any]) -> None:
        values[:, 5] *= 100

    set_vectors(root, "action", percent)


def _orient(root: Path, change: Callable[[NDArray[Any]], Any]) -> None:
    """The first four action dims become an orientation that turns about z."""
    names = ["ee.qx", "ee.qy", "ee.qz", "ee.qw", "a", "b", "c"]
    edit_feature(root, "action", names=names)

    def turn(values: NDArray[Any]) -> None:
        half = np.arange(len(values)) * 0.02
        values[:, :4] = np.stack(
            [0.6 * np.sin(half), 0.8 * np.sin(half), 0 * half, np.cos(half)], 1
        )
        values[:, 2] = 1e-4 * np.sin(half * 9)  # a dim that moves, within the tolerance

    set_vectors(root, "action", turn)
    values = np.array(pq.read_table(root / TABLE)["action"].to_pylist(), np.float32)
    change(values)
    set_column(root / TABLE, "action", pa.array(list(values)))


@odd_v21("quaternion-flip", TABLE)
def orientation_flips(root: Path) -> None:
    def flip(values: NDArray[Any]) -> None:
        values[12:, :4] *= -1

    _orient(root, flip)


@odd_v21("quaternion-length", TABLE)
def orientation_not_unit(root: Path) -> None:
    def stretch(values: NDArray[Any]) -> None:
        values[12, :4] *= 1.2

    _orient(root, stretch)


@odd_v21("chunk-padding", "meta", chunk_size=20)
def short_episodes(root: Path) -> None:
    """Three of four episodes are shorter than the chunk of 20."""


@odd_v21("dims-cut", INFO, state_dim=6)
def dims_cut_away(root: Path) -> None:
    """The action has 7 dims."""


# Found by an attack on the job, each once a traceback.


@v21("fps", INFO)
def fps_beyond_every_float(root: Path) -> None:
    edit_info(root, fps=10**400)


@v21("column-type", TABLE)
def vectors_are_maps(root: Path) -> None:
    table = pq.read_table(root / TABLE)
    kind = pa.map_(pa.string(), pa.float32())
    maps = pa.array([[("a", 1.0)]] * len(table), kind)
    place = table.column_names.index("observation.state")
    pq.write_table(table.set_column(place, "observation.state", maps), root / TABLE)


@v21("vector-width", TABLE)
def inner_lists_differ(root: Path) -> None:
    table = pq.read_table(root / TABLE)
    rows = [[[1.0, 2.0], [3.0]]] * 24 + [[[1.0], [2.0]]]
    nested = pa.array(rows, pa.list_(pa.list_(pa.float64())))
    place = table.column_names.index("observation.state")
    pq.write_table(table.set_column(place, "observation.state", nested), root / TABLE)


@v30("table-unreadable", EPISODES_3)
def task_is_not_utf8(root: Path) -> None:
    table = pq.read_table(root / EPISODES_3)
    texts = pa.array([b"\xff"] * len(table), pa.binary()).view(pa.string())
    place = table.column_names.index("tasks")
    pq.write_table(table.set_column(place, "tasks", texts), root / EPISODES_3)


# Found by an attack: each was a traceback, or passed the check and failed the conversion.


@v21("table-rows", TABLE)
def table_without_rows(root: Path) -> None:
    pq.write_table(pq.read_table(root / TABLE).slice(0, 0), root / TABLE)


@v30("table-unreadable", EPISODES_3, "episodes-missing")
def list_with_a_date_out_of_range(root: Path) -> None:
    table = pq.read_table(root / EPISODES_3)
    dates = pa.array([2**62] * len(table), pa.timestamp("us"))
    place = table.column_names.index("length")
    pq.write_table(table.set_column(place, "length", dates), root / EPISODES_3)


@v21("features", INFO)
def a_name_with_a_zero(root: Path) -> None:
    edit_feature(root, "action", names=["a\0b"] * 7)


@v21("features", INFO)
def a_name_with_half_a_pair(root: Path) -> None:
    edit_feature(root, "action", names=["a\ud800"] * 7)


def rename_feature(root: Path, key: str, name: str) -> None:
    features = json.loads((root / INFO).read_text())["features"]
    features[name] = features.pop(key)
    edit_info(root, features=features)


@v30("features", INFO, "template")
def a_camera_with_half_a_pair(root: Path) -> None:
    rename_feature(root, WRIST, "observation.images.\ud800")


@v21("features", INFO)
def a_camera_with_a_byte_that_is_no_text(root: Path) -> None:
    rename_feature(root, WRIST, "observation.images.\udc80")


@image("features", INFO)
def a_camera_without_a_name(root: Path) -> None:
    rename_feature(root, WRIST, "")


@v30("template", INFO)
def a_table_with_half_a_pair(root: Path) -> None:
    edit_info(root, data_path="\ud800")


@v21("template", INFO)
def a_video_with_half_a_pair(root: Path) -> None:
    edit_info(root, video_path="videos/{video_key}/\ud800{episode_index}.mp4")


@v21("template", INFO)
def a_path_longer_than_a_name_may_be(root: Path) -> None:
    edit_info(root, video_path="videos/{video_key}/" + "k" * 300 + "{episode_index}.mp4")


@image("image-unreadable", IMAGE_TABLE)
def images_in_two_columns_of_one_name(root: Path) -> None:
    table = pq.read_table(root / IMAGE_TABLE)
    pq.write_table(table.append_column(FRONT, table[FRONT]), root / IMAGE_TABLE)


@image("table-unreadable", IMAGE_TABLE)
def a_path_that_is_not_text(root: Path) -> None:
    table = pq.read_table(root / IMAGE_TABLE)
    images = pc.struct_field(table[FRONT].combine_chunks(), "bytes")
    latin = pa.array([b"\x82"] * len(table), pa.binary()).view(pa.string())
    place = table.column_names.index(FRONT)
    column = pa.StructArray.from_arrays([images, latin], ["bytes", "path"])
    pq.write_table(table.set_column(place, FRONT, column), root / IMAGE_TABLE)
