"""A folder on a file system that lacks some calls: what a process's environment needs for it."""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests.chaos.jumping_clock import COMPILER

_SOURCE = Path(__file__).with_suffix(".c")

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no compiler for the weak folder")


def weak_folder(root: Path, **errors: int) -> dict[str, str]:
    """The variables that have every program see `root` so.

    errors: the errno of each call that it lacks; weak_folder.c has their names
    """
    variables = {f"WEAK_{call.upper()}": str(error) for call, error in errors.items()}
    return variables | {"LD_PRELOAD": str(_library()), "WEAK_ROOT": str(root)}


@cache
def _library() -> Path:
    assert COMPILER is not None
    library = Path(tempfile.mkdtemp(prefix="weak_folder")) / "weak_folder.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall"]
    subprocess.run([COMPILER, *flags, "-o", str(library), str(_SOURCE)], check=True)
    return library
