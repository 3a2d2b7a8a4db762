"""What a check reports of files that no metadata names, or whose metadata cannot be read."""

from pathlib import Path

from convert.check.camera_file import leftover_folder
from convert.findings import Report, error, warning
from convert.lerobot.dataset import Dataset
from episodes.input_file import OnRead, check_file
from job.errors import DatasetError

_SUFFIXES = {".parquet", ".mp4", ".json", ".jsonl"}


def check_all_files(root: Path, report: Report, on_read: OnRead) -> None:
    """Look at every file of a dataset whose metadata cannot be read."""
    try:
        paths = sorted(
            path for path in root.rglob("*") if path.suffix in _SUFFIXES and path.name[0] != "."
        )
    except OSError as problem:
        report.add(error("file-permission", root, f"not readable ({problem}); chmod -R a+rX it"))
        return
    reported = {finding.where for finding in report.findings}
    for path in (path for path in paths if str(path) not in reported):
        on_read(path)
        try:
            check_file(path)
        except DatasetError as problem:
            report.catch(problem, path)


def check_unlisted(dataset: Dataset, report: Report, videos: bool = True) -> None:
    """Tables and videos that no episode uses: nothing reads them, but somebody recorded them.

    videos: whether the episodes use any
    """
    used = {episode.table_path for episode in dataset.episodes}
    used |= {span.path for episode in dataset.episodes for span in episode.videos.values()}
    reported = {finding.where for finding in report.findings}
    hidden = []
    folders = [("meta", "*"), ("data", "*.parquet"), *([("videos", "*.mp4")] if videos else [])]
    for folder, pattern in folders:
        for path in sorted((dataset.root / folder).rglob(pattern)):
            if path.name.startswith("."):
                hidden.append(path)
            elif folder != "meta" and path not in used and str(path) not in reported:
                what = "no episode of the metadata is in this file; it is not used"
                report.add(warning("file-unlisted", path, what))
    if hidden:
        what = f"{len(hidden)} hidden files, such as {hidden[0].name}, are no data; not used"
        report.add(warning("hidden-files", dataset.root, what))


def check_leftovers(dataset: Dataset, report: Report) -> None:
    """Images that a recording should have removed: its video may be of an aborted take."""
    stale = {(finding.camera, finding.episode) for finding in report.errors}
    if not (dataset.root / "images").is_dir():
        return
    for key in dataset.cameras:
        for episode in dataset.episodes:
            folder = leftover_folder(dataset.root, key, episode.index)
            if folder is not None and (key, episode.index) not in stale:
                what = "images of a recording that did not end; not used; remove them if the "
                what += "video is whole"
                report.add(
                    warning("leftover-images", folder, what, episode=episode.index, camera=key)
                )
