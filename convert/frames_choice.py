"""Where training takes its frames from, raw files or the dataset's own videos: one rule for all."""

from dataclasses import replace
from pathlib import Path

from convert.disk_and_memory import needed_bytes
from convert.episode_folder import is_done
from convert.findings import Add, error
from convert.plan import Plan
from episodes.reader import episode_path
from job.file_system import free_bytes


def choose_frames(plan: Plan, asked: str, output: Path | None, add: Add) -> Plan:
    """The plan with the frames where `--frames` wants them, and why they are there.

    output: the folder whose disk takes the files; None: it is not known, so every one has room
    add: receives an error where videos are wanted and there are none
    """
    if not plan.cameras or plan.jpeg_quality is not None:
        return plan
    if asked == "video":
        for path, key in _without_video(plan)[:1]:
            what = (
                "has its images in its tables, expected a video for --frames video; leave that "
                "flag out, or the camera"
            )
            add(error("frames-no-video", path, what, camera=key))
        return replace(plan, filmed=True, frames_reason="as --frames asks")
    if asked == "raw":
        return replace(plan, frames_reason="as --frames asks")
    return plan if output is None else _by_room(plan, output)


def _by_room(plan: Plan, output: Path) -> Plan:
    if _without_video(plan):
        return replace(plan, frames_reason="the dataset has images, and no videos")
    filmed = replace(plan, filmed=True)
    numbers = range(len(plan.sources))
    if any(is_done(filmed, number, episode_path(plan.folder, number)) for number in numbers):
        return replace(filmed, frames_reason="as the run began")
    todo = [n for n in numbers if not is_done(plan, n, episode_path(plan.folder, n))]
    needed, free = needed_bytes(plan, todo), free_bytes(output)
    shown = f"raw frames need another {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free"
    return replace(filmed if needed > free else plan, frames_reason=shown)


def _without_video(plan: Plan) -> list[tuple[Path, str]]:
    """The tables, and cameras by key, whose images are in the tables."""
    return [
        (source.episode.table_path, camera.key)
        for source in plan.sources
        for camera in plan.cameras
        if camera.key not in source.episode.videos
    ]
