"""A conversion: LeRobot datasets in, a folder of `episode_<i>.hdf5` files out.

plan (which episodes, cameras, dims) → room on the disk → episodes over worker processes. Each
worker holds one decoded frame at a time, so memory does not grow with an episode's length.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.camera_frames import CameraReaders, file_of
from convert.cameras import Camera
from convert.disk_and_memory import check_disk, check_memory, needed_bytes
from convert.episode_choice import WHOLE, Shard
from convert.episode_folder import FINGERPRINT, drop_stale, is_done, refuse_foreign
from convert.episode_vectors import read_vectors
from convert.findings import refuse
from convert.flags import ConversionFlags, DataFlags
from convert.frames_choice import choose_frames
from convert.lerobot.table import Times
from convert.plan import Digests, Plan, make_plan, plan_fingerprint
from convert.sources import NOTHING, LeftOut, Source
from episodes.arrays import Frame
from episodes.filmed import Filmed
from episodes.orientation import AS_STORED, CAMERA_ORIENTATIONS, to_attribute
from episodes.reader import episode_path
from episodes.writer import FrameWriter, write_episode, write_filmed_episode
from job import machine, workers
from job.errors import DatasetError, OutputError
from job.progress import progress_bar
from job.whole_files import output_errors, whole_path

logger = logging.getLogger("act")

_TASKS_PER_WORKER = 4
_REPORT_EVERY = 16  # frames


@dataclass(frozen=True)
class Planned:
    """What a conversion is of, before anything is written."""

    plan: Plan
    fingerprint: str

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of every episode by number, also those of other shards."""
        return tuple(
            episode_path(self.plan.folder, number) for number in range(len(self.plan.sources))
        )


@dataclass(frozen=True)
class Converted(Planned):
    """What a conversion left."""

    frames_per_second: float | None  # None when no frame was decoded


def convert(
    flags: ConversionFlags, folder: Path, shard: Shard = WHOLE, left_out: LeftOut = NOTHING
) -> Converted:
    """Convert the datasets in the input, but for `left_out`, to episode files in `folder`.

    Episodes already there from the same source and options are kept. Raises DatasetError for the
    input, OutputError for the disk, Interrupted on a signal.
    """
    with workers.Workers() as pool:
        planned = plan_conversion(flags, folder, left_out, pool)
        return write_episodes(flags, planned, prepare_folder(flags, planned, shard), pool)


def plan_conversion(
    flags: DataFlags,
    folder: Path,
    left_out: LeftOut = NOTHING,
    pool: workers.Workers | None = None,
) -> Planned:
    """What a conversion would be of; nothing is written.

    The plan is made in another process: it decodes frames that the check may not have read.
    pool: where that comes from; None: one is started
    """
    task = (flags, folder, left_out)
    (plan,) = workers.run_tasks(
        _make_plan, [task], 1, lambda _: f"{flags.folders[0]}: its plan", pool
    )
    return Planned(plan, plan_fingerprint(plan))


def _make_plan(task: tuple[DataFlags, Path, LeftOut], send: workers.Send) -> None:
    def on_read(path: Path) -> None:
        send(workers.At(str(path)))

    flags, folder, left_out = task
    plan = make_plan(flags, folder, left_out, on_read=on_read)
    send(choose_frames(plan, flags.frames, folder, refuse))


