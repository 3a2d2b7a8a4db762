"""Signals, as a process of its own hears them."""

import signal
import subprocess
import sys
import time

import pytest

from tests.support.paths import ROOT

# Goes on for two seconds after a signal, unless it is ended.
PROGRAM = """
import os, signal, sys, time
from job import signals
signals.install()
signals.end_after(float(sys.argv[1]))
signal.signal(signal.SIGCHLD, lambda *_: None)  # as torch's DataLoader does
os.kill(os.getpid(), signal.SIGCHLD)
print("ready", flush=True)
while not signals.reason():
    time.sleep(0.01)
print(signals.reason(), flush=True)
time.sleep(2)
sys.exit(3)
"""


def start(max_hours: float) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(max_hours)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("pause_s", "code"), [(0.0, 3), (1.3, 75)])
def test_a_signal_that_two_pass_on_is_one(pause_s: float, code: int) -> None:
    """timeout(1) and schedulers signal a process, and then its whole group."""
    process = start(max_hours=1e9)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(pause_s)
    out, err = process.communicate(timeout=10)
    assert out == "SIGTERM received\n"
    assert ("SIGTERM received, and ended at once" in err) == (code == 75)
    assert process.returncode == code


def test_hours_can_be_few() -> None:
    out, _ = start(max_hours=0.2 / 3600).communicate(timeout=10)
    assert out == "--max_hours are over\n"
