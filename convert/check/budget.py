"""What a check says of the training that would follow: padding of the chunks, disk and memory."""

import shutil
from pathlib import Path

import numpy as np

from convert.check.cameras import Size
from convert.findings import Report, error, warning
from convert.lerobot.dataset import Dataset
from job import machine


def check_training(dataset: Dataset, chunk_size: int, report: Report) -> None:
    """How much of the chunks will be padding."""
    lengths = np.array([e.length for e in dataset.episodes if e.length > 0])
    if not len(lengths):
        return
    # a sample begins at any step of an episode alike; past its end the chunk is padded
    ends = np.minimum(lengths, chunk_size - 1).astype(float)  # starts whose chunk is padded
    share = float(np.mean((ends * chunk_size - ends * (ends + 1) / 2) / lengths)) / chunk_size
    report.facts["padding"] = f"{100 * share:.1f} % of a chunk of {chunk_size} on average"
    short = int((lengths < chunk_size).sum())
    if short:
        what = (
            f"{short} of {len(lengths)} episodes are shorter than the chunk of {chunk_size} steps "
            f"(the shortest has {lengths.min()}); {100 * share:.1f} % of what is learnt from is "
            f"padding, which counts for nothing; a smaller --chunk_size wastes less"
        )
        report.add(warning("chunk-padding", dataset.root / "meta", what))


def check_room(
    dataset: Dataset, sizes: dict[str, Size], output: Path | None, report: Report
) -> None:
    """Whether the images fit the disk (when `output` is known) and memory."""
    steps = sum(max(0, episode.length) for episode in dataset.episodes)
    needed = steps * sum(height * width * 3 for height, width in sizes.values())
    memory = machine.memory_bytes()
    report.facts["images"] = f"{needed / 1e9:.2f} GB raw"
    report.facts["memory"] = f"{memory / 1e9:.1f} GB"
    if needed > memory:
        what = (
            f"raw images take {needed / 1e9:.1f} GB, memory is {memory / 1e9:.1f} GB; training "
            f"reads them from disk again and again: a fast one, or fewer --camera_keys or a "
            f"smaller --image_size"
        )
        report.add(warning("memory-room", dataset.root, what))
    if output is None:
        return
    place = next((p for p in (output, *output.absolute().parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    report.facts["disk"] = f"{free / 1e9:.1f} GB free at {place}"
    if needed > free:
        what = (
            f"raw images take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free, and conversion "
            f"will refuse; free some, or --image_storage jpeg, a smaller --image_size, fewer "
            f"--camera_keys or --episodes"
        )
        report.add(error("disk-room", output, what))
