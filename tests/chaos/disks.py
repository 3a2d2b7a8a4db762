"""Disks that fill and calls that fail: one clear line, exit 4, and the job goes on afterwards."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

from tests.chaos.small_job import Lost, Results, check_files, check_result, finish, start
from tests.support.jobs import Process

NOT_REACHED = "the job ended before the fault"
FAULTY = Path(__file__).with_name("faulty")


def full_disks(sizes_kb: Sequence[int]) -> Results:
    """Run the job on disks that are too small, then make room; needs root for its tmpfs."""
    for size in sizes_kb:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder)
            _tmpfs(output, f"size={size}k")
            try:
                code = finish(start(output), (0, 4), f"a disk of {size} kB")
                check_files(output)
                _tmpfs(output, "remount,size=1g")
                finish(start(output), (0,), f"a disk of {size} kB with room made")
                check_result(output)
                yield None if code == 4 else NOT_REACHED
            except Lost as lost:
                yield f"{size} kB: {lost}"
            finally:
                subprocess.run(["umount", str(output)], check=True)


def _tmpfs(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def count_calls() -> int:
    """How many writes, syncs, renames and unlinks of the job are worth failing."""
    return len(calls())


@cache
def calls() -> tuple[str, ...]:
    """Their names, in the order of the undisturbed job: `worker pwrite 3`.

    Of those in a row only the first and the last: 95 % are a checkpoint's writes, which fail alike.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        finish(_start_faulty(output), (0,), "the job without a fault")
        rows = groupby(_noted(output).read_text().splitlines(), lambda call: call.split()[:2])
        ends = [(row[0], row[-1]) for row in (list(row) for _, row in rows)]
        return tuple(dict.fromkeys(call for pair in ends for call in pair))


def failing_calls(numbers: Sequence[int]) -> Results:
    """Fail the n-th write, sync, rename or unlink of the job, for each n; the first one is 1."""
    for call in [calls()[number - 1] for number in numbers]:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "output"
            try:
                code = finish(_start_faulty(output, call), (0, 4), f"{call} fails")
                check_files(output)
                reached = call in _noted(output).read_text().splitlines()
                if reached and code != 4 and not _has_warned(output):
                    raise Lost(f"{call} failed, which was not reported")
                finish(start(output), (0,), f"after {call} had failed")
                check_result(output)
                yield None if reached else NOT_REACHED  # fewer states were written
            except Lost as lost:
                yield str(lost)


def _has_warned(output: Path) -> bool:
    """Whether the manifest names a file that a completed run could not remove."""
    warnings = json.loads((output / "manifest.json").read_text())["warnings"]
    return any("remove it by hand" in warning for warning in warnings)


def _start_faulty(output: Path, call: str = "") -> Process:
    """Start the job with its calls noted; one worker, so that names mean the same each time."""
    environment = {
        "PYTHONPATH": str(FAULTY),
        "FAULTY_OUTPUT": str(output),
        "FAULTY_CALLS": str(_noted(output)),
        "FAULTY_CALL": call,
    }
    return start(output, environment, convert_workers=1)


def _noted(output: Path) -> Path:
    return output.with_name("calls")
