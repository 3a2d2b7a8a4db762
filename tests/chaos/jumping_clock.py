"""A machine whose clock jumps: what a job's environment needs for it, in each of its processes."""

import shutil
import subprocess
from pathlib import Path

COMPILER = shutil.which("cc")
_SOURCE = Path(__file__).with_suffix(".c")


def jumping_clock(folder: Path) -> dict[str, str]:
    """Compile the clock into a folder; returns the variable that has every program use it."""
    assert COMPILER is not None
    library = folder / "jumping_clock.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall"]
    subprocess.run([COMPILER, *flags, "-o", str(library), str(_SOURCE)], check=True)
    return {"LD_PRELOAD": str(library)}
