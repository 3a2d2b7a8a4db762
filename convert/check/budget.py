"""What a check reports of the training that would follow: estimates, padding, disk, memory."""

import math
from collections.abc import Sequence
from pathlib import Path

from convert.check.vectors import Vector
from convert.disk_and_memory import check_disk, check_memory, needed_bytes
from convert.findings import Report, warning
from convert.flags import DataFlags
from convert.frames_choice import choose_frames
from convert.plan import Plan
from convert.quaternion import find_quaternions, fix
from episodes.arrays import FloatArray
from episodes.estimates import estimate
from episodes.padding import padding_share
from episodes.series import Series
from job import machine
from job.file_system import free_bytes


def estimate_training(
    state: Vector, action: Vector, fps: float, flags: DataFlags, report: Report
) -> None:
    """What the data say about the training, of the vectors as the episode files will have them.

    Only the dims that `--state_dim` adds are not among them.
    """
    actions = dict(action.parts)
    pairs = [(place, values, actions[place]) for place, values in state.parts if place in actions]
    beyond_repair = any(finding.code == "quaternion-zero" for finding in report.errors)
    if not pairs or beyond_repair:
        return
    report.estimate(
        estimate(
            _series(state, [values for _, values, _ in pairs], flags),
            _series(action, [values for _, _, values in pairs], flags),
            fps=fps,
            sim=flags.is_sim,
            chunk_size=flags.chunk_size,
            numbers=[place.episode for place, _, _ in pairs],
        )
    )


def _series(vector: Vector, parts: Sequence[FloatArray], flags: DataFlags) -> Series:
    if flags.fix_quaternions:
        found = find_quaternions(vector.names)
        parts = [fix(part, found) for part in parts]
    kept = flags.state_dim or len(vector.names)
    return Series([part[:, :kept] for part in parts], vector.names[:kept])


def check_padding(lengths: Sequence[int], chunk_size: int, where: Path, report: Report) -> None:
    """How much of the chunks will be padding; where: what a warning of it is about."""
    if not lengths:
        return
    share = padding_share(lengths, chunk_size)
    report.facts["padding"] = f"{100 * share:.1f} % of a chunk of {chunk_size} on average"
    short = sum(length < chunk_size for length in lengths)
    if short:
        what = (
            f"{short} of {len(lengths)} episodes are shorter than the chunk of {chunk_size} steps "
            f"(the shortest has {min(lengths)}); {100 * share:.1f} % of all steps of the chunks "
            f"are padding, which adds no error but counts in the mean of the loss, as upstream's "
            f"does; a smaller --chunk_size wastes less"
        )
        report.add(warning("chunk-padding", where, what))


def check_room(plan: Plan, frames: str, output: Path | None, report: Report) -> None:
    """Whether the conversion fits the disk (when `output` is known) and memory.

    frames: `--frames`
    """
    plan = choose_frames(plan, frames, output, report.add)
    numbers = range(len(plan.sources))
    needed, memory = needed_bytes(plan, numbers), machine.memory_bytes()
    images = "" if plan.cameras else "none, "
    report.facts["images"] = f"{images}about {needed / 1e6:.1f} MB as episode files"
    if plan.shown_frames:
        report.facts["frames"] = plan.shown_frames
    report.facts["memory"] = f"{memory / 1e9:.1f} GB"
    check_memory(plan, report.add)
    if needed > memory:
        what = (
            f"the episode files take {needed / 1e9:.1f} GB, memory is {memory / 1e9:.1f} GB; "
            f"training reads them from disk again and again: use a fast one, --image_storage jpeg, "
            f"fewer --camera_keys or a smaller --image_size"
        )
        report.add(warning("memory-room", plan.datasets[0].root, what))
    if output is not None:
        free = free_bytes(output)
        shown = f"{free / 1e9:.1f} GB" if math.isfinite(free) else "an unknown number of GB"
        report.facts["disk"] = f"{shown} free for {output}"
        check_disk(plan, numbers, report.add)
