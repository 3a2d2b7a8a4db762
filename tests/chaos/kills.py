"""SIGKILL at random moments: nothing under a final name is broken, and the job goes on."""

import contextlib
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path
from queue import SimpleQueue

from job.machine import cpu_count
from tests.chaos.places import MakePlace, Place, local
from tests.chaos.small_job import (
    Results,
    check_files,
    check_result,
    finish,
    start,
    undisturbed,
)
from tests.support.jobs import Process


def kills(count: int, seed: int = 0, place: MakePlace = local) -> Results:
    """Kill jobs `count` times, a job on each core; gives what was lost after each, None if nothing.

    A job is gone on with in the same output until it ends by itself; then it starts anew.
    place: where the outputs are, one for each core
    """
    undisturbed()
    found: SimpleQueue[str | None] = SimpleQueue()
    enough = threading.Event()
    lanes = min(cpu_count(), count)
    threads = [
        threading.Thread(
            target=_kill_in,
            args=(place, found, enough, len(range(lane, count, lanes)), seed + lane),
        )
        for lane in range(lanes)
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(count + lanes):  # each ends with a job that is left alone
            yield found.get()
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def _kill_in(
    make_place: MakePlace,
    found: "SimpleQueue[str | None]",
    enough: threading.Event,
    count: int,
    seed: int,
) -> None:
    try:
        with make_place() as place:
            _kill(place, found, enough, count, seed)
    except Exception as lost:
        for _ in range(count + 1):  # as many as are waited for
            found.put(f"the place itself: {lost}")


def _kill(
    place: Place, found: "SimpleQueue[str | None]", enough: threading.Event, count: int, seed: int
) -> None:
    moments, longest_s = random.Random(seed), 1.05 * undisturbed().seconds * place.slower
    output, environment = place.folder / "output", place.environment
    done = 0
    while done < count and not enough.is_set():
        is_new, started = not output.exists(), time.monotonic()
        process = start(output, environment)
        killed = not _ends_within(process, moments.uniform(0, longest_s))
        process.kill()
        if is_new and not killed:  # the machine has become faster
            longest_s = 1.05 * (time.monotonic() - started)
        try:
            if killed:
                process.communicate()
                done += 1
                check_files(output)
                found.put(None)
            else:
                _end(output, process)
        except Exception as lost:
            found.put(f"kill {done} of seed {seed}: {lost}")
            shutil.rmtree(output)
    try:
        _end(output, start(output, environment))
    except Exception as lost:
        found.put(f"after the last kill of seed {seed}: {lost}")
    else:
        found.put(None)


def _ends_within(process: Process, seconds: float) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None


def _end(output: Path, process: Process) -> None:
    finish(process, (0,), "the job that was killed before")
    check_result(output)
    shutil.rmtree(output)
