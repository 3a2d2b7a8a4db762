"""The real command line, for every test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.backbone import backbone_file
from tests.support.commands import Ended, run_job


def pytest_configure() -> None:
    """The processes that share the tests share a backbone: its place is in the environment."""
    backbone_file()


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Ended]:
    """Run the container's command as a process: `job(input=..., num_epochs=1)`."""

    def run(output: Path = tmp_path / "output", extra: tuple[str, ...] = (), **flags: Any) -> Ended:
        return run_job(output, extra, **flags)

    return run
