"""Each row that is written has its own picture, or its episode is refused."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from convert.check.dataset import check
from convert.episodes import convert_episodes
from convert.findings import Report
from convert.flags import DataFlags
from convert.plan import make_plan
from episodes.orientation import AS_STORED, Orientation, Turn, read_orientations
from episodes.reader import episode_path
from job.errors import DatasetError
from tests.support.barcode import Code, read_code
from tests.support.broken import edit_info
from tests.support.conversion import convert_here
from tests.support.errors import raises_code
from tests.support.recording import (
    CAMERA,
    FPS,
    HEIGHT,
    VIDEO_V2,
    VIDEO_V3,
    WIDTH,
    Take,
    write_v21,
    write_v30,
)

FLAGS = DataFlags(chunk_size=3, state_dim=0)
Write = Callable[..., Path]


def converted(root: Path, folder: Path, count: int) -> tuple[Report, dict[int, list[int]]]:
    """The check of `count` episodes, and the moments of the rows of those that it finds whole.

    Each row's picture is of its own episode and moment.
    """
    report = check(root, FLAGS, deep=True)
    broken = {finding.episode for finding in report.errors}
    whole = set(range(count)) - broken
    if None in broken or not whole:
        return report, {}
    left_out = frozenset((root, episode) for episode in broken if episode is not None)
    plan = make_plan(replace(FLAGS, input=(root,), only_whole_episodes=True), folder, left_out)
    folder.mkdir()
    convert_episodes((plan, list(range(len(plan.sources)))), lambda _: None)
    moments = {}
    for number, source in enumerate(plan.sources):
        with h5py.File(episode_path(folder, number)) as file:
            rows = file["observations/qpos"][:].astype(int)
            codes = [read_code(frame) for frame in file["observations/images/front"][:]]
        assert [(code.episode, code.frame) for code in codes] == [tuple(row) for row in rows]
        moments[source.episode.index] = rows[:, 1].tolist()
    assert set(moments) == whole
    return report, moments


def codes_of(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


BOTH = pytest.mark.parametrize("write", [write_v21, write_v30])


@BOTH
def test_rows_cut_off_at_the_start_keep_their_pictures(tmp_path: Path, write: Write) -> None:
    takes = [Take(30, rows=range(8, 30)), Take(24, rows=range(8, 24))]
    report, moments = converted(write(tmp_path / "in", takes), tmp_path / "out", 2)
    assert moments == {0: list(range(8, 30)), 1: list(range(8, 24))}
    assert "picture-times" in codes_of(report)


def test_a_window_that_follows_the_rows_does_not_hide_that_they_are_fewer(tmp_path: Path) -> None:
    """`to_timestamp` was written anew after rows were cut off."""
    takes = [Take(30, rows=range(8, 30), window=22), Take(24, rows=range(0, 24, 3), window=8)]
    report, _ = converted(write_v30(tmp_path / "in", takes[:1] * 2), tmp_path / "out", 2)
    assert not report.errors
    report, moments = converted(write_v30(tmp_path / "3", takes[1:] * 2), tmp_path / "out_3", 2)
    assert moments[0] == moments[1] == list(range(0, 24, 3))


@BOTH
def test_thinned_rows_have_a_rate_of_their_own(tmp_path: Path, write: Write) -> None:
    takes = [Take(30, rows=range(0, 30, 3)), Take(24, rows=range(0, 24, 3))]
    root = write(tmp_path / "in", takes)
    report, moments = converted(root, tmp_path / "out", 2)
    assert moments == {0: list(range(0, 30, 3)), 1: list(range(0, 24, 3))}
    assert {"rows-thinned", "picture-times"} <= codes_of(report)
    assert make_plan(replace(FLAGS, input=(root,)), tmp_path).fps == FPS / 3
    with h5py.File(episode_path(tmp_path / "out", 0)) as file:
        assert file.attrs["fps"] == FPS / 3


@BOTH
@pytest.mark.parametrize("rows", [[*range(0, 30, 3)], [*range(8), *range(12, 30)]])
def test_rows_that_keep_their_frame_index_keep_their_pictures(
    tmp_path: Path, write: Write, rows: list[int]
) -> None:
    take = Take(30, rows=rows, extra={"frame_index": pa.array(rows)})
    report, moments = converted(write(tmp_path / "in", [take]), tmp_path / "out", 1)
    assert moments == {0: rows}
    assert {"frame-index-derived", "picture-times"} <= codes_of(report)


def test_episodes_of_another_rate_are_refused(tmp_path: Path) -> None:
    takes = [Take(30), Take(24, rows=range(0, 24, 3))]
    report, moments = converted(write_v21(tmp_path / "in", takes), tmp_path / "out", 2)
    assert moments == {0: list(range(30))}
    assert [(finding.code, finding.episode) for finding in report.errors] == [("row-rate", 1)]


def test_datasets_whose_rows_have_other_rates_do_not_go_together(tmp_path: Path) -> None:
    whole = write_v21(tmp_path / "whole", [Take(30)])
    thinned = write_v30(tmp_path / "thinned", [Take(30, rows=range(0, 30, 3))])
    with raises_code(DatasetError, "row-rate", f"{thinned}.*10 a second .*expected 30"):
        make_plan(replace(FLAGS, input=(whole, thinned)), tmp_path)


def test_a_video_of_three_times_the_rate_is_read_by_time(tmp_path: Path) -> None:
    """30 pictures a second, 10 rows a second, as the dataset's fps says."""
    root = write_v21(tmp_path / "in", [Take(30, rows=range(0, 30, 3))])
    edit_info(root, fps=10)
    report, moments = converted(root, tmp_path / "out", 1)
    assert moments == {0: list(range(0, 30, 3))}
    assert "rows-thinned" not in codes_of(report)


