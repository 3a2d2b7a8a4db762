"""Frames straight from the dataset's videos: the pixels of raw files, whatever the video is."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pytest

from act.batches.kept_frames import open_cache
from convert.findings import Report
from convert.flags import DataFlags
from convert.frames_choice import choose_frames
from convert.plan import Plan, make_plan
from episodes.arrays import Frame
from episodes.episode_set import Episodes, open_episodes
from episodes.frames import FrameSource, open_frames
from episodes.reader import open_episode
from episodes.video.reader import VideoReader
from job.errors import DatasetError, JobError, UsageError
from job.output_names import STATE
from tests.chaos.places import lacking, rclone
from tests.support.barcode import Code, paint_code, read_code
from tests.support.commands import command_environment, run_job, start_job
from tests.support.conversion import convert_here, converted_paths
from tests.support.errors import raises_code
from tests.support.jobs import Job
from tests.support.paths import SMALL

FPS = Fraction(30)
FRONT = "observation.images.front"
SETS = [path.name for path in sorted(SMALL.iterdir()) if path.is_dir() and "image" not in path.name]
RUN: dict[str, Any] = {
    "num_epochs": 3,
    "samples_per_episode": 3,
    "camera_keys": FRONT,
}


def converted(name: str | Path, folder: Path, frames: str, **flags: Any) -> Episodes:
    made = DataFlags(input=(SMALL / name,), frames=frames, **flags)
    plan = convert_here(made, folder)
    return open_episodes(converted_paths(plan))


def every(episodes: Episodes) -> list[tuple[int, int]]:
    return [(one, ts) for one, length in enumerate(episodes.lengths) for ts in range(length)]


def read(source: FrameSource, one: int, ts: int) -> Frame:
    out = np.empty((1, *source.shape), np.uint8)
    source.copy_into(np.array([one]), np.array([ts]), out)
    return out


def all_frames(episodes: Episodes, source: FrameSource) -> dict[tuple[int, int], Frame]:
    """Every frame, in random order, by several threads at once."""
    places = every(episodes)
    random.Random(0).shuffle(places)
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(places, pool.map(lambda place: read(source, *place), places), strict=True))


@pytest.fixture
def cached(tmp_path: Path) -> Iterator[list[FrameSource]]:
    """Sources that are closed in the end."""
    sources: list[FrameSource] = []
    yield sources
    for source in sources:
        source.close()


@pytest.mark.parametrize("name", SETS)
def test_any_frame_is_that_of_the_raw_file(name: str, tmp_path: Path) -> None:
    raw = converted(name, tmp_path / "raw", "raw")
    filmed = converted(name, tmp_path / "filmed", "video")
    assert not any(info.filmed for info in raw.infos)
    assert all(set(info.filmed) == set(filmed.camera_names) for info in filmed.infos)
    assert filmed.lengths == raw.lengths
    assert filmed.image_size == raw.image_size
    expected = all_frames(raw, open_frames(raw))
    for kept in (None, open_cache(filmed, tmp_path, "auto", shown=False)):
        source = open_frames(filmed, kept)
        found = all_frames(filmed, source)
        again = all_frames(filmed, source)
        source.close()
        for place, image in expected.items():
            assert np.array_equal(found[place], image), place
            assert np.array_equal(again[place], image), place
    for mine, theirs in zip(filmed.qpos + filmed.action, raw.qpos + raw.action, strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    "flags", [{"image_size": "48x64"}, {"image_size": "40x50"}, {"camera_keys": (FRONT,)}]
)
def test_what_a_conversion_does_to_frames_is_done_to_those_of_videos(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    raw = converted("v30_h264", tmp_path / "raw", "raw", **flags)
    filmed = converted("v30_h264", tmp_path / "filmed", "video", **flags)
    assert filmed.camera_names == raw.camera_names
    assert filmed.image_size == raw.image_size
    expected = all_frames(raw, open_frames(raw))
    found = all_frames(filmed, open_frames(filmed, open_cache(filmed, tmp_path, "1", shown=False)))
    assert all(np.array_equal(found[place], image) for place, image in expected.items())


GROUPS = {
    "one group": ("libx264", {"preset": "ultrafast"}, 250, 0),
    "B-frames": ("libx264", {"bf": "3", "preset": "fast"}, 12, 3),
    "open groups": ("libx264", {"bf": "3", "x264-params": "open-gop=1:scenecut=0"}, 10, 3),
    "no key frames": ("libx264", {"x264-params": "intra-refresh=1:bframes=0"}, 10, 0),
    "HEVC, open groups": ("libx265", {"x265-params": "open-gop=1:bframes=4:log-level=none"}, 10, 4),
    "AV1": ("libsvtav1", {"preset": "10", "svtav1-params": "pred-struct=2"}, 30, 0),
    "VP9": ("libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}, 20, 0),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_any_picture_of_a_video_is_that_of_reading_it_in_order(kind: str, tmp_path: Path) -> None:
    codec, options, group, b_frames = GROUPS[kind]
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        stream.codec_context.gop_size = group
        stream.codec_context.max_b_frames = b_frames
        for ts in range(90):
            image = paint_code(Code(0, ts, 0), 64, 128)
            image[40:, :, 1] = (np.arange(128) * 3 + 5 * ts) % 256  # something that moves
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    with VideoReader(path, FPS) as reader:
        expected = [frame.copy() for frame in reader.frames(range(90))]
    assert [read_code(frame)[1] for frame in expected] == list(range(90))
    wanted = list(range(90)) * 2
    random.Random(1).shuffle(wanted)
    with VideoReader(path, FPS) as reader:
        for ordinal in wanted:
            reached = list(reader.reach(ordinal, lambda _: True))
            assert reached[-1][0] == ordinal
            for found, frame in reached:
                assert np.array_equal(frame, expected[found]), (ordinal, found)


def test_what_was_decoded_once_is_not_decoded_again(
    tmp_path: Path, cached: list[FrameSource]
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(SMALL / "v30_h264", dataset)
    filmed = converted(dataset, tmp_path / "filmed", "video")
    cached.append(open_frames(filmed, open_cache(filmed, tmp_path, "auto", shown=False)))
    expected = all_frames(filmed, cached[0])
    moved = dataset.rename(tmp_path / "mounted elsewhere")
    again = converted(moved, tmp_path / "again", "video")
    shutil.rmtree(moved)
    # what another process, of a resumed run, finds
    cached.append(open_frames(again, open_cache(again, tmp_path, "auto", shown=False)))
    found = all_frames(again, cached[1])
    assert all(np.array_equal(found[place], image) for place, image in expected.items())


def test_a_group_of_pictures_is_decoded_once(tmp_path: Path, cached: list[FrameSource]) -> None:
    """Those on the way to a frame are kept too: a video of one group is decoded once in all."""
    dataset = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", dataset)
    filmed = converted(dataset, tmp_path / "filmed", "video")
    cached.append(open_frames(filmed, open_cache(filmed, tmp_path, "auto", shown=False)))
    last = read(cached[0], 0, filmed.lengths[0] - 1)
    assert last.any()
    keys = {
        ordinal
        for one in filmed.infos[0].filmed.values()
        for ordinal in VideoReader(one.path, one.fps).index.keys.tolist()
    }
    shutil.rmtree(dataset)
    assert read(cached[0], 0, max(keys)).any()


def test_a_frame_that_a_crash_has_torn_is_decoded_again(
    tmp_path: Path, cached: list[FrameSource]
) -> None:
    filmed = converted("v30_h264", tmp_path / "filmed", "video")
    cached.append(open_frames(filmed, open_cache(filmed, tmp_path, "auto", shown=False)))
    expected = all_frames(filmed, cached[0])
    (frames,) = tmp_path.glob(".frames_*.raw")
    with frames.open("r+b") as file:
        file.seek(100)
        file.write(b"torn by a machine that went down")
    cached.append(open_frames(filmed, open_cache(filmed, tmp_path, "auto", shown=False)))
    found = all_frames(filmed, cached[1])
    assert all(np.array_equal(found[place], image) for place, image in expected.items())


def test_the_cache_takes_no_more_than_it_may(tmp_path: Path, cached: list[FrameSource]) -> None:
    filmed = converted("v30_h264", tmp_path / "filmed", "video")
    most_bytes = 20 * 96 * 128 * 3
    cache = open_cache(filmed, tmp_path, str(most_bytes / 1e9), shown=False)
    cached.append(open_frames(filmed, cache))
    found = all_frames(filmed, cached[0])
    (frames,) = tmp_path.glob(".frames_*.raw")
    assert frames.stat().st_size == most_bytes
    raw = converted("v30_h264", tmp_path / "raw", "raw")
    expected = all_frames(raw, open_frames(raw))
    assert all(np.array_equal(found[place], image) for place, image in expected.items())
    assert open_cache(filmed, tmp_path, "0", shown=False) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
def test_a_full_disk_ends_the_keeping_and_not_the_reading(
    tmp_path: Path, cached: list[FrameSource], caplog: pytest.LogCaptureFixture
) -> None:
    filmed = converted("v30_h264", tmp_path / "filmed", "video")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        source = open_frames(filmed, open_cache(filmed, disk, "1", shown=False))
        found = all_frames(filmed, source)
        source.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert [record.getMessage() for record in caplog.records] == [
        "decoded frames are no longer kept on disk (No space left on device)"
    ]
    expected = all_frames(filmed, open_frames(filmed))
    assert all(np.array_equal(found[place], image) for place, image in expected.items())


@pytest.mark.slow
@pytest.mark.skipif(bool(lacking("rclone")), reason=lacking("rclone") or "-")
def test_a_mounted_bucket_keeps_none_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filmed = converted("v30_h264", tmp_path / "filmed", "video")
    with rclone() as mounted:
        source = open_frames(filmed, open_cache(filmed, mounted.folder, "1", shown=False))
        found = all_frames(filmed, source)
        source.close()
    assert len(caplog.records) == 1
    assert "decoded frames are no" in caplog.records[0].getMessage()
    expected = all_frames(filmed, open_frames(filmed))
    assert all(np.array_equal(found[place], image) for place, image in expected.items())


def test_a_cache_of_other_episodes_goes(tmp_path: Path, cached: list[FrameSource]) -> None:
    filmed = converted("v30_h264", tmp_path / "filmed", "video")
    others = converted("v30_hevc", tmp_path / "others", "video")
    for episodes in (filmed, others):
        cached.append(open_frames(episodes, open_cache(episodes, tmp_path, "1", shown=False)))
        expected = all_frames(episodes, open_frames(episodes))
        found = all_frames(episodes, cached[-1])
        assert all(np.array_equal(found[place], image) for place, image in expected.items())
        assert len(list(tmp_path.glob(".frames_*"))) == 2


def test_a_video_that_has_changed_is_refused(tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_h264", dataset)
    filmed = converted(dataset, tmp_path / "filmed", "video")
    one = filmed.infos[0].filmed["front"]
    other = filmed.infos[2].filmed["front"]
    shutil.copyfile(other.path, one.path)
    with raises_code(DatasetError, "changed", "is not the video"):
        read(open_frames(filmed), 0, 0)


def test_an_episode_file_that_names_its_videos_wrongly_is_refused(tmp_path: Path) -> None:
    filmed = converted("v21_h264", tmp_path / "filmed", "video")
    path = filmed.infos[0].path
    with h5py.File(path, "r+") as file:
        file["observations/videos/front"].attrs["fps"] = "none"
    with raises_code(DatasetError, "episode-content", "--frames video"):
        open_episodes([path])
    with h5py.File(path, "r+") as file:
        del file["observations/videos/front"]
        place = "/observations/videos/front"
        file[place] = h5py.ExternalLink(str(filmed.infos[1].path), place)
    with raises_code(DatasetError, "episode-content", "lies in another file"):
        open_episodes([path])
    with open_episode(filmed.infos[1].path) as file:
        assert len(file["observations/images"]) == 0  # upstream's readers find no camera


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"recorded": (90, 120)}, "video-size"),
        ({"any_size": True, "recorded": (300, 300), "size": (200, 300)}, "image-enlarged"),
    ],
)
def test_a_frame_of_another_size_is_refused(
    attributes: dict[str, Any], code: str, tmp_path: Path
) -> None:
    filmed = converted("v21_h264", tmp_path / "filmed", "video", camera_keys=(FRONT,))
    path = filmed.infos[0].path
    with h5py.File(path, "r+") as file:
        file["observations/videos/front"].attrs.update(attributes)
    with raises_code(JobError, code, "frame 0 is 96x128"):
        read(open_frames(open_episodes([path])), 0, 0)


# The choice


def plan_of(name: str, folder: Path, **flags: Any) -> Plan:
    return make_plan(DataFlags(input=(SMALL / name,), **flags), folder)


def chosen(plan: Plan, asked: str, output: Path | None) -> tuple[Plan, list[str]]:
    report = Report(plan.folder)
    return choose_frames(plan, asked, output, report.add), [f.code for f in report.findings]


def test_auto_is_raw_where_that_fits(tmp_path: Path) -> None:
    plan, codes = chosen(plan_of("v30_h264", tmp_path), "auto", tmp_path)
    assert (plan.filmed, codes) == (False, [])
    assert "raw frames need another 0.00 GB" in plan.frames_reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
def test_auto_is_video_where_raw_does_not_fit(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=True)
    try:
        plan, codes = chosen(plan_of("v30_h264", tmp_path), "auto", tmp_path)
        images, image_codes = chosen(plan_of("v30_image", tmp_path), "auto", tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert (plan.filmed, codes) == (True, [])
    assert "0.00 GB are free" in plan.frames_reason
    assert (images.filmed, image_codes) == (False, [])
    assert "no videos" in images.frames_reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
def test_the_check_of_several_datasets_says_what_the_job_does(tmp_path: Path) -> None:
    """Each alone would fit as raw frames, and both do not."""
    inputs = [str(SMALL / name) for name in ("v30_h264", "v30_hevc")]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", str(tmp_path)], check=True)
    try:
        words = ["check", *inputs, "--output", str(tmp_path / "out"), "--json"]
        job = Job(["entrypoint.py", *words], command_environment(), subprocess.PIPE)
        out, _ = job.communicate(timeout=300)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert job.wait() == 0, out
    reports = json.loads(out)
    shown = {report["facts"]["frames"].partition(":")[0] for report in reports}
    assert shown == {"from the dataset's videos"}


def test_images_are_no_videos(tmp_path: Path) -> None:
    _, codes = chosen(plan_of("v30_image", tmp_path), "video", tmp_path)
    assert codes == ["frames-no-video"]
    ended = run_job(tmp_path / "out", input=SMALL / "v30_image", num_epochs=1, frames="video")
    assert ended.code == 3
    assert ended.manifest["code"] == "frames-no-video"


def test_jpeg_is_one_thing_by_two_names() -> None:
    assert DataFlags(frames="jpeg").image_storage == "jpeg"
    assert DataFlags(frames="jpeg").shaping() == DataFlags(image_storage="jpeg").shaping()
    assert DataFlags(frames="video").shaping() == DataFlags().shaping()
    with raises_code(UsageError, "flags-conflict", "--frames video with --image_storage jpeg"):
        DataFlags(frames="video", image_storage="jpeg")


# Whole jobs


def assert_same(found: Path, expected: Path) -> None:
    for name in ("policy_last.ckpt", "policy_best.ckpt", "dataset_stats.json"):
        ours, theirs = (out / "checkpoints/test" / name for out in (found, expected))
        assert ours.read_bytes() == theirs.read_bytes(), name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run on raw frames."""
    done = run_job(tmp_path_factory.mktemp("raw") / "out", input=SMALL / "v30_h264", **RUN)
    assert done.code == 0, done.err
    return done.output


