"""Signals, as a process of its own hears them."""

import signal
import subprocess
import sys
import time

from tests.support.commands import HANGS_S
from tests.support.paths import ROOT

# Goes on for some seconds after a signal, unless it is ended.
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
time.sleep(float(sys.argv[2]))
sys.exit(3)
"""


def start(max_hours: float, after_s: float = 0) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(max_hours), str(after_s)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_signal_that_two_pass_on_is_one() -> None:
    """timeout(1) and schedulers signal a process, and then its whole group."""
    process = start(max_hours=1e9, after_s=2)
    process.send_signal(signal.SIGSTOP)  # so that it hears both at once, however slow we are
    for number in (signal.SIGTERM, signal.SIGUSR1):
        process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=HANGS_S)
    assert out in ("SIGTERM received\n", "SIGUSR1 received\n")
    assert (process.returncode, err) == (3, "")


def test_a_second_signal_that_comes_later_ends_it_at_once() -> None:
    process = start(max_hours=1e9, after_s=2 * HANGS_S)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "SIGTERM received\n"
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 75
    assert err.startswith("SIGTERM received, and ended at once")


def test_hours_can_be_few() -> None:
    out, _ = start(max_hours=0.2 / 3600).communicate(timeout=HANGS_S)
    assert out == "--max_hours are over\n"