@pytest.mark.parametrize("lengths", [(31, 29, 30), (30, 24, 28)])
def test_episodes_start_on_the_grid_of_the_file(tmp_path: Path, lengths: Sequence[int]) -> None:
    """At 10 rows a second, frame 31 of 30 a second is no whole number, nor is a window of 28."""
    takes = [Take(length, rows=range(0, length, 3)) for length in lengths]
    root = write_v30(tmp_path / "in", takes)
    edit_info(root, fps=10)
    _, moments = converted(root, tmp_path / "out", 3)
    assert moments == {at: list(take.rows) for at, take in enumerate(takes)}


def test_rows_of_another_rate_do_not_count_pictures(tmp_path: Path) -> None:
    """Six pictures from 1/30 s on, two rows of three pictures each: were the first ones lost?"""
    root = write_v21(tmp_path / "in", [Take(7, rows=[0, 3], pictures=range(1, 7)), Take(6)])
    edit_info(root, fps=10)
    report, moments = converted(root, tmp_path / "out", 2)
    assert {(f.code, f.episode) for f in report.errors} == {("video-start-unknown", 0)}
    assert moments == {1: list(range(6))}


@BOTH
def test_a_single_row_has_the_picture_of_its_time(tmp_path: Path, write: Write) -> None:
    _, moments = converted(write(tmp_path / "in", [Take(4, rows=[1])]), tmp_path / "out", 1)
    assert moments == {0: [1]}


@BOTH
def test_rows_cut_out_of_the_middle_are_told(tmp_path: Path, write: Write) -> None:
    kept = [*range(10), *range(18, 30)]
    report, moments = converted(write(tmp_path / "in", [Take(30, rows=kept)]), tmp_path / "out", 1)
    assert moments == {0: kept}
    assert {"rows-cut", "picture-times"} <= codes_of(report)


@pytest.mark.parametrize("times", [[0.0] * 12, [1.7e9 + at / 30 for at in range(12)]])
@BOTH
def test_times_of_another_clock_leave_the_order(
    tmp_path: Path, write: Write, times: list[float]
) -> None:
    takes = [Take(12, times=times)] * 2
    report, moments = converted(write(tmp_path / "in", takes), tmp_path / "out", 2)
    assert moments == {0: list(range(12)), 1: list(range(12))}
    assert "picture-order" in codes_of(report)


def test_counts_that_times_contradict_are_told(tmp_path: Path) -> None:
    times = [at / FPS for at in (0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10)]
    report, _ = converted(write_v21(tmp_path / "in", [Take(12, times=times)]), tmp_path / "out", 1)
    assert {"picture-order", "timestamp-order"} <= codes_of(report)


