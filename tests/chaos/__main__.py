"""make chaos: everything that happens to a job, tried many times; a table of what was lost.

    python -m tests.chaos [--kills 100] [--disks 24] [--calls 60] [--inputs 10000] [--endings 30]
        [--minutes 60]

Each part ends early when its share of the time is used up. Exit code 1 when anything was lost.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tests.chaos.disks import NOT_REACHED, count_calls, failing_calls, full_disks
from tests.chaos.endings import endings
from tests.chaos.inputs import inputs
from tests.chaos.jumping_clock import COMPILER
from tests.chaos.kills import kills
from tests.chaos.places import gocryptfs, lacking, rclone, weak
from tests.chaos.small_job import Results


@dataclass
class Row:
    """One line of the table."""

    name: str
    tried: int = 0
    lost: list[str] = field(default_factory=list)
    seconds: float = 0.0


def main() -> int:
    """Try everything and print the table."""
    asked = _arguments()
    # from a disk that is too small for an episode to one that is nearly large enough for all
    sizes = np.geomspace(64, 500_000, asked.disks).astype(int).tolist()
    last_call = count_calls() if asked.calls else 0
    calls = np.linspace(1, last_call, asked.calls).astype(int).tolist()
    moments = np.linspace(-1, 6, asked.endings).tolist()
    parts = [
        (Row("SIGKILL at random moments"), kills(asked.kills, asked.seed), 0.2),
        *_on_other_file_systems(asked.kills // 4, asked.seed),
        (Row("disks that fill up"), full_disks(sizes if os.geteuid() == 0 else []), 0.1),
        (Row("writes, syncs, renames that fail"), failing_calls(calls), 0.15),
        (Row("steps that end about the grace"), endings(moments, processes=1), 0.1),
        (Row("the same on two processes"), endings(moments, processes=2), 0.1),
        (Row("mutated inputs"), inputs(range(asked.seed, asked.seed + asked.inputs)), 0.2),
    ]
    for row, results, share in parts:
        _fill(row, results, share * asked.minutes * 60)
    if os.geteuid() != 0:
        print("disks that fill up: skipped, only root can mount a tmpfs")
    _print(row for row, _, _ in parts)
    return int(any(row.lost for row, _, _ in parts))


def _on_other_file_systems(count: int, seed: int) -> Iterator[tuple[Row, Results, float]]:
    """Kills on those that can be had here."""
    for name, place, why_not in (
        ("a weak folder", weak, "" if COMPILER else "there is no compiler"),
        ("rclone mount", rclone, lacking("rclone")),
        ("gocryptfs", gocryptfs, lacking("gocryptfs")),
    ):
        if why_not:
            print(f"SIGKILL on {name}: skipped, {why_not}")
        else:
            yield Row(f"SIGKILL on {name}"), kills(count, seed, place), 0.05


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--disks", type=int, default=24, help="sizes of a disk that is too small")
    parser.add_argument("--calls", type=int, default=60, help="of the calls that may fail, evenly")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--endings", type=int, default=30, help="steps of as many lengths")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the inputs")
    parser.add_argument("--minutes", type=float, default=60)
    return parser.parse_args()


def _fill(row: Row, results: Results, limit_s: float) -> None:
    with contextlib.closing(results):  # what still runs must not disturb the next part
        _count(row, results, limit_s)


def _count(row: Row, results: Results, limit_s: float) -> None:
    started = time.monotonic()
    for lost in results:
        if lost == NOT_REACHED:
            continue
        row.tried += 1
        row.seconds = time.monotonic() - started
        if lost:
            row.lost.append(lost)
            print(f"LOST {lost}", file=sys.stderr, flush=True)
        if row.tried % 100 == 0:
            print(f"{row.name}: {row.tried} tried, {len(row.lost)} lost", flush=True)
        if row.seconds > limit_s:
            break


def _print(rows: Iterator[Row]) -> None:
    print(f"\n{'fault':36}{'tried':>8}{'survived':>10}{'lost':>6}{'minutes':>9}")
    for row in rows:
        survived = row.tried - len(row.lost)
        print(f"{row.name:36}{row.tried:8}{survived:10}{len(row.lost):6}{row.seconds / 60:9.1f}")


if __name__ == "__main__":
    sys.exit(main())
