"""What a message advises is done here, and helps."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pytest

from convert.check.__main__ import main as check_command
from convert.check.dataset import check
from convert.check.episode_files import check_episode_files
from convert.check.gate import check_input
from convert.flags import ConversionFlags, DataFlags
from convert.sources import find_datasets
from job.errors import DatasetError, UsageError
from job.whole_files import sha256
from tests.support.barcode import Code
from tests.support.broken import FRONT, WRIST, edit_feature, edit_rows, set_vectors
from tests.support.conversion import convert_here
from tests.support.episodes import write_official
from tests.support.errors import raises_code
from tests.support.paths import SMALL
from tests.support.recording import CAMERA, Take, encode, write_v21, write_v30

REPO = "datasets--user--pick"


def hub(folder: Path, dataset: Path, revision: str = "rev", *, is_shared: bool = False) -> Path:
    """A folder as the Hugging Face Hub's client keeps a dataset; gives its snapshot.

    is_shared: its blobs are links into a store of all datasets
    """
    snapshot = folder / REPO / "snapshots" / revision
    for path in [path for path in dataset.rglob("*") if path.is_file()]:
        digest = sha256(path)
        blob, link = folder / REPO / "blobs" / digest, snapshot / path.relative_to(dataset)
        stored = folder / "blobs" / digest[:2] / digest if is_shared else blob
        for one in (stored, blob, link):
            one.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, stored)
        if is_shared and not blob.is_symlink():
            blob.symlink_to(os.path.relpath(stored, blob.parent))
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("given", [".", REPO, f"{REPO}/snapshots/rev"])
def test_the_snapshot_of_a_cache_is_found(tmp_path: Path, given: str, is_shared: bool) -> None:
    snapshot = hub(tmp_path / "hub", SMALL / "v30_h264", is_shared=is_shared)
    assert find_datasets([tmp_path / "hub" / given]) == [snapshot]
    assert not check(snapshot).errors


def test_of_several_snapshots_that_of_main_is_taken(tmp_path: Path) -> None:
    snapshots = [hub(tmp_path, SMALL / "v30_h264", revision) for revision in ("a", "b")]
    with raises_code(UsageError, "input-several", str(snapshots[1])):
        find_datasets([tmp_path / REPO])
    assert find_datasets([snapshots[1]]) == [snapshots[1]]
    (tmp_path / REPO / "refs").mkdir()
    (tmp_path / REPO / "refs/main").write_text("b\n")
    assert find_datasets([tmp_path]) == [snapshots[1]]
    (tmp_path / REPO / "refs/main").write_text("../../elsewhere")
    with raises_code(UsageError, "input-several"):
        find_datasets([tmp_path])


def test_a_snapshot_without_its_blobs(tmp_path: Path) -> None:
    hub(tmp_path / "hub", SMALL / "v30_h264")
    alone = tmp_path / "mounted"
    shutil.copytree(tmp_path / "hub" / REPO / "snapshots/rev", alone, symlinks=True)
    (message,) = {error.message for error in check(alone).errors if "info.json" in error.where}
    assert "datasets--…, which holds blobs/ and snapshots/" in message  # shown to help above
    shutil.copytree(tmp_path / "hub" / REPO / "snapshots/rev", tmp_path / "copied")  # cp -rL
    assert not check(tmp_path / "copied").errors


def test_a_cache_without_the_store_of_its_blobs(tmp_path: Path) -> None:
    snapshot = hub(tmp_path / "hub", SMALL / "v30_h264", is_shared=True)
    alone = tmp_path / "mounted"
    shutil.copytree(tmp_path / "hub" / REPO, alone / REPO, symlinks=True)
    (found,) = find_datasets([alone / REPO])
    (message,) = {error.message for error in check(found).errors if "info.json" in error.where}
    digest = sha256(snapshot / "meta/info.json")
    assert f"through {alone / REPO / 'blobs' / digest}" in message  # the hop that dangles
    assert f"(here {alone})" in message
    assert f"({REPO})" in message
    shutil.copytree(tmp_path / "hub/blobs", alone / "blobs")
    assert not check(found).errors


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v30_h264", root)
    info = root / "meta/info.json"
    info.unlink()
    info.symlink_to("other.json")
    (root / "meta/other.json").symlink_to("info.json")
    assert "link-dangling" in {error.code for error in check(root).errors}


def as_matroska(path: Path) -> None:
    """The same packets in the container that some tools write under the name .mp4."""
    renamed = path.with_suffix(".mkv")
    with av.open(str(path)) as source, av.open(str(renamed), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    renamed.rename(path)


def test_matroska_under_an_mp4_name_is_read(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(SMALL / "v30_h264", root)
    flags = DataFlags(input=(root,), image_size="12x16")
    plain = convert_here(flags, tmp_path / "plain")
    for path in (root / "videos").rglob("*.mp4"):
        as_matroska(path)
    assert not check(root).errors
    other = convert_here(flags, tmp_path / "other")
    assert pictures(plain.folder) == pictures(other.folder)


def pictures(folder: Path) -> list[bytes]:
    """Every camera's frames in every episode file of a folder."""
    found = []
    for path in sorted(folder.glob("*.hdf5")):
        with h5py.File(path) as file:
            images = file["observations/images"]
            found += [images[camera][:].tobytes() for camera in images]
    return found


