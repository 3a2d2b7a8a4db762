"""How long the check takes, and what repairs orientations: `python -m benchmarks.check`.

check       a dataset of v2.1 with a table for each episode and two videos, of a few frames each
quaternion  --fix_quaternions on random rows, each of which is repaired
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.workload import seconds_each
from convert.check.dataset import check
from convert.flags import DataFlags
from convert.quaternion import find_quaternions, fix
from job.machine import cpu_count
from tests.support.many_episodes import write_many


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(f"{cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        write_many(Path(folder), asked.episodes)
        flags = DataFlags(chunk_size=5)
        _report(
            "check", asked.episodes, "episodes", asked.rounds, lambda: check(Path(folder), flags)
        )
    rows = np.random.default_rng(0).normal(size=(asked.rows, 4)).astype(np.float32)
    quaternions = find_quaternions(["qw", "qx", "qy", "qz"])
    _report("quaternion", asked.rows, "rows", asked.rounds, lambda: fix(rows, quaternions))


def _report(name: str, count: int, what: str, rounds: int, work: Callable[[], object]) -> None:
    seconds = [seconds_each(work, 1) for _ in range(rounds)]
    print(
        f"{name:12}{statistics.median(seconds):8.2f} s for {count:,} {what}   "
        f"({min(seconds):.2f} to {max(seconds):.2f})"
    )


if __name__ == "__main__":
    main()
