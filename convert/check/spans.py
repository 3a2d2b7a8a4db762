"""What a check reports of the frames that episodes take from a video: there, and theirs?"""

from convert.check.camera_file import CameraFile, leftover_folder
from convert.check.probe import Probe
from convert.findings import Report
from convert.lerobot.dataset import Dataset
from convert.lerobot.episode_list import Episode, VideoSpan
from convert.video_window import check_window


def check_spans(dataset: Dataset, file: CameraFile, seen: Probe, report: Report) -> None:
    """Compare the rows of each episode with the frames that `seen` has for it."""
    for episode, span in file.uses:
        if seen.count < seen.listed and span.first + episode.length > seen.end:
            what = (
                f"cut off: its header lists {seen.listed} frames, the data of {seen.count} is "
                f"there, and this episode ends at frame {span.first + episode.length - 1}; copy it "
                f"again, or use only the episodes that are whole"
            )
            report.add(file.error("video-truncated", what, episode.index))
            continue
        frames = range(span.first, span.first + episode.length)
        parts = [range(max(r.start, frames.start), min(r.stop, frames.stop)) for r in seen.missing]
        holes = [part for part in parts if part]
        if holes:
            what = (
                f"frame {holes[0].start - span.first} is missing ({sum(map(len, holes))} of "
                f"{episode.length} are, {seen.count} are in the file), expected every "
                f"frame at {float(dataset.fps):g} fps; frames were dropped, or the frame rate is "
                f"not constant; leave the episode out or record it again"
            )
            report.add(file.error("video-dropped", what, episode.index))
        elif span.window is not None:
            _check_window(file, episode, span, seen, report)
        elif len(file.uses) > 1:
            what = f"is the video of {len(file.uses)} episodes, expected one of its own for each"
            report.add(file.error("video-shared", what, episode.index))
        else:
            _check_count(dataset, file, episode, seen, report)
    if file.uses[0][1].window is not None:
        _check_overlaps(file, report)


def _check_count(
    dataset: Dataset, file: CameraFile, episode: Episode, seen: Probe, report: Report
) -> None:
    """v2.x: the whole file is one episode."""
    counts = f"has {seen.end} frames, the table has {episode.length} rows"
    leftover = leftover_folder(dataset.root, file.key, episode.index)
    if seen.end < episode.length:
        what = (
            f"{counts}, expected as many; frames were dropped while recording, and which ones "
            f"cannot be known; leave the episode out or record it again"
        )
        report.add(file.error("video-short", what, episode.index))
    elif seen.end > episode.length and leftover is not None:
        what = (
            f"{counts}, and the images of another take are still in {leftover}; this is the video "
            f"of an aborted take; leave the episode out or encode those images"
        )
        report.add(file.error("video-stale", what, episode.index))
    elif seen.end > episode.length:
        what = f"{counts}; the first {episode.length} frames are taken, the rest is left out"
        report.add(file.warning("video-long", what, episode.index))


def _check_window(
    file: CameraFile, episode: Episode, span: VideoSpan, seen: Probe, report: Report
) -> None:
    """v3: the metadata says where in the file the episode lies."""
    end = span.first + episode.length
    inside = seen.first <= span.first and end <= seen.end
    if inside or (span.window or 0) < episode.length:
        check_window(episode, file.key, report.add)
    else:
        what = (
            f"its window is frames {span.first} to {end - 1}, the file has {seen.first} to "
            f"{seen.end - 1}, expected the window inside the file; where the frames are is "
            f"unknown; leave the episode out, or merge or record the dataset again"
        )
        report.add(file.error("video-window-outside", what, episode.index))


def _check_overlaps(file: CameraFile, report: Report) -> None:
    end, last = 0, -1
    for episode, span in file.uses:
        if span.first < end:
            what = (
                f"its window begins at frame {span.first}, but that of episode {last} ends at "
                f"{end - 1}, expected windows apart; one of the two is wrong; leave both out, or "
                f"merge or record the dataset again"
            )
            report.add(file.error("video-overlap", what, episode.index))
        end, last = span.first + min(episode.length, span.window or 0), episode.index
