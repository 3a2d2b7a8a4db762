"""What the job's choice of threads is worth: a quota of one core, and a busy neighbour.

    python -m benchmarks.threads [--epochs 10]

A tiny job with torch's own choice (a thread for each core of the host, which spins while it waits)
and with the job's own. The two alternate; the ratio is of the seconds that training took. The quota
needs root and cgroup v1 or v2 with the cpu controller.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_ROUNDS = 2
_SPIN = "while True: pass"
_JOB = "--input tests/data/lerobot/v30_av1 --run_name threads --task_name sim_threads --device cpu \
--hidden_dim 32 --dim_feedforward 32 --chunk_size 10 --batch_size 2 --backbone_weights none"
_BEFORE = {"OMP_NUM_THREADS": str(os.cpu_count()), "OMP_WAIT_POLICY": "active"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    epochs = parser.parse_args().epochs
    for name, place in (("alone", _alone), ("quota of one core", _quota), ("neighbour", _beside)):
        try:
            with place() as prefix:
                rounds = [
                    [_seconds(prefix, e, epochs) for e in (_BEFORE, {})] for _ in range(_ROUNDS)
                ]
        except OSError as error:
            print(f"{name:20} not measured: {error}")
            continue
        before, after = map(statistics.median, zip(*rounds, strict=True))
        print(f"{name:20} {before:6.1f} s -> {after:6.1f} s, {before / after:.2f} times as fast")


def _seconds(prefix: list[str], environment: dict[str, str], epochs: int) -> float:
    """Seconds of one job's training."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("OMP_")}
    with tempfile.TemporaryDirectory() as folder:
        argv = [*prefix, sys.executable, "entrypoint.py", *_JOB.split(), "--output", folder]
        command = [*argv, "--num_epochs", str(epochs)]
        subprocess.run(command, env=kept | environment, check=True, capture_output=True)
        metrics = (Path(folder) / "checkpoints/threads/metrics.jsonl").read_text()
    epochs_done = map(json.loads, metrics.splitlines())
    return sum(float(epoch["wait_s"] + epoch["compute_s"]) for epoch in epochs_done)


@contextlib.contextmanager
def _alone() -> Iterator[list[str]]:
    yield []


@contextlib.contextmanager
def _beside() -> Iterator[list[str]]:
    """A process that never waits, and the job at nice 12."""
    neighbour = subprocess.Popen([sys.executable, "-c", _SPIN])
    try:
        yield ["nice", "-n", "12"]
    finally:
        neighbour.kill()
        neighbour.wait()


@contextlib.contextmanager
def _quota() -> Iterator[list[str]]:
    """A cgroup of its own, whose quota is one core."""
    root = Path("/sys/fs/cgroup")
    version_1 = (root / "cpu/cpu.cfs_quota_us").exists()
    group = root / ("cpu" if version_1 else "") / f"act_threads_{os.getpid()}"
    group.mkdir()
    try:
        quota = group / ("cpu.cfs_quota_us" if version_1 else "cpu.max")
        quota.write_text("100000" if version_1 else "100000 100000")
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        group.rmdir()


if __name__ == "__main__":
    main()
