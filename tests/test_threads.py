"""How many threads a job lets torch use, in processes that import torch after it was decided."""

import os
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.support.commands import arguments, run_python
from tests.support.paths import SMALL
from tests.support.priority import usual_priority

# Its own OMP_NUM_THREADS, cores and quota; then the rest of its command line as a job.
PROGRAM = """
import os, sys
from pathlib import Path
threads, cores, cgroup, *argv = sys.argv[1:]
for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
    os.environ.pop(name, None)
if threads:
    os.environ["OMP_NUM_THREADS"] = threads
if cores:
    os.sched_setaffinity(0, {int(cores)})
if argv:
    from lerobot_to_act import main
    assert main(argv) == 0
else:
    from job.cgroups import Cgroups
    from job.machine import limit_threads
    limit_threads(cgroups=Cgroups(Path(cgroup)))
import torch
names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
print(torch.get_num_threads(), *map(os.environ.get, names))
"""


def threads_of(cgroup: Path, *argv: str, chosen: str = "", core: str = "") -> str:
    """torch's number of threads, the number it was given, and how they wait."""
    done = run_python("-c", PROGRAM, chosen, core, cgroup, *argv)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_an_encoder_leaves_no_threads_of_real_time(tmp_path: Path) -> None:
    """What the tests of a process that encodes AV1 would give to all that follow in it."""
    with av.open(str(tmp_path / "video.mp4"), "w") as container:
        stream: Any = container.add_stream("libsvtav1", rate=30, options={"preset": "10"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 128, 3), np.uint8), "rgb24")
        container.mux(stream.encode(frame))
        over = threading.Event()
        started = threading.Thread(target=over.wait)
        started.start()
        container.mux(stream.encode())
    threads = (0, started.native_id or 0)
    before = {os.sched_getscheduler(one) for one in threads}
    usual_priority()
    after = {os.sched_getscheduler(one) for one in threads}
    over.set()
    started.join()
    if before == {os.SCHED_OTHER}:
        pytest.skip("this user may not have threads of real time")
    assert (before, after) == ({os.SCHED_FIFO}, {os.SCHED_OTHER})


@pytest.mark.slow
def test_a_job_trains_with_the_cores_it_has(tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    argv = arguments(tmp_path / "output", input=SMALL / "v30_av1", num_epochs=1)
    assert threads_of(tmp_path, *argv, core=core) == "1 1 passive 1000"


@pytest.mark.slow
def test_the_quota_counts_and_the_user_counts_more(tmp_path: Path) -> None:
    """torch itself reads the affinity alone."""
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert threads_of(tmp_path) == "1 1 passive 1000"
    assert threads_of(tmp_path, chosen="3").endswith(" 3 passive 1000")  # of which MKL takes some


COMMANDS = """
import os, sys
from act.evaluate.command import EVALUATE
from act.simulate.command import SIMULATE
os.environ.pop("OMP_NUM_THREADS")
def shown(flags):
    print(os.environ.get("OMP_NUM_THREADS", "none"))
SIMULATE.run(shown, ["a_run", "--env", "aloha_transfer_cube"])
EVALUATE.run(shown, ["a_run"])
"""


def test_a_simulation_chooses_its_threads_itself() -> None:
    """Each of its processes has one; with more, sums are rounded otherwise."""
    done = run_python("-c", COMMANDS)
    assert done.returncode == 0, done.stderr
    first, other = done.stdout.split()
    assert first == "none"
    assert int(other) >= 1
