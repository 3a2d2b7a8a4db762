"""Output folders that lack what a local disk has: a job runs with a warning, or says why not."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest

from job.file_system import kind
from job.whole_files import recorded_sha256, whole_file
from tests.chaos.places import MakePlace, gocryptfs, lacking, rclone
from tests.support.commands import command_environment
from tests.support.paths import ROOT
from tests.support.weak_folder import needs_compiler, weak_folder

# Takes the lock of a folder and tries it, as each command does, without the seconds torch takes
TRY = """
import json, logging, sys
from pathlib import Path
from job.errors import JobError
from job.lock import only_job
from job.output_folder import try_folder
logging.basicConfig(format="%(message)s")
folder = Path(sys.argv[1])
try:
    with only_job(folder):
        try_folder(folder)
except JobError as error:
    print(json.dumps([error.code, error.exit_code, str(error)]))
"""


def in_process(program: str, *words: str | Path, **environment: str) -> tuple[str, str]:
    """What a Python of its own prints, and its warnings."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=ROOT,
        env=command_environment() | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def tried(folder: Path, **lacks: int) -> list[str]:
    """The warnings, a line each, of a folder that lacks these calls; it must be tidy again."""
    out, warnings = in_process(TRY, folder, **weak_folder(folder, **lacks))
    assert out == ""
    assert {path.name for path in folder.iterdir()} <= {".lock"}
    return warnings.splitlines()


def test_a_local_disk_lacks_nothing(tmp_path: Path) -> None:
    assert in_process(TRY, tmp_path) == ("", "")
    assert list(tmp_path.iterdir()) == []


@needs_compiler
@pytest.mark.parametrize(
    ("lacks", "follows"),
    [
        ({"sync_folder": errno.EINVAL}, "power cut may undo the last files"),
        ({"sync_folder": errno.EOPNOTSUPP}, "power cut may undo the last files"),
        ({"sync": errno.ENOSYS}, "power cut may damage the last ones"),
        ({"lock": errno.ENOLCK, "lock_folder": errno.ENOLCK}, "no second job"),
        ({"lock": errno.EOPNOTSUPP, "lock_folder": errno.EOPNOTSUPP}, "no second job"),
        ({"lock": errno.ENOSYS, "lock_folder": errno.ENOSYS}, "no second job"),
        ({"append": errno.EPERM}, "written anew"),
        ({"append": errno.EOPNOTSUPP}, "written anew"),
    ],
)
def test_what_is_weaker_is_said_in_one_warning(
    tmp_path: Path, lacks: dict[str, int], follows: str
) -> None:
    (warning,) = tried(tmp_path, **lacks)
    assert warning.startswith(f"output-weak: {tmp_path} ({kind(tmp_path)})")
    assert follows in warning


@needs_compiler
def test_several_lacks_are_one_warning_too(tmp_path: Path) -> None:
    locks = {"lock": errno.ENOLCK, "lock_folder": errno.ENOLCK}
    (warning,) = tried(tmp_path, sync_folder=errno.EINVAL, append=errno.EPERM, **locks)
    assert warning.count(";") == 2


@needs_compiler
def test_nfs_locks_files_but_no_folders(tmp_path: Path) -> None:
    """There a lock needs a file that is open for writing: a second job is kept out by one."""
    environment = weak_folder(tmp_path, lock_folder=errno.EBADF)
    assert in_process(TRY, tmp_path, **environment) == ("", "")
    first = "import sys; from pathlib import Path; from job.lock import only_job\n"
    first += "with only_job(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", first, tmp_path],
        cwd=ROOT,
        env=command_environment() | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        out, _ = in_process(TRY, tmp_path, **environment)
        assert json.loads(out)[:2] == ["run-in-use", 75]
        holder.communicate()
    assert in_process(TRY, tmp_path, **environment) == ("", "")


@needs_compiler
@pytest.mark.parametrize("error", [errno.EEXIST, errno.ENOSYS, errno.EPERM])
def test_a_folder_where_nothing_is_replaced_is_refused(tmp_path: Path, error: int) -> None:
    out, warnings = in_process(TRY, tmp_path, **weak_folder(tmp_path, replace=error))
    code, exit_code, message = json.loads(out)
    assert (code, exit_code) == ("output-unfit", 4)
    assert message.startswith(f"{tmp_path}: ")
    assert os.strerror(error) in message
    assert warnings == ""
    assert list(tmp_path.iterdir()) == []


