"""Samples/s of LeRobot's dataset with the DataLoader that shuffles it; run by a Python that has it.

python benchmarks/lerobot_loader.py DATASET BATCH CHUNK SECONDS
"""

import sys
import time

import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # type: ignore[import-not-found]

_WORKERS = 4  # as its training has by default


def main(root: str, batch: int, chunk: int, seconds: float) -> None:
    """Measure and print."""
    plain = LeRobotDataset("local/bench", root=root)
    times = {"action": [step / plain.fps for step in range(chunk)]}
    dataset = LeRobotDataset("local/bench", root=root, delta_timestamps=times)
    loader = torch.utils.data.DataLoader(
        dataset, batch, shuffle=True, num_workers=_WORKERS, drop_last=True
    )
    batches = iter(loader)
    for _ in range(3 * _WORKERS):  # processes and videos that are opened
        next(batches)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        next(batches)
        count += batch
    print(count / (time.perf_counter() - started))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
