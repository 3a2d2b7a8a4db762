"""Signals, as a process of its own hears them."""

import signal
import subprocess
import sys
import time

import pytest

from tests.support.commands import HANGS_S, command_environment, run_python
from tests.support.jobs import WHOLE_END, Job
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


# The listener computes with torch when the main thread comes to its own end.
TOGETHER = """
import os, signal, sys, threading, time
import torch
from job import signals
signals.GRACE_S = 0.1
begun = threading.Event()
def compute(in_time):
    big, ends = torch.zeros(500, 500), time.monotonic() + 2
    begun.set()
    while time.monotonic() < ends:
        big @ big
    print("computed", flush=True)
signals.install()
with signals.last_action(compute):
    os.kill(os.getpid(), signal.SIGTERM)
    begun.wait()
    if sys.argv[1] == "by itself":
        signals.end_by_itself()
        print("not reached", flush=True)
sys.exit(3)
"""


@pytest.mark.parametrize("end", ["by itself", "without a word"])
def test_python_does_not_end_while_the_listener_ends_the_process(end: str) -> None:
    """It would stop the listener in the frames of torch's C++, which ends with an abort."""
    environment = command_environment() | WHOLE_END
    job = Job(["-c", TOGETHER, end], environment, subprocess.PIPE, subprocess.PIPE)
    out, err = job.communicate(HANGS_S)
    assert (job.returncode, out) == (75, "computed\n"), err
    assert err.startswith("SIGTERM received, and ended at once")


# A job that records its end when the grace is over, for longer than is allowed or not.
RECORDING = """
import os, signal, sys, time
from job import signals
signals.GRACE_S, signals._OWN_END_S = 0.1, float(sys.argv[1])
signals.install()
with signals.last_action(lambda in_time: print("in time" if in_time else "no time", flush=True)):
    os.kill(os.getpid(), signal.SIGTERM)
    signals.end_by_itself()
    time.sleep(float(sys.argv[2]))
sys.exit(3)
"""


def test_the_listener_leaves_a_job_to_its_own_end_unless_that_hangs() -> None:
    done = run_python("-c", RECORDING, str(2 * HANGS_S), "1")
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    hangs = run_python("-c", RECORDING, "0.1", str(2 * HANGS_S))
    assert (hangs.returncode, hangs.stdout) == (75, "no time\n"), hangs.stderr
