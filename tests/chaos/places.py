"""Folders on file systems of several kinds, for jobs that are disturbed there."""

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.support.weak_folder import weak_folder

# all that a job can do without
_LACKS = {
    "sync": errno.EOPNOTSUPP,
    "sync_folder": errno.EINVAL,
    "lock": errno.ENOLCK,
    "lock_folder": errno.ENOLCK,
    "append": errno.EPERM,
    "link": errno.EPERM,
    "seek": errno.ESPIPE,
    "direct": errno.EINVAL,
}
_MOUNTED_S = 20.0


@dataclass(frozen=True)
class Place:
    """A folder, and the environment of those who work there."""

    folder: Path
    environment: Mapping[str, str]
    end: Callable[[], None] | None = None  # takes away what serves the folder
    slower: float = 1.0  # how much longer a job takes than one that is forked, on a local disk


MakePlace = Callable[[], AbstractContextManager[Place]]


@contextlib.contextmanager
def local() -> Iterator[Place]:
    """A local disk."""
    with tempfile.TemporaryDirectory() as folder:
        yield Place(Path(folder), {})


@contextlib.contextmanager
def weak() -> Iterator[Place]:
    """One that lacks every call that a job can do without; it works alone there."""
    with tempfile.TemporaryDirectory() as folder:
        yield Place(Path(folder), weak_folder(Path(folder), **_LACKS), slower=1.5)


@contextlib.contextmanager
def rclone() -> Iterator[Place]:
    """An `rclone mount` in its default cache mode: written from start to end, never appended to."""
    words = ("rclone", "mount", "--config", os.devnull, ":local:{source}", "{target}")
    with _mounted(*words) as place:
        yield place


@contextlib.contextmanager
def gocryptfs() -> Iterator[Place]:
    """An encrypted folder."""
    with tempfile.TemporaryDirectory() as secret:
        password = Path(secret, "password")
        password.write_text("chaos")
        words = ("gocryptfs", "-q", "-passfile", str(password))
        with _mounted(*words, "-fg", "{source}", "{target}", first=(*words, "-init")) as place:
            yield place


@contextlib.contextmanager
def _mounted(*words: str, first: tuple[str, ...] = ()) -> Iterator[Place]:
    """A folder that a program serves in the foreground, by FUSE.

    words: its command line; first: another one, which makes the source
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        source.mkdir()
        target.mkdir()
        if first:
            subprocess.run([*first, str(source)], check=True)
        named = [word.format(source=source, target=target) for word in words]
        with subprocess.Popen(named, stdout=subprocess.DEVNULL) as server:
            try:
                _wait_for_mount(target, server)
                yield Place(target, {}, server.kill, slower=1.5)
            finally:
                subprocess.run(["fusermount3", "-uz", str(target)], check=False)
                server.terminate()


def _wait_for_mount(target: Path, server: "subprocess.Popen[bytes]") -> None:
    ends = time.monotonic() + _MOUNTED_S
    while not target.is_mount():
        assert server.poll() is None, "the program that mounts has ended"
        assert time.monotonic() < ends, "nothing was mounted"
        time.sleep(0.05)


def lacking(program: str) -> str:
    """Why a folder of that program cannot be mounted here; empty where it can."""
    for name in (program, "fusermount3"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    return "" if os.access("/dev/fuse", os.R_OK | os.W_OK) else "/dev/fuse cannot be used"