TAKES = [Take(6), Take(8), Take(7), Take(5)]


def test_an_absolute_link_says_what_to_mount(tmp_path: Path) -> None:
    root = Path(shutil.copytree(SMALL / "v30_h264", tmp_path / "dataset"))
    info, blobs = root / "meta/info.json", tmp_path / "cache/blobs"
    blobs.mkdir(parents=True)
    info.rename(tmp_path / "kept")
    info.symlink_to(blobs / "abc")
    (message,) = {error.message for error in check(root).errors if "info.json" in error.where}
    assert f"mount {blobs} too, at that very path" in message
    (tmp_path / "kept").rename(blobs / "abc")
    assert not check(root).errors


def test_cameras_that_are_taken_for_depth_are_named_as_a_way_out(tmp_path: Path) -> None:
    root = Path(shutil.copytree(SMALL / "v21_h264", tmp_path / "dataset"))
    for key in (FRONT, WRIST):
        edit_feature(root, key, info={"video.pix_fmt": "gray"})
    (found,) = check(root).errors
    assert found.code == "camera-none"
    named = re.search(r"--camera_keys (\S+), or", found.message)
    assert named is not None
    assert not check(root, DataFlags(camera_keys=tuple(named[1].split(",")))).errors


def test_episode_files_without_colour_name_what_could_be_a_camera(tmp_path: Path) -> None:
    write_official(tmp_path, [5])
    with h5py.File(tmp_path / "episode_0.hdf5", "a") as file:
        images = file["observations/images"]
        for number, name in enumerate(list(images)):
            images.move(name, f"depth_{number}")
        file.attrs.pop("camera_names", None)
    ((error,),) = [report.errors for report in check_episode_files([tmp_path], DataFlags())]
    assert error.code == "camera-none"
    named = re.search(r"--camera_names (depth\S+),", error.message)
    assert named is not None
    flags = DataFlags(camera_names=tuple(named[1].split(",")))
    assert not check_episode_files([tmp_path], flags)[0].errors


def test_a_broken_episode_file_names_the_flag_that_leaves_it_out(tmp_path: Path) -> None:
    write_official(tmp_path / "a", [5, 5])
    write_official(tmp_path / "b", [5, 5, 5])
    folders = [tmp_path / "a", tmp_path / "b"]
    (tmp_path / "b/episode_1.hdf5").write_bytes(b"no HDF5")
    with h5py.File(tmp_path / "b/episode_2.hdf5", "a") as file:
        file["action"][0, 0] = np.nan
    _, second = check_episode_files(folders, DataFlags())
    named = [re.search(r"--exclude_episodes (\d+) leaves", one.message) for one in second.errors]
    numbers = [found[1] for found in named if found]
    assert numbers == ["3", "4"]
    flags = DataFlags(exclude_episodes=",".join(numbers))
    assert not any(report.errors for report in check_episode_files(folders, flags))


def hint(root: Path, caplog: pytest.LogCaptureFixture) -> str:
    """What a job that is refused advises."""
    flags = ConversionFlags(input=(root,), output=root.parent / "output")
    with pytest.raises(DatasetError):
        check_input(flags)
    return "\n".join(r.getMessage() for r in caplog.records if "only_whole" in r.getMessage())