@pytest.mark.slow
@pytest.mark.parametrize("cache_gb", ["auto", "0.0008"])
def test_a_run_on_videos_has_the_bytes_of_one_on_raw_frames(
    cache_gb: str, undisturbed: Path, tmp_path: Path
) -> None:
    flags = RUN | {"frames": "video", "frames_cache_gb": cache_gb}
    done = run_job(tmp_path / "out", input=SMALL / "v30_h264", **flags)
    assert done.code == 0, done.err
    assert_same(done.output, undisturbed)
    conversion = done.manifest["conversion"]
    assert conversion["image_storage"] == "video"
    assert conversion["image_storage_reason"] == "as --frames asks"
    assert conversion["frames_per_second"] is None
    assert not list(done.output.rglob("*.hdf5"))
    assert not list(done.output.rglob(".frames_*"))
    left = done.output / "checkpoints/test/.frames_0.raw"  # by a kill just after the end
    left.write_bytes(b"frames")
    assert run_job(done.output, input=SMALL / "v30_h264", **flags).code == 0
    assert not left.exists()


@pytest.mark.slow
def test_killed_runs_go_on_wherever_the_dataset_is(undisturbed: Path, tmp_path: Path) -> None:
    """Each time the dataset is mounted elsewhere: what the episode files say of it is made anew."""
    flags = RUN | {"frames": "video", "state_interval_minutes": 0}
    for number in range(3):
        dataset = tmp_path / f"mount{number}"
        shutil.copytree(SMALL / "v30_h264", dataset)
        if number == 2:
            done = run_job(tmp_path / "out", input=dataset, **flags)
            assert done.code == 0, done.err
            break
        job = start_job(tmp_path / "out", input=dataset, **flags)
        state = tmp_path / "out/checkpoints/test" / STATE
        before = state.stat().st_mtime_ns if state.exists() else 0
        while job.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
            pass
        job.kill()
        job.communicate()
        shutil.rmtree(dataset)
    assert_same(tmp_path / "out", undisturbed)
    status = json.loads((tmp_path / "out/checkpoints/test/run.json").read_text())
    assert status["finished"]
