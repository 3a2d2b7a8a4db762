"""What a check reports of the frames that episodes take from a video: there, and theirs?"""

from collections.abc import Mapping

from convert.check.camera_file import CameraFile, leftover_folder
from convert.findings import Report
from convert.lerobot.dataset import Dataset
from convert.lerobot.table import Times
from convert.pictures import VideoFile, choose_pictures
from episodes.video.index import VideoIndex


def check_spans(
    dataset: Dataset,
    file: CameraFile,
    index: VideoIndex,
    times: Mapping[int, Times | None],
    report: Report,
) -> None:
    """Find the picture of each row of the episodes in a file, as the conversion does.

    times: the rows' timestamps by episode; those whose rows could not be read have an error already
    """
    video = VideoFile.of(dataset, index)
    for episode, span in file.uses:
        if episode.index not in times:
            continue
        leftover = leftover_folder(dataset.root, file.key, episode.index)
        if span.to_s is None and index.end > episode.length and leftover is not None:
            what = (
                f"has {index.end} frames, the table has {episode.length} rows, and the images of "
                f"another take are still in {leftover}; this is the video of an aborted take; "
                f"leave the episode out or encode those images"
            )
            report.add(file.error("video-stale", what, episode.index))
            continue
        choose_pictures(video, episode, file.key, times[episode.index], report.add)