def prepare_folder(flags: ConversionFlags, planned: Planned, shard: Shard = WHOLE) -> list[int]:
    """Remove stale episodes; gives the numbers of those to write, for which there is room."""
    plan, paths = planned.plan, planned.paths
    with output_errors(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    refuse_foreign(paths)
    mine = shard.numbers(len(paths))
    todo = [number for number in mine if not is_done(plan, number, paths[number])]
    if shard == WHOLE:  # other shards may be writing theirs
        drop_stale(plan.folder, paths)
    _log_plan(plan, mine, todo)
    check_disk(plan, todo, refuse)
    return todo


def write_episodes(
    flags: ConversionFlags, planned: Planned, todo: list[int], pool: workers.Workers
) -> Converted:
    """Write the episodes of the numbers `todo` of a plan."""
    plan, rate = planned.plan, None
    if todo:
        rate = _convert_all(plan, todo, worker_count(flags, plan, len(todo)), pool)
        _refuse_changed(planned)
    return Converted(plan, planned.fingerprint, rate)


def _refuse_changed(planned: Planned) -> None:
    """An episode may be of the files before or after: its fingerprint says before."""
    now = replace(planned.plan, digests=Digests())
    if plan_fingerprint(now) != planned.fingerprint:
        raise DatasetError(
            f"{now.datasets[0].root}: changed while it was converted, expected a dataset that "
            f"nothing writes to; wait until it is complete and run it again, a job under another "
            f"--run_name",
            code="changed",
        )


def check_whole(flags: DataFlags, folder: Path, left_out: LeftOut = NOTHING) -> Converted:
    """Convert nothing, but raise OutputError unless every episode is in `folder`, whole."""
    planned = plan_conversion(flags, folder, left_out)
    plan, paths = planned.plan, planned.paths
    missing = [number for number, path in enumerate(paths) if not is_done(plan, number, path)]
    if missing:
        raise OutputError(
            f"{folder}: {len(missing)} of {len(paths)} episodes are missing or from another source "
            f"or other options, first {paths[missing[0]].name}; give the flags that the "
            f"shards had, or run the missing ones again",
            code="episodes-incomplete",
        )
    if episode_path(folder, len(paths)).exists():
        raise OutputError(
            f"{folder}: {episode_path(folder, len(paths)).name} is one more than the "
            f"{len(paths)} episodes expected; move it away",
            code="episodes-incomplete",
        )
    return Converted(plan, planned.fingerprint, None)


def worker_count(flags: ConversionFlags, plan: Plan, episodes: int) -> int:
    """Processes to convert with: as asked for, else what cores and memory allow."""
    fits = check_memory(plan, refuse)
    return max(1, min(flags.convert_workers or min(machine.cpu_count(), fits), episodes))


def _convert_all(plan: Plan, todo: list[int], count: int, pool: workers.Workers) -> float | None:
    tasks = [(plan, numbers) for numbers in split_tasks(todo, count)]
    frames = plan.frame_count(todo)
    started = time.monotonic()
    with progress_bar(frames, "convert", "frame", shown=frames > 0) as bar:
        for done in workers.run_tasks(convert_episodes, tasks, count, _task_name, pool):
            bar.update(done)
    has_frames = plan.cameras and not plan.filmed
    return frames / (time.monotonic() - started) if has_frames else None


def split_tasks(todo: list[int], count: int) -> list[list[int]]:
    """Neighbouring episodes together, as they share a video file; enough parts to even out."""
    parts = min(len(todo), count * _TASKS_PER_WORKER)
    return [part.tolist() for part in np.array_split(np.array(todo, dtype=int), parts)]


def _task_name(task: tuple[Plan, list[int]]) -> str:
    plan, numbers = task
    sources = [plan.sources[number] for number in numbers]
    files = {str(span.path) for source in sources for span in source.episode.videos.values()}
    shown = ", ".join(str(source) for source in sources[:3]) + (", …" if len(sources) > 3 else "")
    return f"{shown} ({', '.join(sorted(files)[:3])})"


def convert_episodes(task: tuple[Plan, list[int]], send: workers.Send) -> None:
    """Write some episodes of a plan, reading each file forward; what a worker does."""
    plan, numbers = task

    def on_read(_: Path) -> None:
        send(0)  # no frame is done, but it reads

    readers = CameraReaders(on_read, plan.frame_options)
    try:
        for number in numbers:
            _convert_episode(plan, number, readers, send)
    finally:
        readers.close()


def _convert_episode(plan: Plan, number: int, readers: CameraReaders, send: workers.Send) -> None:
    source = plan.sources[number]
    send(workers.At(f"{source} ({source.episode.table_path})"))
    vectors, times = read_vectors(plan, source, readers.on_read)
    attributes = _attributes(plan, number)
    with whole_path(episode_path(plan.folder, number)) as partial:
        if plan.filmed:
            filmed = _filmed(plan, source, times, readers, send)
            write_filmed_episode(partial, vectors, filmed, attributes)
            return
        images = {c.name: (source.episode.length, c.height, c.width) for c in plan.cameras}
        with write_episode(partial, vectors, images, attributes, plan.jpeg_quality) as writer:
            for camera in plan.cameras:
                frames = readers.frames(source, camera, times)
                send(workers.At(f"{source} ({file_of(source, camera.key)})"))
                _write_frames(frames, camera, writer, send)


def _filmed(
    plan: Plan, source: Source, times: Times | None, readers: CameraReaders, send: workers.Send
) -> dict[str, Filmed]:
    """Where the frames of an episode are in its videos, by camera."""
    found = {}
    for camera in plan.cameras:
        path = file_of(source, camera.key)
        send(workers.At(f"{source} ({path})"))
        found[camera.name] = readers.filmed(source, camera, times, plan.digests.of(path))
        send(source.episode.length)
    return found


def _attributes(plan: Plan, number: int) -> dict[str, Any]:
    orientations = {camera.name: camera.orientation for camera in plan.cameras}
    lie_as_stored = set(orientations.values()) <= {AS_STORED}
    cameras = [camera.name for camera in plan.cameras]
    return {
        **({} if lie_as_stored else {CAMERA_ORIENTATIONS: to_attribute(orientations)}),
        "sim": plan.sim,
        FINGERPRINT: plan.fingerprint(number),
        "source_episode": plan.sources[number].episode.index,
        **({"camera_names": cameras} if cameras else {}),  # HDF5 has no empty list of names
        "fps": plan.fps,
        **{f"{name}_names": list(dims.file_names) for name, dims in plan.vectors.items()},
    }


def _write_frames(
    frames: Iterator[Frame], camera: Camera, writer: FrameWriter, send: workers.Send
) -> None:
    unreported = 0
    for ts, frame in enumerate(frames):
        writer.write_frame(camera.name, ts, frame)
        unreported += 1
        if unreported == _REPORT_EVERY:
            send(unreported)
            unreported = 0
    send(unreported)


def _log_plan(plan: Plan, mine: Sequence[int], todo: list[int]) -> None:
    listed = sum(len(dataset.episodes) for dataset in plan.datasets)
    for dataset in plan.datasets:
        logger.info(
            "dataset    LeRobot %s, %s, %g fps, %s",
            dataset.version,
            dataset.robot_type or "robot unknown",
            plan.fps,
            dataset.root,
        )
        if any(dataset.not_listed):
            logger.warning(
                "%s: meta/info.json counts %d episodes and %d frames, its list has %d and %d; the "
                "rest is not used",
                dataset.root,
                dataset.total_episodes,
                dataset.total_frames,
                len(dataset.episodes),
                sum(episode.length for episode in dataset.episodes),
            )
    logger.info(
        "convert    %d of %d episodes, %d of them already converted",
        len(mine),
        listed,
        len(mine) - len(todo),
    )
    for c in plan.cameras:
        reduced = "" if c.recorded == (c.height, c.width) else f", reduced to {c.height}x{c.width}"
        size = f"{c.recorded[0]}x{c.recorded[1]}{reduced}"
        logger.info("camera     %s as %s, %s", c.key, c.name, size)
    logger.info(
        "sim        %s: ACT trains on action[%s]; qvel is %s",
        plan.sim,
        "t" if plan.sim else "t-1",
        plan.velocity_key or "zeros",
    )
    if plan.filmed:
        logger.info("frames     %s", plan.shown_frames)
    needed = needed_bytes(plan, todo)
    logger.info("disk       about %.2f GB of episodes in %s", needed / 1e9, plan.folder)
    if not plan.cameras:
        logger.info("camera     none: the policy sees no image")
    for what, dims in plan.vectors.items():
        change = f"padded to {dims.size} with zeros" if dims.padded else f"{dims.size} kept"
        logger.info("%-10s %s: %d dims, %s", what, dims.key, len(dims.names), change)
