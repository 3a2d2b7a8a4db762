"""The most memory that a job took, as the kernel saw it."""

import re
import subprocess
import sys

from tests.support.commands import command_environment
from tests.support.paths import ROOT

# A process takes over the peak of the one that it was started from, and a test process has a large
# one: hence a small process between the two.
_BETWEEN = """
import os, sys
pid = os.fork()
if not pid:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
_, status, usage = os.wait4(pid, 0)
print("peak", usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def foreseen_and_peak_gb(*words: str) -> tuple[float, float]:
    """What a job with these arguments says that a step takes, and what it took."""
    command = [sys.executable, "-c", _BETWEEN, "entrypoint.py", *words]
    ended = subprocess.run(
        command, cwd=ROOT, env=command_environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    foreseen = re.search(r"^memory     a step takes about ([\d.]+) GB$", ended.stdout, re.M)
    peak = re.search(r"^peak (\d+)$", ended.stdout, re.M)
    assert foreseen is not None
    assert peak is not None
    return float(foreseen[1]), int(peak[1]) * 1024 / 1e9
