"""What the flags of a conversion change, and that machines side by side give the bytes of one."""

import json
import os
import re
import shutil
import signal
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convert.check.dataset import check
from convert.disk_and_memory import WORKER_BYTES, worker_bytes
from convert.episodes import (
    Converted,
    check_whole,
    convert,
    worker_count,
)
from convert.flags import DataFlags
from convert.lerobot.dataset import choose_cameras, read_features
from convert.plan import make_plan
from episodes.jpeg import decode_jpeg
from episodes.video.reader import VideoReader
from job import workers
from job.errors import DatasetError, JobError, OutputError, UsageError
from tests.support.barcode import read_code
from tests.support.broken import WRIST, edit_feature, encode
from tests.support.commands import (
    ended,
    make_config,
    run_module,
    start_module,
)
from tests.support.conversion import convert_here, converted_paths
from tests.support.errors import raises_code
from tests.support.jobs import OWN_PROCESSES, Job
from tests.support.paths import ROOT, SMALL
from tests.support.processes import children, wait_for
from tests.support.tasks import die, hang, vulnerability


def run(tmp_path: Path, *inputs: Path, folder: str = "episodes", **flags: Any) -> Converted:
    config = make_config(tmp_path, **flags)
    config = type(config)(**(vars(config) | {"input": inputs or (SMALL / "v30_h264",)}))
    return convert(config, tmp_path / folder)


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with h5py.File(path) as file:
        images = file["observations/images"]
        return {name: images[name].shape for name in images}


def painted(converted: Converted) -> list[int]:
    """The episode numbers painted into the first frames."""
    numbers = []
    for path in converted.paths:
        with h5py.File(path) as file:
            numbers.append(read_code(file["observations/images/front"][0]).episode)
    return numbers


@pytest.mark.slow
def test_choice_of_episodes(tmp_path: Path) -> None:
    assert painted(run(tmp_path, episodes="0:2,3")) == [0, 1, 3]
    assert painted(run(tmp_path, exclude_episodes="1,2:9")) == [0]
    assert painted(run(tmp_path, episodes="1:4", exclude_episodes="2", max_episodes=1)) == [1]
    with raises_code(DatasetError, "episodes-missing", "of 4"):
        run(tmp_path, episodes="7")
    with raises_code(UsageError, "flag-value", "--episodes is '3:1'"):
        run(tmp_path, episodes="3:1")


def test_several_datasets_are_numbered_on(tmp_path: Path) -> None:
    inputs = (SMALL / "v21_h264", SMALL / "v30_deleted")
    converted = run(tmp_path, *inputs)
    assert painted(converted) == [0, 1, 2, 3, 0, 2, 3, 4, 6, 7]
    roots = [source.dataset.root for source in converted.plan.sources]
    assert roots == [inputs[0]] * 4 + [inputs[1]] * 6
    assert painted(run(tmp_path, *inputs, episodes="3:6")) == [3, 0, 2]


def test_datasets_in_subfolders(tmp_path: Path) -> None:
    for name in ("v30_h264", "v21_av1"):
        shutil.copytree(SMALL / name, tmp_path / "input" / name)
    (tmp_path / "input/notes").mkdir()
    converted = run(tmp_path, tmp_path / "input")
    roots = [dataset.root.name for dataset in converted.plan.datasets]
    assert roots == ["v21_av1", "v30_h264"]
    assert len(converted.paths) == 8


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ({"fps": 20}, "fps is 20, expected 30"),
        ({"features": "drop wrist"}, "observation.images.wrist"),
    ],
)
def test_datasets_of_different_robots_are_refused(
    tmp_path: Path, change: dict[str, Any], values: str
) -> None:
    other = shutil.copytree(SMALL / "v30_h264", tmp_path / "other")
    info = json.loads((other / "meta/info.json").read_text())
    if change.get("features") == "drop wrist":
        del info["features"]["observation.images.wrist"]
    else:
        info |= change
    (other / "meta/info.json").write_text(json.dumps(info))
    with raises_code(DatasetError, "datasets-differ", values):
        run(tmp_path, SMALL / "v30_h264", other)
    with raises_code(UsageError, "input-twice", str(other)):
        run(tmp_path, other, other)