# Writes what a job writes: a recorded file twice, a log, an episode of either kind
WRITE = """
import sys
from pathlib import Path
import numpy as np
from episodes.writer import write_episode
from job.whole_files import append_lines, whole_copy, whole_file, whole_path
folder = Path(sys.argv[1])
for content in (b"first", b"second"):
    with whole_file(folder / "a", recorded=True) as file:
        file.write(content)
whole_copy(folder / "a", folder / "b")
for line in "xyz":
    append_lines(folder / "log", [line])
frames = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3), np.uint8)
vectors = {name: np.arange(6, dtype=np.float32).reshape(3, 2) for name in ("action", "qpos")}
for name, quality in (("raw", None), ("jpeg", 90)):
    images = dict.fromkeys(("left", "right"), (3, 64, 64))
    with (
        whole_path(folder / name) as partial,
        write_episode(partial, vectors, images, {"sim": True}, quality) as writer,
    ):
        for camera, seen in zip(images, frames, strict=True):
            for ts, frame in enumerate(seen):
                writer.write_frame(camera, ts, frame)
"""


def written(folder: Path) -> dict[str, Any]:
    """The content of each file but the record, which has inodes and times."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "files.jsonl"}


@needs_compiler
@pytest.mark.parametrize(
    "lacks",
    [
        {"seek": errno.ESPIPE, "append": errno.EPERM, "link": errno.EIO},  # rclone mount
        {"sync": errno.ENOSYS, "sync_folder": errno.EINVAL, "append": errno.EOPNOTSUPP},
        {"direct": errno.EINVAL},
    ],
    ids=["bucket", "no sync", "no direct writes"],
)
def test_the_same_bytes_are_written_where_calls_are_lacking(
    tmp_path: Path, lacks: dict[str, int]
) -> None:
    usual, weak = tmp_path / "usual", tmp_path / "weak"
    for folder, environment in ((usual, {}), (weak, weak_folder(weak, **lacks))):
        folder.mkdir()
        in_process(WRITE, folder, **environment)
    assert written(weak) == written(usual)
    assert set(written(usual)) == {"a", "b", "log", "raw", "jpeg"}
    records = [line for line in (weak / "files.jsonl").read_text().splitlines() if line]
    assert [json.loads(line)["name"] for line in records] == ["a", "a", "b"]


REAL = [
    pytest.param(
        place, id=name, marks=pytest.mark.skipif(bool(lacking(name)), reason=lacking(name) or "-")
    )
    for name, place in (("rclone", rclone), ("gocryptfs", gocryptfs))
]


@pytest.mark.slow
@pytest.mark.parametrize("place", REAL)
def test_the_same_bytes_are_written_on_real_mounts(tmp_path: Path, place: MakePlace) -> None:
    in_process(WRITE, tmp_path)
    with place() as mounted:
        out, warnings = in_process(TRY, mounted.folder)
        assert out == ""
        assert len(warnings.splitlines()) <= 1
        in_process(WRITE, mounted.folder)
        assert written(mounted.folder) == written(tmp_path)


@pytest.mark.skipif(bool(lacking("rclone")), reason=lacking("rclone") or "-")
def test_a_mount_that_went_away_is_named(tmp_path: Path) -> None:
    with rclone() as mounted:
        assert mounted.end is not None
        mounted.end()
        out, _ = in_process(TRY, mounted.folder)
        code, exit_code, message = json.loads(out)
    assert (code, exit_code) == ("output-unwritable", 4)
    assert "does not answer" in message


READ = """
import sys
from pathlib import Path
from episodes.reader import open_episode
with open_episode(Path(sys.argv[1])) as file:
    print(file["x"][()])
"""


@needs_compiler
@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_an_episode_is_read_where_hdf5_cannot_lock_it(tmp_path: Path, error: int) -> None:
    path = tmp_path / "episode_0.hdf5"
    with h5py.File(path, "w") as file:
        file["x"] = 7
    assert in_process(READ, path, **weak_folder(tmp_path, lock=error)) == ("7\n", "")


def test_a_file_of_a_second_without_parts_is_hashed_again(tmp_path: Path) -> None:
    """Where times are whole seconds, two states of one size within one could not be told apart."""
    path = tmp_path / "a"
    with whole_file(path, recorded=True) as file:
        file.write(b"content")
    assert recorded_sha256(path) is not None
    record = tmp_path / "files.jsonl"
    entry = json.loads(record.read_text())
    os.utime(path, ns=(10**18, 10**18))
    record.write_text(json.dumps(entry | {"mtime_ns": 10**18}))
    assert recorded_sha256(path) is None


def test_kinds_of_file_systems_have_their_names() -> None:
    assert kind(Path("/proc/self")) == "proc"
    assert kind(Path("/sys")) == "sysfs"
    assert kind(ROOT) not in ("unknown", "proc")
