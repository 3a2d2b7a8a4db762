"""Whole commands whose output is on a file system that can do less than a local disk."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from job.file_system import free_bytes
from tests.support import commands
from tests.support.commands import HANGS_S, Ended, arguments, command_environment, imitate
from tests.support.episodes import write_official
from tests.support.files import contents
from tests.support.jobs import Job
from tests.support.paths import ROOT, SMALL
from tests.support.schema import VALIDATOR
from tests.support.weak_folder import needs_compiler, weak_folder

pytestmark = pytest.mark.slow

# Beside the other jobs with the weak folder: the server that forks them takes eight seconds.
in_chaos = pytest.mark.xdist_group("chaos")

LACKS = {
    "sync_folder": errno.EINVAL,
    "lock": errno.ENOLCK,
    "lock_folder": errno.ENOLCK,
    "append": errno.EPERM,
    "seek": errno.ESPIPE,
}


def run(words: list[str], output: Path, environment: Mapping[str, str]) -> Ended:
    """Run a command of the container in an environment."""
    streams = (subprocess.PIPE, subprocess.PIPE)
    job = Job(["entrypoint.py", *words], command_environment() | dict(environment), *streams)
    return commands.ended(job, output)


def run_alone(words: list[str], output: Path, environment: Mapping[str, str]) -> Ended:
    """The same by a Python of its own, for what depends on its start."""
    done = subprocess.run(
        [sys.executable, "entrypoint.py", *words],
        cwd=ROOT,
        env=command_environment() | dict(environment),
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr, output)


def convert(output: Path, environment: Mapping[str, str], *extra: str) -> Ended:
    return run(conversion(output, *extra), output, environment)


def conversion(output: Path, *extra: str) -> list[str]:
    return ["convert", str(SMALL / "v21_h264"), str(output), "--state_dim", "0", *extra]


@needs_compiler
@in_chaos
def test_a_conversion_gives_the_same_bytes_and_one_warning(tmp_path: Path) -> None:
    """Of all that is lacking: on the terminal, in the manifest, and when it is run again."""
    usual, weak = tmp_path / "usual", tmp_path / "weak"
    assert convert(usual, {}).code == 0
    for _ in range(2):
        ended = convert(weak, weak_folder(weak, **LACKS))
        assert ended.code == 0, ended.err
        VALIDATOR.validate(ended.manifest)
        (warning,) = [one for one in ended.manifest["warnings"] if one.startswith("output-weak: ")]
        assert ended.err.count(warning) == 1
        for part in ("synced", "locked", "appended"):
            assert part in warning
    episodes = {Path(path).name: digest for path, digest in contents(weak).items()}
    expected = {Path(path).name: digest for path, digest in contents(usual).items()}
    for found in (episodes, expected):
        del found["manifest.json"]
    assert episodes == expected
    assert len(episodes) == 4


@needs_compiler
@in_chaos
def test_a_shard_is_converted_where_nothing_is_locked(tmp_path: Path) -> None:
    environment = weak_folder(tmp_path, lock=errno.EOPNOTSUPP, lock_folder=errno.EOPNOTSUPP)
    ended = convert(tmp_path, environment, "--shard", "0/2")
    assert ended.code == 0, ended.err
    manifest = json.loads((tmp_path / "manifest_0_of_2.json").read_text())
    assert [one for one in manifest["warnings"] if one.startswith("output-weak: ")]


@needs_compiler
@pytest.mark.parametrize("command", ["job", "convert"])
def test_a_folder_that_cannot_do_is_refused_before_anything_is_imported(
    tmp_path: Path, command: str
) -> None:
    """With the true reason and a code of the environment, not of the dataset."""
    environment = weak_folder(tmp_path, replace=errno.EEXIST)
    environment["PYTHONPROFILEIMPORTTIME"] = "1"
    if command == "job":
        words = arguments(tmp_path, input=SMALL / "v21_h264")
    else:
        words = conversion(tmp_path)
    ended = run_alone(words, tmp_path, environment)
    assert ended.code == 4
    (error,) = ended.errors
    assert error.startswith(f"error: {tmp_path}: no file can take the place of another")
    imported = {line.rpartition("|")[2].strip() for line in ended.err.splitlines()}
    assert "json" in imported
    assert "torch" not in imported


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a folder read-only")
def test_a_finished_run_is_finished_on_a_read_only_folder_too(
    tmp_path: Path, job: Callable[..., Ended]
) -> None:
    """Nothing is left to write, so nothing has to be possible; another run is refused."""
    write_official(tmp_path / "episodes", [5, 6])
    flags = {"input": tmp_path / "episodes", "num_epochs": 1}
    done = job(**flags)
    assert done.code == 0, done.err
    before = contents(done.output)
    subprocess.run(["mount", "--bind", str(done.output), str(done.output)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(done.output)], check=True)
        again, other = job(**flags), job(**flags, run_name="other")
    finally:
        subprocess.run(["umount", str(done.output)], check=True)
    assert again.code == 0, again.err
    assert other.code == 4
    assert "read-only" in other.errors[0]
    assert contents(done.output) == before


def test_upstreams_command_tries_its_folder_too(tmp_path: Path) -> None:
    """A file where the folder should be."""
    write_official(tmp_path / "episodes", [5, 6])
    (tmp_path / "run").write_text("")
    ended = imitate(tmp_path)
    assert ended.code == 4, ended.err
    assert str(tmp_path / "run") in ended.errors[0]


def test_a_disk_that_does_not_say_what_is_free_refuses_nothing() -> None:
    assert free_bytes(Path("/proc")) == float("inf")
    assert 0 < free_bytes(ROOT) < float("inf")
