"""The verb: a LeRobot dataset in, a folder of `episode_<i>.hdf5` files out.

plan (which episodes, cameras, dims) → room on the disk → episodes over worker processes. Each
worker holds one decoded frame at a time, so memory does not grow with an episode's length.
"""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from act import machine
from act.config import Config
from act.episode import EpisodeWriter, FloatArray, Frame, episode_path, open_episode
from act.errors import DatasetError, OutputError
from act.files import output_errors, whole_path
from act.progress import progress_bar
from convert import workers
from convert.lerobot import ACTION_KEY, EFFORT_KEY, STATE_KEY, VELOCITY_KEY, Episode, read_dataset
from convert.plan import Camera, Plan, dataset_fingerprint, make_plan
from convert.table import read_episode
from convert.video import VideoReader

logger = logging.getLogger("act")

WORKER_BYTES = 400 << 20  # what one worker may take, libraries included
_TASKS_PER_WORKER = 4
_REPORT_EVERY = 16  # frames
_FINGERPRINT = "source_fingerprint"


@dataclass(frozen=True)
class Converted:
    """What a conversion left: the files, and what there is to say of them."""

    plan: Plan
    paths: tuple[Path, ...]  # by episode number
    fingerprint: str
    frames_per_second: float | None  # None when every episode was already there


def convert(config: Config, folder: Path) -> Converted:
    """Convert the dataset in `config.input` to episode files in `folder`.

    Episodes already there from the same source and options are kept. Raises DatasetError for the
    input, OutputError for the disk, Interrupted on a signal.
    """
    dataset = read_dataset(config.input)
    plan = make_plan(config, folder, dataset)
    fingerprint = dataset_fingerprint(plan)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(episode_path(folder, number) for number in range(len(plan.episodes)))
    todo = [number for number, path in enumerate(paths) if not _is_done(plan, number, path)]
    _drop_stale(folder, paths)
    _say_plan(plan, todo)
    _check_room(plan, todo)
    rate = _convert_all(plan, todo, worker_count(config, len(todo))) if todo else None
    return Converted(plan, paths, fingerprint, rate)


def worker_count(config: Config, episodes: int) -> int:
    """Processes to convert with: as asked for, else what cores and memory allow."""
    fits = machine.memory_bytes() // (2 * WORKER_BYTES)  # the rest is for the page cache
    return max(1, min(config.convert_workers or min(machine.cpu_count(), fits), episodes))


def _convert_all(plan: Plan, todo: list[int], count: int) -> float:
    tasks = [(plan, numbers) for numbers in split_tasks(todo, count)]
    frames = sum(plan.episodes[number].length for number in todo) * len(plan.cameras)
    started = time.monotonic()
    with progress_bar(frames, "convert", "frame") as bar:
        for done in workers.run(convert_episodes, tasks, count, _task_name):
            bar.update(done)
    return frames / (time.monotonic() - started)


def split_tasks(todo: list[int], workers: int) -> list[list[int]]:
    """Neighbouring episodes together, as they share a video file; enough parts to even out."""
    parts = min(len(todo), workers * _TASKS_PER_WORKER)
    return [part.tolist() for part in np.array_split(np.array(todo, dtype=int), parts)]


def _task_name(task: tuple[Plan, list[int]]) -> str:
    plan, numbers = task
    sources = [plan.episodes[number].index for number in numbers]
    files = {str(span.path) for number in numbers for span in plan.episodes[number].videos.values()}
    return f"episodes {sources} of {plan.dataset.root} ({', '.join(sorted(files)[:3])})"


def convert_episodes(task: tuple[Plan, list[int]], report: workers.Report) -> None:
    """Write some episodes of a plan, reading each video forward; what a worker does."""
    plan, numbers = task
    readers = _Readers(plan)
    try:
        for number in numbers:
            _write_episode(plan, number, readers, report)
    finally:
        readers.close()


class _Readers:
    """One open video per camera; it stays open while episodes follow each other in the file."""

    def __init__(self, plan: Plan) -> None:
        self._fps = plan.dataset.fps
        self._file_firsts = plan.dataset.file_firsts
        self._open: dict[str, VideoReader] = {}

    def reader(self, camera: Camera, path: Path) -> VideoReader:
        reader = self._open.get(camera.key)
        if reader is None or reader.path != path:
            if reader is not None:
                reader.close()
            reader = self._open[camera.key] = VideoReader(path, self._fps, self._file_firsts[path])
        return reader

    def close(self) -> None:
        for reader in self._open.values():
            reader.close()


def _write_episode(plan: Plan, number: int, readers: _Readers, report: workers.Report) -> None:
    episode = plan.episodes[number]
    vectors = _read_vectors(plan, episode)
    path = episode_path(plan.folder, number)
    images = {c.name: (episode.length, c.height, c.width) for c in plan.cameras}
    attributes = _attributes(plan, number)
    with whole_path(path) as partial, EpisodeWriter(partial, vectors, images, attributes) as writer:
        for camera in plan.cameras:
            frames = _frames(plan, episode, camera, readers)
            _write_frames(frames, writer, camera, episode, report)


def _attributes(plan: Plan, number: int) -> dict[str, Any]:
    return {
        "sim": plan.sim,
        _FINGERPRINT: plan.fingerprint(number),
        "source_episode": plan.episodes[number].index,
        "camera_names": [camera.name for camera in plan.cameras],
        "fps": float(plan.dataset.fps),
        "qpos_names": list(plan.qpos.file_names),
        "action_names": list(plan.action.file_names),
    }