@pytest.mark.slow
def test_image_size_reduces_by_area_and_joins_cameras_of_different_sizes(tmp_path: Path) -> None:
    converted = run(tmp_path, image_size="48x64")
    whole = run(tmp_path, folder="whole")
    with h5py.File(converted.paths[0]) as small, h5py.File(whole.paths[0]) as large:
        reduced = small["observations/images/front"][()].astype(float)
        frames = large["observations/images/front"][()].astype(float)
    means = frames.reshape(-1, 48, 2, 64, 2, 3).mean(axis=(2, 4))
    assert abs(reduced - means).max() <= 1
    assert [(c.recorded, c.height, c.width) for c in converted.plan.cameras] == [
        ((96, 128), 48, 64)
    ] * 2
    with raises_code(UsageError, "image-enlarged", "97x128"):
        run(tmp_path, image_size="97x128")


def test_a_size_that_distorts_is_reported() -> None:
    report = check(SMALL / "v30_h264", DataFlags(chunk_size=5, image_size="48x128"))
    assert [finding.code for finding in report.findings] == ["image-distorted"] * 2


@pytest.mark.slow
def test_jpeg_is_alohas_layout_and_near_the_frames(tmp_path: Path) -> None:
    converted = run(tmp_path, image_storage="jpeg", jpeg_quality=90)
    raw = run(tmp_path, folder="raw")
    for path, raw_path in zip(converted.paths, raw.paths, strict=True):
        with h5py.File(path) as file, h5py.File(raw_path) as raw_file:
            assert bool(file.attrs["compress"]) is True
            lengths = file["compress_len"][()]
            for c, camera in enumerate(("front", "wrist")):
                rows, frames = (f[f"observations/images/{camera}"] for f in (file, raw_file))
                assert rows.shape == (len(frames), lengths.max())
                for ts, row in enumerate(rows):
                    assert not row[lengths[c, ts] :].any()
                    assert bytes(row[:2]) == b"\xff\xd8"
                    decoded = decode_jpeg(row)
                    assert read_code(decoded).frame == ts
                    assert abs(decoded.astype(int) - frames[ts]).mean() < 6
    assert run(tmp_path, image_storage="jpeg", jpeg_quality=90).frames_per_second is None
    assert run(tmp_path, image_storage="jpeg", jpeg_quality=50).frames_per_second is not None


@pytest.mark.slow
def test_state_and_action_under_other_names(tmp_path: Path) -> None:
    other = rename_features(tmp_path, {"observation.state": "pose", "action": "actions"})
    with raises_code(DatasetError, "state-missing", "'observation.state'.*--state_key"):
        run(tmp_path, other)
    converted = run(tmp_path, other, state_key="pose")
    assert (converted.plan.qpos.key, converted.plan.action.key) == ("pose", "actions")
    plain = run(tmp_path, SMALL / "v30_h264", folder="plain")
    with h5py.File(converted.paths[1]) as file, h5py.File(plain.paths[1]) as expected:
        assert np.array_equal(file["observations/qpos"], expected["observations/qpos"])


def rename_features(tmp_path: Path, names: dict[str, str]) -> Path:
    root = shutil.copytree(SMALL / "v30_h264", tmp_path / "renamed")
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"] = {names.get(key, key): value for key, value in info["features"].items()}
    path.write_text(json.dumps(info))
    for table in (root / "data").rglob("*.parquet"):
        read = pq.read_table(table)
        pq.write_table(read.rename_columns([names.get(n, n) for n in read.column_names]), table)
    return Path(root)


