"""Tests that share a fixture which takes long run in one process, each group in its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

_TESTS = """
import os
from pathlib import Path
import pytest

@pytest.fixture(scope="module")
def undisturbed():
    with Path("made").open("a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + chr(10))

@pytest.mark.parametrize("number", range(8))
def test_one_of_them(undisturbed, number):
    assert number >= 0
"""


@pytest.mark.slow
def test_a_shared_run_is_made_once(tmp_path: Path) -> None:
    """pytest-xdist passes over the groups where it does not know this pytest."""
    (tmp_path / "test_shared.py").write_text(_TESTS)
    (tmp_path / "conftest.py").write_text(
        "from tests.support.order import pytest_collection_modifyitems\n"
    )
    words = ["-m", "pytest", "-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder", "-q"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *words, "-p", "no:cacheprovider", "-W", "ignore", "."],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((tmp_path / "made").read_text().split()) == 1