def _read_vectors(plan: Plan, episode: Episode) -> dict[str, FloatArray]:
    keys = [STATE_KEY, ACTION_KEY]
    keys += [VELOCITY_KEY] if plan.has_velocity else []
    keys += [EFFORT_KEY] if plan.has_effort else []
    read = read_episode(episode.table_path, episode.index, keys)
    _check_rows(plan, episode, read)
    qpos, action = plan.qpos.fit(read[STATE_KEY]), plan.action.fit(read[ACTION_KEY])
    vectors = {"action": action, "qpos": qpos, "qvel": np.zeros_like(qpos)}
    if plan.has_velocity:
        vectors["qvel"] = plan.qpos.fit(read[VELOCITY_KEY])
    if plan.has_effort:
        vectors["effort"] = plan.qpos.fit(read[EFFORT_KEY])
    return vectors


def _check_rows(plan: Plan, episode: Episode, read: dict[str, FloatArray]) -> None:
    where = f"{episode.table_path}: episode {episode.index}"
    for dims in (plan.qpos, plan.action):
        rows, width = read[dims.key].shape
        if rows != episode.length:
            raise DatasetError(
                f"{where} has {rows} rows, expected {episode.length} as its metadata says; rows "
                f"are missing or the metadata is of another recording"
            )
        if width != len(dims.names):
            raise DatasetError(
                f"{where} has {width} values in {dims.key!r}, expected {len(dims.names)} as in "
                f"the first episode; leave the episode out"
            )


def _frames(plan: Plan, episode: Episode, camera: Camera, readers: _Readers) -> Iterator[Frame]:
    span = episode.videos[camera.key]
    where = f"{span.path}: camera {camera.key!r} of episode {episode.index}"
    if span.window is not None and span.window < episode.length:
        raise DatasetError(
            f"{where} has {span.window} frames in its window and {episode.length} rows in the "
            f"table, expected as many; frames were dropped while recording, and which ones cannot "
            f"be known; leave the episode out or record it again"
        )
    reader = readers.reader(camera, span.path)
    yield from reader.frames(span.first, episode.length)
    longer = reader.has_more() if span.window is None else span.window > episode.length
    if longer:
        logger.warning(
            "%s has more frames than its table has rows (%d); the first %d are the recorded take, "
            "the rest is left out", where, episode.length, episode.length,
        )  # fmt: skip


def _write_frames(
    frames: Iterator[Frame],
    writer: EpisodeWriter,
    camera: Camera,
    episode: Episode,
    report: workers.Report,
) -> None:
    size = (camera.height, camera.width, 3)
    unreported = 0
    for ts, frame in enumerate(frames):
        if frame.shape != size:
            raise DatasetError(
                f"{episode.videos[camera.key].path}: frame {ts} of episode {episode.index} is "
                f"{frame.shape[0]}x{frame.shape[1]}, expected {size[0]}x{size[1]} as in the first "
                f"episode; leave the episode out"
            )
        writer.write_frame(camera.name, ts, frame)
        unreported += 1
        if unreported == _REPORT_EVERY:
            report(unreported)
            unreported = 0
    report(unreported)


def remove_episodes(paths: Sequence[Path]) -> None:
    """Remove converted episodes, and their folder when nothing else is in it."""
    with output_errors(paths[0].parent):
        for path in paths:
            path.unlink(missing_ok=True)
        if not any(paths[0].parent.iterdir()):
            paths[0].parent.rmdir()


def _is_done(plan: Plan, number: int, path: Path) -> bool:
    """Whether a run before left this very episode: files stand under their name only when whole."""
    if not path.exists():
        return False
    try:
        with open_episode(path) as file:
            return bool(file.attrs.get(_FINGERPRINT) == plan.fingerprint(number))
    except DatasetError:
        return False


def _drop_stale(folder: Path, paths: tuple[Path, ...]) -> None:
    """Remove our own episodes beyond the last one, which upstream's loader would take for data."""
    number = len(paths)
    while (path := episode_path(folder, number)).exists():
        with open_episode(path) as file:
            ours = _FINGERPRINT in file.attrs
        if not ours:
            raise OutputError(
                f"{path}: an episode that this job did not write stands behind its last one, "
                f"expected only converted ones; move it away"
            )
        path.unlink()
        number += 1


def _check_room(plan: Plan, todo: list[int]) -> None:
    needed = plan.size_bytes * len(todo) // len(plan.episodes)
    free = shutil.disk_usage(plan.folder).free
    if needed > free:
        raise OutputError(
            f"{plan.folder}: converting needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            f"free; free some space, or lower --max_episodes, or choose fewer --camera_keys"
        )


def _say_plan(plan: Plan, todo: list[int]) -> None:
    dataset = plan.dataset
    cameras = ", ".join(f"{c.key} as {c.name} ({c.height}x{c.width})" for c in plan.cameras)
    logger.info(
        "dataset    LeRobot %s, %s, %g fps, %d of %d episodes, %d already converted",
        dataset.version, dataset.robot_type or "robot unknown", float(dataset.fps),
        len(plan.episodes), len(dataset.episodes), len(plan.episodes) - len(todo),
    )  # fmt: skip
    logger.info("cameras    %s", cameras)
    for what, dims in (("qpos", plan.qpos), ("action", plan.action)):
        change = f"padded to {dims.size} with zeros" if dims.padded else f"{dims.size} kept"
        logger.info("%-10s %s: %d dims, %s", what, dims.key, len(dims.names), change)