def with_column(
    tmp_path: Path, key: str, column: pa.Array, shape: list[int], names: list[str] | None
) -> Path:
    """v30_h264 with another vector in place of `key`."""
    root = shutil.copytree(SMALL / "v30_h264", tmp_path / "changed", dirs_exist_ok=True)
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"][key] = {"dtype": "float64", "shape": shape, "names": names}
    path.write_text(json.dumps(info))
    (table,) = (root / "data").rglob("*.parquet")
    read = pq.read_table(table)
    place = read.column_names.index(key)
    pq.write_table(read.set_column(place, key, column), table)
    return Path(root)


@pytest.mark.slow
def test_vectors_of_other_types_and_shapes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((62, 2, 3))
    nested = pa.array(values.tolist(), pa.list_(pa.list_(pa.float64())))
    root = with_column(tmp_path, "observation.state", nested, [2, 3], None)
    with h5py.File(run(tmp_path, root).paths[0]) as file:
        expected = values[:12].reshape(12, 6).astype(np.float32)
        assert np.array_equal(file["observations/qpos"], expected)
    pressed = values[:, 0] > 0
    for column in (
        pa.array(pressed.tolist(), pa.list_(pa.bool_())),
        pa.array(pressed.astype(int).tolist(), pa.list_(pa.decimal128(3, 1))),
    ):
        root = with_column(tmp_path, "action", column, [3], None)
        with h5py.File(run(tmp_path, root).paths[0]) as file:
            assert np.array_equal(file["action"], pressed[:12].astype(np.float32))
    scalar = pa.array(values[:, 0, 0])
    root = with_column(tmp_path, "observation.state", scalar, [1], ["slider"])
    with h5py.File(run(tmp_path, root).paths[0]) as file:
        assert file["observations/qpos"].shape == (12, 1)


def test_whole_numbers_in_floats_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    """What pandas and Windows make of index columns and of JSON."""
    root = Path(shutil.copytree(SMALL / "v21_h264", tmp_path / "dataset"))
    for path in (root / "data").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        for key in ("frame_index", "episode_index", "index"):
            place = table.column_names.index(key)
            table = table.set_column(place, key, table[key].cast(pa.float64()))
        pq.write_table(table, path)
    info = json.loads((root / "meta/info.json").read_text())
    info |= {key: float(info[key]) for key in ("total_episodes", "total_frames", "chunks_size")}
    (root / "meta/info.json").write_text("\ufeff" + json.dumps(info), encoding="utf-8")
    changed, same = run(tmp_path / "1", root), run(tmp_path / "2", SMALL / "v21_h264")
    for one, other in zip(changed.paths, same.paths, strict=True):
        with h5py.File(one) as a, h5py.File(other) as b:
            for name in ("action", "observations/qpos", "observations/images/front"):
                assert np.array_equal(a[name], b[name])


@pytest.mark.parametrize(
    "stated", [{"shape": [96, 128, 1]}, {"info": {"video.pix_fmt": "gray"}}, {}]
)
def test_a_camera_of_one_channel_is_used_as_grey_where_it_is_named(
    tmp_path: Path, stated: dict[str, Any]
) -> None:
    """Where info.json does not state it, the file alone does."""
    root = Path(shutil.copytree(SMALL / "v21_h264", tmp_path / "dataset"))
    for path in sorted((root / "videos").rglob(f"*/{WRIST}/*.mp4")):
        with av.open(str(path)) as container:
            count = container.streams.video[0].frames
        encode(path, range(count), codec="libx265", pixels="gray")
    if stated:
        edit_feature(root, WRIST, **stated)
    left_out = check(root, DataFlags())
    assert ("depth-left-out" if stated else "video-depth") in {f.code for f in left_out.findings}
    assert bool(left_out.errors) is not bool(stated)
    flags = DataFlags(input=(root,), camera_keys=(WRIST,))
    assert not check(root, flags, deep=True).errors
    plan = convert_here(flags, tmp_path / "episodes")
    with av.open(str(path)) as container:
        grey = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    with h5py.File(converted_paths(plan)[-1]) as file:
        frames = file["observations/images/wrist"][:]
    assert np.array_equal(frames, np.repeat(np.array(grey)[..., None], 3, axis=-1))