@pytest.mark.parametrize("unit", [1000, 1e6, 1e9, FPS])  # FPS: numbers of frames
def test_timestamps_in_other_units_are_no_rate(tmp_path: Path, unit: float) -> None:
    root = write_v21(tmp_path / "in", [Take(12, times=[at * unit / FPS for at in range(12)])])
    report, moments = converted(root, tmp_path / "out", 1)
    assert moments == {0: list(range(12))}
    assert {"rows-thinned", "rows-cut"}.isdisjoint(codes_of(report))
    assert make_plan(replace(FLAGS, input=(root,)), tmp_path).fps == FPS


@BOTH
def test_another_clock_and_another_number_of_pictures_are_refused(
    tmp_path: Path, write: Write
) -> None:
    take = Take(12, rows=range(9), times=[1.7e9 + at / 30 for at in range(9)])
    report, moments = converted(write(tmp_path / "in", [take]), tmp_path / "out", 1)
    assert (moments, [finding.code for finding in report.errors]) == ({}, ["picture-unknown"])


def test_a_file_whose_first_pictures_are_lost_costs_one_episode(tmp_path: Path) -> None:
    takes = [Take(30, pictures=range(3, 30)), Take(24), Take(28)]
    report, moments = converted(write_v30(tmp_path / "in", takes), tmp_path / "out", 3)
    assert moments == {1: list(range(24)), 2: list(range(28))}
    assert {finding.episode for finding in report.errors} == {0}


def test_pictures_lost_without_a_trace_cost_every_episode_of_the_file(tmp_path: Path) -> None:
    takes = [Take(30, pictures=[*range(10), *range(13, 30)]), Take(24), Take(28)]
    root = write_v30(tmp_path / "in", takes, dense=True)
    report, moments = converted(root, tmp_path / "out", 3)
    assert moments == {}
    assert {(f.code, f.episode) for f in report.errors} == {
        ("video-frames-lost", episode) for episode in range(3)
    }


def test_chunks_over_rows_that_were_cut_out_are_counted(tmp_path: Path) -> None:
    """Chunks of three actions: those of the two rows before the gap, of 9."""
    root = write_v21(tmp_path / "in", [Take(12, rows=[0, 1, 2, 3, 4, 8, 9, 10, 11])])
    (found,) = [one for one in check(root, FLAGS).findings if one.code == "rows-cut"]
    assert "after row 4; 22% of the chunks of 3 actions" in found.message


def test_a_display_matrix_is_named(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "in", [Take(9)])
    _copy_packets(root / VIDEO_V2.format(0), lambda stream: stream.set_display_rotation(180))
    report, moments = converted(root, tmp_path / "out", 1)
    assert moments == {0: list(range(9))}
    (found,) = [one for one in report.findings if one.code == "video-rotated"]
    assert "rotated by 180 degrees" in found.message


def shown(frame: NDArray[np.uint8], matrix: list[int]) -> NDArray[np.uint8]:
    """A frame by a display matrix: each pixel goes where its definition says."""
    a, b, _, c, d = np.array(matrix[:5]) >> 16
    y, x = np.indices(frame.shape[:2])
    rows, columns = b * x + d * y, a * x + c * y
    rows, columns = rows - rows.min(), columns - columns.min()
    result = np.zeros((rows.max() + 1, columns.max() + 1, 3), np.uint8)
    result[rows, columns] = frame
    return result


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [{}, {"hflip": True}, {"vflip": True}])
def test_rotation_is_applied_where_that_is_asked_for(
    tmp_path: Path, degrees: int, mirror: dict[str, bool]
) -> None:
    root = write_v21(tmp_path / "in", [Take(4)])
    path = root / VIDEO_V2.format(0)
    _copy_packets(path, lambda stream: stream.set_display_rotation(degrees, **mirror))
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0))
        data: Any = stored.side_data.get("DISPLAYMATRIX")
    flags = replace(FLAGS, input=(root,), apply_rotation=True)
    report = check(root, flags)
    assert not report.errors
    plan = convert_here(flags, tmp_path / "out")
    with h5py.File(episode_path(plan.folder, 0)) as file:
        frame = file["observations/images/front"][0]
        (orientation,) = read_orientations(file).values() or [AS_STORED]
    plain = convert_here(replace(flags, apply_rotation=False), tmp_path / "plain")
    with h5py.File(episode_path(plain.folder, 0)) as file:
        as_stored = file["observations/images/front"][0]
    assert read_code(as_stored) == Code(0, 0, 0)
    if degrees == 0 and not mirror:
        assert np.array_equal(frame, as_stored)
        assert orientation == AS_STORED
        return
    assert np.array_equal(frame, shown(as_stored, np.frombuffer(bytes(data), np.int32).tolist()))
    if not mirror:
        assert np.array_equal(frame, np.rot90(as_stored, round(stored.rotation / 90)))
        assert orientation == Orientation(Turn(round(stored.rotation) % 360))
    assert report.facts["cameras"] == {CAMERA: f"{frame.shape[0]}x{frame.shape[1]}"}
    (camera,) = plain.cameras
    assert camera.orientation == Orientation(shown=orientation.applied)


