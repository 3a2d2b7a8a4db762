"""The real command line, for every test."""

import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import pytest

from tests.support.backbone import backbone_file
from tests.support.buckets import S3, Buckets, serving
from tests.support.bytecode import keep_bytecode
from tests.support.commands import Ended, run_job
from tests.support.jobs import fork_workers, share_server
from tests.support.order import pytest_collection_modifyitems as pytest_collection_modifyitems
from tests.support.priority import usual_priority


def pytest_configure() -> None:
    """The processes of a session share bytecode, a backbone and a fork server, by environment."""
    keep_bytecode()
    share_server()  # which imports the libraries meanwhile
    backbone_file()


@pytest.fixture(autouse=True, scope="session")
def _forked_workers() -> None:
    """Workers do not start a Python and import libraries: most conversions are shorter."""
    fork_workers()


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """No log handlers of an earlier test: they write to a stream that is closed by now."""
    _forget_terminal()
    yield
    _forget_terminal()


@pytest.fixture(autouse=True)
def _usual_priority() -> Iterator[None]:
    """No test leaves threads of real time to the next."""
    yield
    usual_priority()


def _forget_terminal() -> None:
    logger = logging.getLogger("act")
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def own_workers() -> Iterator[None]:
    """Workers start by themselves: for what depends on whose children they are."""
    forked = spawn.get_executable()
    multiprocessing.set_executable(sys.executable)
    yield
    multiprocessing.set_executable(forked)


@pytest.fixture(scope="session")
def s3() -> Iterator[Buckets]:
    """An S3 server as a process, behind a switch."""
    with serving(S3) as found:
        yield found


@pytest.fixture
def bucket(s3: Buckets, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new bucket of it."""
    with s3.at_hand(monkeypatch) as address:
        yield address


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Ended]:
    """Run the container's command as a process: `job(input=..., num_epochs=1)`."""

    def run(output: Path = tmp_path / "output", extra: tuple[str, ...] = (), **flags: Any) -> Ended:
        return run_job(output, extra, **flags)

    return run