def test_what_is_marked_as_depth_is_no_camera_by_any_name(tmp_path: Path) -> None:
    root = Path(shutil.copytree(SMALL / "v21_h264", tmp_path / "dataset"))
    edit_feature(root, WRIST, info={"video.is_depth_map": True})
    flags = DataFlags(input=(root,), camera_keys=(WRIST,))
    assert {finding.code for finding in check(root, flags).errors} == {"camera-depth"}
    with raises_code(DatasetError, "camera-depth"):
        convert_here(flags, tmp_path / "episodes")


@pytest.mark.parametrize(
    ("key", "is_camera"),
    [
        ("observation.images.depth", False),
        ("observation.depth.front", False),
        ("observation.images.front_depth", False),
        ("observation.images.depth_cam_rgb", True),
        ("observation.images.depthai", True),
        ("observation.images.DepthAI", True),
        ("observation.images.depthcam", True),
        ("observation.images.DepthLeft", False),
        ("observation.images.leftDepth", False),
        ("observation.images.RGBDepth", True),
        ("observation.images.left depth", False),
        ("observation.images.mask_free", True),
    ],
)
def test_a_name_says_depth_and_the_user_knows_better(
    tmp_path: Path, key: str, is_camera: bool
) -> None:
    (tmp_path / "meta").mkdir()
    info = json.loads((SMALL / "v21_h264/meta/info.json").read_text())
    info["features"][key] = info["features"].pop("observation.images.wrist")
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    dataset = read_features(tmp_path)
    assert (key in dataset.cameras) is is_camera
    assert choose_cameras(dataset, (key,)) == [key]


def test_quaternions_are_warned_of_and_fixed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = np.tile([0.5, 0, 0, 0.6, 0, 0.8], (62, 1))
    values[5:, 2:] *= -1
    values[8, 2:] *= 3
    names = ["x", "gripper", "ee_qx", "ee_qy", "ee_qz", "ee_qw"]
    column = pa.array(values.tolist(), pa.list_(pa.float64()))
    root = with_column(tmp_path, "observation.state", column, [6], names)
    warned = run(tmp_path, root, max_episodes=1, convert_workers=1)
    assert re.search(r"1 times .* 1 rows", caplog.text)
    with h5py.File(warned.paths[0]) as file:
        assert np.array_equal(file["observations/qpos"], values[:12].astype(np.float32))
    fixed = run(tmp_path, root, max_episodes=1, fix_quaternions=True)
    with h5py.File(fixed.paths[0]) as file:
        qpos = file["observations/qpos"][()]
    np.testing.assert_allclose(qpos, np.tile(values[0], (12, 1)), atol=1e-6)


def start(output: Path, *flags: str, **environment: str) -> Job:
    where = (SMALL / "v30_multifile", output)
    return start_module("convert", *where, *flags, environment=environment)