@pytest.mark.parametrize("flags", [FLAGS, replace(FLAGS, apply_rotation=True)])
def test_a_camera_that_is_shown_in_several_ways_is_named(tmp_path: Path, flags: DataFlags) -> None:
    root = write_v21(tmp_path / "in", [Take(4), Take(4), Take(4)])
    assert "rotation-differs" not in codes_of(check(root, flags))
    _copy_packets(root / VIDEO_V2.format(1), lambda stream: stream.set_display_rotation(180))
    (found,) = [one for one in check(root, flags).findings if one.code == "rotation-differs"]
    assert "episode_000001.mp4" in found.where


def test_a_slanted_display_matrix_is_refused_by_both(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "in", [Take(4)])
    _copy_packets(root / VIDEO_V2.format(0), lambda stream: stream.set_display_rotation(45))
    flags = replace(FLAGS, input=(root,), apply_rotation=True)
    assert {finding.code for finding in check(root, flags).errors} == {"video-slanted"}
    with raises_code(DatasetError, "video-slanted"):
        convert_here(flags, tmp_path / "out")
    assert not check(root, FLAGS).errors


def with_b_frames(path: Path, gop: int) -> None:
    """Encode a video anew with B-frames, in closed groups of `gop` frames."""
    frames = list(decoded(path))
    with av.open(str(path), "w", options={"bf": "2"}) as container:
        options = {"x264-params": f"keyint={gop}:min-keyint={gop}:b-adapt=0:scenecut=0"}
        stream: Any = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.max_b_frames = 2
        for place, frame in enumerate(frames):
            frame.pts, frame.pict_type, frame.time_base = place, 0, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def decoded(path: Path) -> list[av.VideoFrame]:
    """The frames of a video as the decoder gives them."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def lose_times(path: Path, first: int) -> None:
    """The packets from `first` on are shown in the order of decoding."""

    def in_order(packets: list[Any]) -> None:
        kept = sorted(packet.pts for packet in packets[first:])
        for packet, pts in zip(packets[first:], kept, strict=True):
            packet.pts = pts

    _copy_packets(path, packets=in_order)


@pytest.mark.parametrize(
    ("first", "deep"),
    [(0, False), (24, False), (48, True)],  # the file, its second episode, the middle of that
)
def test_b_frames_without_times_are_refused_by_both(tmp_path: Path, first: int, deep: bool) -> None:
    """Between the starts of episodes only a look at every frame shows it, as the docs say."""
    root = write_v30(tmp_path / "in", [Take(24), Take(48)])
    with_b_frames(root / VIDEO_V3, 24)
    _, moments = converted(root, tmp_path / "good", 2)
    assert moments == {0: list(range(24)), 1: list(range(48))}
    lose_times(root / VIDEO_V3, first)
    for is_deep in (False, True):
        expected = {"video-order"} if is_deep or not deep else set()
        report = check(root, FLAGS, deep=is_deep)
        assert {finding.code for finding in report.errors} == expected
    with raises_code(DatasetError, "video-order"):
        convert_here(replace(FLAGS, input=(root,)), tmp_path / "out")


def test_new_timestamps_repair_a_video_whose_frames_are_out_of_order(tmp_path: Path) -> None:
    """Each frame as it is decoded with the next time, as the message says."""
    root = write_v30(tmp_path / "in", [Take(24), Take(48)])
    with_b_frames(root / VIDEO_V3, 24)
    lose_times(root / VIDEO_V3, 24)
    assert codes_of(check(root, FLAGS)) == {"video-order"}
    with_b_frames(root / VIDEO_V3, 24)
    _, moments = converted(root, tmp_path / "out", 2)
    assert moments == {0: list(range(24)), 1: list(range(48))}


def _copy_packets(
    path: Path,
    change: Callable[[Any], None] = lambda _: None,
    packets: Callable[[list[Any]], None] = lambda _: None,
) -> None:
    """Mux a video anew, its stream and packets changed."""
    plain = path.rename(path.with_suffix(".plain"))
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        change(stream)
        found = [p for p in source.demux(source.streams.video[0]) if p.dts is not None]
        packets(found)
        for packet in found:
            packet.stream = stream
            target.mux(packet)
    plain.unlink()


class Recording(NamedTuple):
    """A random dataset."""

    write: Write
    takes: list[Take]
    first: int  # where its videos start
    dense: bool  # pictures that are gone leave no gap
    fps: int  # that info.json states


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    """Rows and pictures are gone at random, rows doubled, windows follow the rows or not."""
    takes = []
    fps = draw(st.sampled_from([FPS, FPS, FPS, FPS // 3]))
    for _ in range(draw(st.integers(1, 3))):
        moments = draw(st.integers(4, 14))
        every = st.just(list(range(moments)))
        some = st.lists(st.integers(0, moments - 1), min_size=2, unique=True).map(sorted)
        late = st.sampled_from([list(range(first, moments)) for first in range(1, moments - 1)])
        rows = draw(st.one_of(every, late, some))[:: FPS // fps]
        rows = rows + rows[-1:] * draw(st.sampled_from([0, 0, 0, 1]))
        pictures = draw(st.one_of(every, every, late, some))
        window = draw(st.sampled_from([None, None, len(rows)]))
        takes.append(Take(moments, rows, pictures, window=window))
    write = draw(st.sampled_from([write_v21, write_v30]))
    return Recording(write, takes, draw(st.sampled_from([0, 0, 0, 2])), draw(st.booleans()), fps)


def may_be_known(recording: Recording) -> bool:
    """Whether what is lost does not make up for something else that is lost.

    Pictures that leave no gap are missed by their number alone, so rows may not be gone as well,
    and the file may not start late by that very number, as one that lost its first pictures does;
    as many pictures as rows are a proof of the order; a file that ends as early as it starts late
    has lost its first pictures, by windows that are those of the recording.
    """
    takes, last = recording.takes, recording.takes[-1]
    lost = [take for take in takes if len(take.pictures) < take.moments]
    if recording.dense and lost:
        missing = sum(take.moments - len(take.pictures) for take in lost)
        return recording.first != missing and all(
            set(take.rows) == set(range(take.moments)) and take.window in (None, take.moments)
            for take in takes
        )
    if any(len(t.rows) == len(t.pictures) and list(t.rows) != list(t.pictures) for t in takes):
        return False
    if takes[0].pictures[0] and any(t.window not in (None, t.moments) for t in takes):
        return False
    return not recording.first or last.pictures[-1] == last.moments - 1


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(recordings())
def test_each_row_has_its_own_picture_or_its_episode_is_refused(recording: Recording) -> None:
    assume(may_be_known(recording))
    with tempfile.TemporaryDirectory() as name:
        write, takes, first, dense, fps = recording
        root = write(Path(name) / "in", takes, first=first, dense=dense)
        edit_info(root, fps=fps)
        converted(root, Path(name) / "out", len(takes))


@BOTH
def test_few_pictures_are_not_taken_for_those_of_a_slow_file(tmp_path: Path, write: Write) -> None:
    """Three of them, 0, 1 and 9, lie near a grid of 20/3 fps, where the first two would be one."""
    root = write(tmp_path / "in", [Take(10, [8], [0, 1, 9])])
    edit_info(root, fps=FPS // 3)
    report, moments = converted(root, tmp_path / "out", 1)
    assert not moments
    assert report.errors


def test_a_late_start_that_is_no_whole_frame_at_the_files_own_rate_is_unknown(
    tmp_path: Path,
) -> None:
    """Two pictures, 1/30 and 3/30 s, are taken for 15 a second: the first is half a frame late."""
    root = write_v21(tmp_path / "in", [Take(4, [0], [1, 3])])
    edit_info(root, fps=FPS // 3)
    assert {error.code for error in check(root, FLAGS).errors} == {"video-start-unknown"}
