"""Files appear under their name only when whole, on real and on full disks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from job.errors import OutputError
from job.whole_files import (
    append_lines,
    recorded_sha256,
    sampled_sha256,
    sha256,
    whole_copy,
    whole_file,
    whole_path,
    write_json,
)
from tests.support.errors import raises_code
from tests.support.paths import ROOT

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_new_content_replaces_the_old_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@as_root
def test_full_disk_is_one_line_and_keeps_the_old_file(small_disk: Path) -> None:
    path = small_disk / "a"
    path.write_bytes(b"old")
    with raises_code(OutputError, "output-unwritable"), whole_file(path) as file:
        file.write(bytes(2 << 20))
    assert path.read_bytes() == b"old"
    assert list(small_disk.iterdir()) == [path]


@as_root
def test_full_disk_stops_a_log(small_disk: Path) -> None:
    with raises_code(OutputError, "output-unwritable"):
        append_lines(small_disk / "log", ["x" * (2 << 20)])


def test_something_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with raises_code(OutputError, "output-unwritable", str(tmp_path / "file")):
        write_json(tmp_path / "file/manifest.json", {})


def test_path_form_is_for_writers_that_want_a_name(tmp_path: Path) -> None:
    with whole_path(tmp_path / "deep/b") as partial:
        partial.write_text("x")
    assert (tmp_path / "deep/b").read_text() == "x"


def test_json_has_no_numbers_that_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_digests_tell_files_apart(tmp_path: Path) -> None:
    content = bytearray(os.urandom(5 << 20))
    (tmp_path / "a").write_bytes(content)
    content[-1] ^= 1
    (tmp_path / "b").write_bytes(content)
    assert sha256(tmp_path / "a") != sha256(tmp_path / "b")
    assert sampled_sha256(tmp_path / "a") != sampled_sha256(tmp_path / "b")
    (tmp_path / "c").write_bytes(b"")
    assert len(sampled_sha256(tmp_path / "c")) == 64


def _write_recorded(path: Path, content: bytes) -> None:
    with whole_file(path, recorded=True) as file:
        file.write(content)


def test_a_recorded_file_is_known_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"first", b"second"):
        _write_recorded(path, content)
        assert recorded_sha256(path) == sha256(path)
    path.write_bytes(b"by another hand")
    assert recorded_sha256(path) is None


def test_a_copy_is_the_same_file_until_the_first_is_written_again(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    _write_recorded(first, b"old")
    for _ in range(2):  # the second time it is there already
        whole_copy(first, second)
        assert second.samefile(first)
        assert recorded_sha256(second) == sha256(first)
    _write_recorded(first, b"new")
    assert second.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "files.jsonl"}


@as_root
def test_a_copy_where_there_are_no_links(tmp_path: Path, small_disk: Path) -> None:
    first, second = small_disk / "a", tmp_path / "b"  # links do not lead to another disk
    _write_recorded(first, b"content")
    whole_copy(first, second)
    assert second.read_bytes() == b"content"
    assert recorded_sha256(second) == sha256(second)


_WRITER = """
import sys
from pathlib import Path
from job.whole_files import write_json
for number in range(200):
    write_json(Path(sys.argv[1]), {"number": number}, shared=True)
"""


def test_two_processes_may_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    left_over = tmp_path / ".a.json.0123abcd.partial"  # by a job that was killed long ago
    left_over.touch()
    os.utime(left_over, (0, 0))
    command = [sys.executable, "-c", _WRITER, str(path)]
    writers = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert json.loads(path.read_text()) == {"number": 199}
    assert list(tmp_path.iterdir()) == [path]