@pytest.mark.slow
def test_shards_side_by_side_give_the_bytes_of_one_run(tmp_path: Path) -> None:
    one, shared = tmp_path / "one", tmp_path / "shared"
    early = ended(start(shared, "--check_whole"), shared)
    assert early.code == 4
    assert "8 of 8" in early.errors[0]
    places = [
        {"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "3"},
        {"AWS_BATCH_JOB_ARRAY_INDEX": "1", "AWS_BATCH_JOB_ARRAY_SIZE": "3"},
        {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "5"},
    ]
    processes = [start(shared, **place) for place in places]
    for process in processes:
        end = ended(process, shared)
        assert end.code == 0, end.err
    assert ended(start(one), one).code == 0
    whole = ended(start(shared, "--check_whole"), shared)
    assert whole.code == 0, whole.err
    assert whole.manifest["status"] == "completed"
    assert len(whole.manifest["artifacts"]) == 8
    files = sorted(path.name for path in shared.iterdir() if path.suffix == ".hdf5")
    assert files == [f"episode_{i}.hdf5" for i in range(8)]
    assert all((shared / name).read_bytes() == (one / name).read_bytes() for name in files)
    assert (shared / "manifest_2_of_3.json").exists()


@pytest.mark.slow
def test_a_shard_that_is_started_twice_is_75_and_touches_nothing(tmp_path: Path) -> None:
    first = start(tmp_path, "--shard", "1/2", "--convert_workers", "1", **OWN_PROCESSES)
    wait_for(lambda: any(tmp_path.glob(".episode_*.partial")))
    first.send_signal(signal.SIGSTOP)  # it writes nothing while it stands still
    for child in (workers_of_first := children(first.pid)):
        os.kill(child, signal.SIGSTOP)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = ended(start(tmp_path, "--shard", "1/2"), tmp_path)
    assert second.code == 75, second.err
    assert str(tmp_path) in second.errors[0]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    for pid in (*workers_of_first, first.pid):
        os.kill(pid, signal.SIGCONT)
    assert ended(start(tmp_path, "--shard", "0/2"), tmp_path).code == 0
    assert ended(first, tmp_path).code == 0
    assert ended(start(tmp_path, "--check_whole"), tmp_path).code == 0


@pytest.mark.slow
def test_a_set_that_is_not_whole(tmp_path: Path) -> None:
    config = make_config(tmp_path, input=SMALL / "v30_h264")
    converted = convert(config, tmp_path / "e")
    assert check_whole(config, tmp_path / "e").paths == converted.paths
    converted.paths[2].unlink()
    with raises_code(OutputError, "episodes-incomplete", "1 of 4 .*episode_2.hdf5"):
        check_whole(config, tmp_path / "e")


def test_one_folder_is_not_enough(tmp_path: Path) -> None:
    end = run_module("convert", str(tmp_path), output=tmp_path)
    assert end.code == 2
    assert str(tmp_path) in end.errors[0]


@pytest.mark.parametrize("inside", ["", "out"])
def test_an_output_inside_the_input_is_refused(tmp_path: Path, inside: str) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v30_h264", root)
    before = sorted(root.rglob("*"))
    end = run_module("convert", str(root), str(root / inside), output=tmp_path)
    assert end.code == 2
    assert str(root / inside) in end.errors[0]
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("task", "kind", "code", "values"),
    [
        (3, OutputError, "memory", "task 3: .*--convert_workers"),
        (5, DatasetError, "worker-crash", "task 5: .*SIGSEGV"),
        (7, OutputError, "memory", "episode 12 .file-003.mp4.: "),
    ],
)
@pytest.mark.usefixtures("own_workers")
def test_a_worker_that_dies_is_named_and_hangs_nobody(
    task: int, kind: type[JobError], code: str, values: str
) -> None:
    with raises_code(kind, code, values):
        list(workers.run_tasks(die, [1, task, 2, 4], 2, lambda number: f"task {number}"))


def test_a_bug_in_a_worker_is_a_bug_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)task 6.*ZeroDivisionError: a bug"):
        list(workers.run_tasks(die, [1, 6, 2, 4], 2, lambda number: f"task {number}"))


