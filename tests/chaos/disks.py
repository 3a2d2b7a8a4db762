"""Disks that fill and calls that fail: one clear line, exit 4, and the job goes on afterwards."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.small_job import Lost, Results, check_files, check_result, finish, start

NOT_REACHED = "the job ended before the fault"
FAULTY = Path(__file__).with_name("faulty.py")


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
    """How many writes, syncs and renames the job has, in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        count = Path(folder) / "count"
        os.environ["FAULTY_COUNT"] = str(count)
        try:
            finish(start(Path(folder) / "output", str(FAULTY)), (0,), "the job without a fault")
        finally:
            del os.environ["FAULTY_COUNT"]
        return int(count.read_text())


def failing_calls(numbers: Sequence[int]) -> Results:
    """Fail the n-th write, sync or rename of the job, for each n."""
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "output"
            os.environ["FAULTY_CALL"] = str(number)
            try:
                code = finish(start(output, str(FAULTY)), (0, 4), f"call {number} fails")
                check_files(output)
                del os.environ["FAULTY_CALL"]
                finish(start(output), (0,), f"after call {number} had failed")
                check_result(output)
                yield None if code == 4 else NOT_REACHED  # fewer calls than that
            except Lost as lost:
                yield str(lost)
            finally:
                os.environ.pop("FAULTY_CALL", None)
                shutil.rmtree(output, ignore_errors=True)
