"""The real command line, for every test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Ended, arguments, run_python


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Ended]:
    """Run the container's command as a process: `job(input=..., num_epochs=1)`."""

    def run(output: Path = tmp_path / "output", extra: tuple[str, ...] = (), **flags: Any) -> Ended:
        output.mkdir(exist_ok=True)
        done = run_python("entrypoint.py", *arguments(output, **flags), *extra)
        return Ended(done.returncode, done.stdout, done.stderr, output)

    return run