@pytest.mark.slow
def test_a_worker_that_hangs_is_named_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is short once the worker has started, which takes longer on some machines."""
    slow, hangs = workers.run_tasks(hang, [1], 1, str), workers.run_tasks(hang, [3], 1, str)
    assert (next(slow), next(hangs)) == (1, 3)
    monkeypatch.setattr(workers, "SILENT_S", 2)
    assert list(slow) == [1] * 30  # for three seconds
    with raises_code(DatasetError, "worker-crash", "episode 12 .file-003.mp4.: "):
        list(hangs)


def test_reading_a_long_file_gives_signs_of_life(tmp_path: Path) -> None:
    """Also a seek that decodes from the beginning, as there is one key frame."""
    path = tmp_path / "long.mp4"
    encode(path, range(300))
    assert reports_of_a_late_frame(path) <= 2  # that it is opened, and near a key frame
    encode(path, range(300), gop=1000)
    assert reports_of_a_late_frame(path) >= 5


def reports_of_a_late_frame(path: Path) -> int:
    """How often a file of 300 frames is reported while the last one is read."""
    reported: list[Path] = []
    with VideoReader(path, Fraction(30), on_read=reported.append) as reader:
        next(reader.frames([299]))
    return len(reported)


@pytest.mark.usefixtures("own_workers")
def test_the_kernel_takes_a_worker_before_the_job() -> None:
    """A worker's death is reported with its episode; the job's own would be a bare SIGKILL."""
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    assert list(workers.run_tasks(vulnerability, [1], 1, str)) == [1000]
    assert int(Path("/proc/self/oom_score_adj").read_text()) == ours


def test_workers_report_everything() -> None:
    done = list(workers.run_tasks(die, [1, 2, 4], 2, str))
    assert sorted(done) == [1, 2, 4]


@pytest.mark.parametrize("moment", ["the plan is printed", "workers start", "frames are written"])
def test_ctrl_c_at_any_time_is_75_without_a_traceback(tmp_path: Path, moment: str) -> None:
    inputs = [str(ROOT / "tests/data" / name) for name in ("aloha_sim_v21", "aloha_sim_v30")]
    process = start_module("convert", *inputs, tmp_path, "--convert_workers", "1")
    assert process.stdout is not None
    while "disk" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    while moment == "workers start" and not children(process.pid):
        assert process.poll() is None
    while moment == "frames are written" and not list(tmp_path.glob(".episode_0*")):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    end = ended(process, tmp_path)
    assert end.code == 75, end.err
    assert "Traceback" not in end.err
    assert end.manifest["status"] == "interrupted"
    assert not list(tmp_path.glob(".*"))


def test_memory_stays_small_on_a_long_episode(tmp_path: Path) -> None:
    """A worker may take 400 MB, whatever the length of the episode."""
    process = start(tmp_path / "out", "--convert_workers", "1", **OWN_PROCESSES)
    peaks: dict[int, int] = {}
    while process.poll() is None:
        for pid in children(process.pid):  # before it runs Python it has the memory of the job
            peaks[pid] = _peak_bytes(pid) or peaks.get(pid, 0)
        time.sleep(0.02)
    assert ended(process, tmp_path).code == 0
    assert 1 << 20 < max(peaks.values()) < 400 << 20


def test_large_pages_of_images_are_foreseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parquet is read by pages, and what they take decides how many workers there are."""
    config = make_config(tmp_path, input=SMALL / "v21_image")
    plan = make_plan(config, tmp_path)
    assert worker_bytes(plan) == WORKER_BYTES
    monkeypatch.setattr("job.machine.memory_bytes", lambda: WORKER_BYTES - 1)
    with raises_code(OutputError, "memory", r"0\.42 GB .*0\.42 GB; .*more$"):
        worker_count(config, plan, 3)
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v21_image", root)
    path = root / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    image = table["observation.images.front"].to_pylist()
    large = [{"bytes": cell["bytes"] + np.random.bytes(5 << 20), "path": ""} for cell in image]
    place = table.column_names.index("observation.images.front")
    kind = table.schema.field(place).type
    table = table.set_column(place, "observation.images.front", pa.array(large, kind))
    pq.write_table(table, path)
    plan = make_plan(make_config(tmp_path, input=root), tmp_path)
    assert worker_bytes(plan) > 3 * len(image) * (5 << 20)
    with raises_code(OutputError, "memory", "more; .*parquet pages"):
        worker_count(config, plan, 3)


def _peak_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0].split()[1]) << 10 if found else 0
