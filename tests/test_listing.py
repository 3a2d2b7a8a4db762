"""Lists of episodes as crashes and copies leave them: torn, copied, without where windows end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convert.check.dataset import check
from convert.check.gate import check_input
from convert.findings import Report
from convert.flags import ConversionFlags, DataFlags
from convert.lerobot.dataset import read_dataset
from convert.sources import LeftOut
from job.errors import DatasetError
from tests.support.broken import EPISODES_3, edit_rows, set_column
from tests.support.conversion import convert_here
from tests.support.digests import FILE, digests_of
from tests.support.errors import raises_code
from tests.support.paths import SMALL
from tests.support.recording import CAMERA, Take, write_v21, write_v30

TAKES = [Take(6), Take(8), Take(7)]
FLAGS = DataFlags(chunk_size=3)
ENDS = f"videos/{CAMERA}/to_timestamp"
KNOWN = json.loads(FILE.read_text())


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings if not finding.code.endswith("still")}


def whole_episodes_of(root: Path) -> LeftOut:
    """What a job leaves out with `--only_whole_episodes`."""
    output = root.parent / "output"
    return check_input(ConversionFlags(input=(root,), output=output, only_whole_episodes=True))


def test_a_job_goes_on_without_a_torn_line(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "dataset", TAKES)
    path = root / "meta/episodes.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert whole_episodes_of(root) == frozenset()


@pytest.mark.parametrize("cut", [20, 21])  # the second within a letter of two bytes
def test_a_torn_last_line_costs_its_episode(tmp_path: Path, cut: int) -> None:
    root = write_v21(tmp_path / "dataset", TAKES)
    path = root / "meta/episodes.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    torn = json.dumps({"tasks": ["Würfel"], "episode_index": 2}, ensure_ascii=False).encode()
    path.write_bytes(b"".join(lines[:2]) + torn[: torn.index("ü".encode()) + cut - 20])
    (found,) = check(root, FLAGS).errors
    assert found.code == "episodes-unreadable"
    assert "line 3" in found.message
    flags = DataFlags(input=(root,), only_whole_episodes=True, state_dim=0)
    plan = convert_here(flags, tmp_path / "episodes")
    assert [source.episode.index for source in plan.sources] == [0, 1]


def test_a_list_of_which_nothing_is_left_is_refused_for_that(tmp_path: Path) -> None:
    root = write_v21(tmp_path / "dataset", TAKES)
    (root / "meta/episodes.jsonl").write_text("{")
    with raises_code(DatasetError, "episodes-unreadable"):
        whole_episodes_of(root)


@pytest.mark.parametrize("name", ["chunk-000/file-000 (1).parquet", "chunk-007/file-000.parquet"])
def test_a_copied_list_loses_no_episode(tmp_path: Path, name: str) -> None:
    root = Path(shutil.copytree(SMALL / "v30_h264", tmp_path / "dataset"))
    first, copy = root / EPISODES_3, root / "meta/episodes" / name
    copy.parent.mkdir(exist_ok=True)
    shutil.copy(first, copy)
    (found,) = check(root, FLAGS).findings
    assert found.code == "listed-twice"
    assert str(first) in found.message
    assert str(copy) in found.message
    assert digests_of(root) == KNOWN["v30_h264"]
    copy.unlink()  # as it says
    assert not check(root, FLAGS).findings


def test_a_list_that_differs_names_both_and_costs_what_differs(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "dataset", TAKES)
    first = root / EPISODES_3
    copy = first.with_name("file-001.parquet")
    shutil.copy(first, copy)
    edit_rows(copy, lambda rows: rows[1].update(length=3))
    errors = check(root, FLAGS).errors
    assert {(one.code, one.episode) for one in errors} == {("episode-twice", 1)}
    assert str(first) in errors[0].message
    assert str(copy) in errors[0].message
    assert whole_episodes_of(root) == {(root, 1)}
    copy.unlink()
    assert not check(root, FLAGS).errors


@pytest.mark.parametrize("changed", [False, True])
def test_a_second_table_is_named_and_whether_it_is_equal(tmp_path: Path, changed: bool) -> None:
    root = write_v30(tmp_path / "dataset", TAKES)
    first = root / "data/chunk-000/file-000.parquet"
    copy = first.with_name("file-001.parquet")
    shutil.copy(first, copy)
    if changed:
        set_column(copy, "action", pq.read_table(copy)["observation.state"])
    found = [one for one in check(root, FLAGS).findings if one.code == "table-twice"]
    assert [one.episode for one in found] == [0, 1, 2]
    for one in found:
        assert one.where == str(first)
        assert str(copy) in one.message
        assert ("byte for byte" in one.message) is not changed
    copy.unlink()
    assert "table-twice" not in codes(check(root, FLAGS))


def drop_ends(root: Path) -> None:
    table = pq.read_table(root / EPISODES_3)
    pq.write_table(table.drop_columns([ENDS]), root / EPISODES_3)


def test_windows_without_an_end_are_those_that_were_written(tmp_path: Path) -> None:
    root = write_v30(tmp_path / "dataset", TAKES)
    stated = [episode.videos[CAMERA] for episode in read_dataset(root).episodes]
    drop_ends(root)
    derived = [episode.videos[CAMERA] for episode in read_dataset(root).episodes]
    for one, other in zip(stated, derived, strict=True):
        assert one.to_s is not None
        assert replace(other, to_s=one.to_s) == one
        assert other.to_s == pytest.approx(one.to_s)
    assert codes(check(root, FLAGS, deep=True)) == {"window-derived"}


def test_rows_cut_off_keep_their_pictures_without_an_end(tmp_path: Path) -> None:
    takes = [Take(9, rows=range(3, 9)), Take(8, rows=range(2, 8))]
    root = write_v30(tmp_path / "dataset", takes)
    expected = digests_of(root)
    drop_ends(root)
    assert digests_of(root) == expected


def test_a_window_that_nothing_determines_is_refused(tmp_path: Path) -> None:
    """The next episode begins before the rows end, so one of the starts is wrong."""
    root = write_v30(tmp_path / "dataset", TAKES)
    drop_ends(root)

    def edit(rows: list[dict[str, float]]) -> None:
        rows[1][f"videos/{CAMERA}/from_timestamp"] = 2 / 30

    edit_rows(root / EPISODES_3, edit)
    errors = {(one.code, one.episode) for one in check(root, FLAGS).errors}
    assert ("video-window-short", 0) in errors


# The order of rows without frame_index.


def shuffled(take: Take, **extra: pa.Array | None) -> Take:
    """The rows of a take in another order, without frame_index."""
    rows = np.random.default_rng(1).permutation(list(take.rows)).tolist()
    index = pa.array([row + 5 for row in rows])
    return Take(take.moments, rows, extra={"frame_index": None, "index": index, **extra})


@pytest.mark.parametrize("extra", [{}, {"index": None}, {"timestamp": None}], ids=str)
def test_shuffled_rows_are_sorted_by_what_says_their_order(
    tmp_path: Path, extra: dict[str, None]
) -> None:
    plain = write_v21(tmp_path / "plain", [Take(12)])
    root = write_v21(tmp_path / "shuffled", [shuffled(Take(12), **extra)])
    report = check(root, FLAGS)
    assert codes(report) == {"frame-index-derived"}
    assert digests_of(root) == digests_of(plain)


def test_rows_that_were_cut_out_keep_an_index_that_the_times_confirm(tmp_path: Path) -> None:
    kept = [0, 1, 2, 6, 7, 8, 9]
    extra = {"frame_index": None, "index": pa.array(kept)}
    root = write_v21(tmp_path / "dataset", [Take(10, rows=kept, extra=extra)])
    plain = write_v21(tmp_path / "plain", [Take(10, rows=kept)])
    assert {"frame-index-derived", "rows-cut"} <= codes(check(root, FLAGS))
    assert digests_of(root) == digests_of(plain)


CLOCK_SET_BACK = [0, 1, 2, 3, 4, 5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]


@pytest.mark.parametrize(
    ("index", "moments"),
    [
        ([3, 1, 2, 0, 4, 5, 6, 7, 8, 9, 10, 11], range(12)),  # they contradict each other
        ([0, 1, 2, 2, 4, 5, 6, 7, 8, 9, 10, 11], range(12)),
        (None, CLOCK_SET_BACK),
        (None, [0] * 12),
    ],
)
def test_an_order_that_is_not_certain_is_refused(
    tmp_path: Path, index: list[int] | None, moments: list[float]
) -> None:
    extra = {"frame_index": None, "index": index and pa.array(index)}
    times = [moment / 30 for moment in moments]
    root = write_v21(tmp_path / "dataset", [Take(12, times=times, extra=extra)])
    assert {one.code for one in check(root, FLAGS).errors} == {"frame-index"}
    with raises_code(DatasetError, "frame-index"):
        convert_here(DataFlags(input=(root,)), tmp_path / "episodes")
