"""SIGKILL at random moments: nothing under a final name is broken, and the job goes on."""

import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.small_job import Lost, check_files, check_result, finish, start, undisturbed


def kills(count: int, seed: int = 0) -> Iterator[str | None]:
    """Kill the job `count` times; gives what was lost after each, None for nothing.

    The same output is gone on with until the job ends by itself; then it starts anew.
    """
    moments, longest_s = random.Random(seed), 1.05 * undisturbed().seconds
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        done = 0
        while done < count:
            process = start(output)
            time.sleep(moments.uniform(0, longest_s))
            killed = process.poll() is None
            process.kill()
            try:
                if killed:
                    process.communicate()
                    done += 1
                    check_files(output)
                    yield None
                else:
                    _end(output, process)
            except Lost as lost:
                yield f"kill {done}: {lost}"
                shutil.rmtree(output)
        try:
            _end(output, start(output))
        except Lost as lost:
            yield f"after the last kill: {lost}"
        else:
            yield None


def _end(output: Path, process: "subprocess.Popen[str]") -> None:
    finish(process, (0,), "the job that was killed before")
    check_result(output)
    shutil.rmtree(output)