def test_of_a_partial_download_the_episodes_that_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_v21(tmp_path / "dataset", TAKES)
    for episode in (1, 3):
        (root / f"data/chunk-000/episode_{episode:06d}.parquet").unlink()
        (root / f"videos/chunk-000/{CAMERA}/episode_{episode:06d}.mp4").unlink()
    report = check(root)
    assert {error.code for error in report.errors} == {"table-missing", "video-missing"}
    assert all("--episodes" in error.message for error in report.errors)
    assert report.facts["whole_episodes"] == "0,2"
    found = re.search(r"--episodes (\S+) takes", hint(root, caplog))
    assert found is not None
    for flags in ({"episodes": found[1]}, {"only_whole_episodes": True}):
        job: Any = ConversionFlags(input=(root,), output=tmp_path / "output", **flags)
        left_out = check_input(job)
        assert {index for _, index in left_out} == ({1, 3} if "episodes" not in flags else set())
    plan = convert_here(DataFlags(input=(root,), episodes=found[1]), tmp_path / "episodes")
    assert [source.episode.index for source in plan.sources] == [0, 2]


def test_no_hint_that_leaves_nothing_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_v30(tmp_path / "dataset", TAKES)
    (root / f"videos/{CAMERA}/chunk-000/file-000.mp4").unlink()  # which all episodes share
    assert hint(root, caplog) == ""
    assert "whole_episodes" not in check(root).facts


def nan_in_each(root: Path) -> None:
    set_vectors(root, "action", lambda values: values[2].fill(np.nan))


def row_doubled_in_each(root: Path) -> None:
    for path in (root / "data").rglob("*.parquet"):
        edit_rows(path, lambda rows: rows[3].update(frame_index=2))


def video_short_in_each(root: Path) -> None:
    for number, path in enumerate(sorted((root / "videos").rglob("*.mp4"))):
        encode(path, [(place, Code(number, place, 0)) for place in range(3)])


def no_table_at_all(root: Path) -> None:
    for path in (root / "data").rglob("*.parquet"):
        path.unlink()


@pytest.mark.parametrize(
    "breaking", [nan_in_each, row_doubled_in_each, video_short_in_each, no_table_at_all]
)
def test_no_message_leaves_out_the_last_episode(
    tmp_path: Path, breaking: Callable[[Path], None]
) -> None:
    """What ails one episode can be left out; what ails all of them cannot."""
    root = write_v21(tmp_path / "dataset", TAKES)
    breaking(root)
    errors = check(root).errors
    assert {error.episode for error in errors} >= set(range(4))
    for error in errors:
        assert not re.search("leave .* out|--episodes|whole", error.message), error.message
        assert re.search("again|as many|copy or", error.message), error.message
    shutil.rmtree(root)
    write_v21(root, TAKES)
    kept = root / "kept"
    shutil.copytree(root / "data", kept / "data")
    shutil.copytree(root / "videos", kept / "videos")
    breaking(root)
    for path in kept.rglob("*_00000[023].*"):  # one broken episode is left
        path.replace(root / path.relative_to(kept))
    errors = check(root).errors
    assert {error.episode for error in errors} == {1}
    assert all(re.search("leave .* out|--episodes", error.message) for error in errors)


def test_of_episodes_of_two_rates_those_of_one_are_used(tmp_path: Path) -> None:
    """The first is the odd one."""
    takes = [Take(30, rows=range(0, 30, 3)), Take(24), Take(30)]
    root = write_v21(tmp_path / "dataset", takes)
    errors = check(root).errors
    assert {(error.code, error.episode) for error in errors} == {("row-rate", 1), ("row-rate", 2)}
    assert all("one rate alone, with --episodes or" in error.message for error in errors)
    assert not check(root, only=frozenset({1, 2})).errors


def test_an_order_that_was_refused_is_not_refused_again_for_its_pictures(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "dataset", [Take(12, rows=range(8)), *TAKES])
    row_doubled_in_each(root)
    assert {error.code for error in check(root).errors} == {"frame-index"}


@pytest.mark.parametrize("broken", [1, 4])
def test_the_check_leaves_out_what_the_job_does(
    tmp_path: Path, broken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where nothing is left, both refuse with the first error."""
    root = write_v21(tmp_path / "dataset", TAKES)
    for episode in range(broken):
        path = root / f"data/chunk-000/episode_{episode:06d}.parquet"
        path.write_bytes(path.read_bytes()[:-20])
    code = check_command([str(root), "--only_whole_episodes", "--json"])
    report = json.loads(capsys.readouterr().out)
    flags = ConversionFlags(input=(root,), output=tmp_path / "out", only_whole_episodes=True)
    if broken == 4:
        assert code == DatasetError.exit_code
        with raises_code(DatasetError, "table-truncated"):
            check_input(flags)
        return
    assert code == 0
    assert report["errors"] == 0
    assert report["facts"]["left_out"] == "0"
    assert check_input(flags) == {(root, 0)}
