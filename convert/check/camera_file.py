"""One file with frames of one camera, a video or a table with images, and who uses it."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from convert.findings import Finding, error, finding_of, warning
from convert.lerobot.dataset import Dataset
from convert.lerobot.episode_list import Episode, VideoSpan
from job.errors import DatasetError


@dataclass(frozen=True)
class CameraFile:
    """A file, the camera, and the episodes with their places in it, by where these start."""

    key: str
    path: Path
    uses: list[tuple[Episode, VideoSpan]]

    @property
    def first_episode(self) -> int:
        """The first episode in it."""
        return self.uses[0][0].index

    @property
    def episode(self) -> int | None:
        """The episode that a problem of the file is of; None: of all that are in it."""
        return self.first_episode if len(self.uses) == 1 else None

    def error(self, code: str, what: str, episode: int | None = None) -> Finding:
        """An error of this file, or of one episode in it."""
        return error(code, self.path, what, episode=episode, camera=self.key)

    def warning(self, code: str, what: str, episode: int | None = None) -> Finding:
        """A warning of this file, or of one episode in it."""
        return warning(code, self.path, what, episode=episode, camera=self.key)

    def finding_of(self, problem: DatasetError, episode: int | None) -> Finding:
        """What a reader raised."""
        return finding_of(problem, self.path, episode=episode, camera=self.key)


def camera_files(dataset: Dataset, keys: Iterable[str], dtype: str) -> list[CameraFile]:
    """The files of those cameras that are of `dtype`, "video" or "image"."""
    files = []
    for key in (key for key in keys if dataset.features[key].dtype == dtype):
        uses: dict[Path, list[tuple[Episode, VideoSpan]]] = {}
        for episode in (episode for episode in dataset.episodes if episode.length > 0):
            table = VideoSpan(episode.table_path)
            span = episode.videos[key] if dtype == "video" else table
            uses.setdefault(span.path, []).append((episode, span))
        for path, used in uses.items():
            files.append(CameraFile(key, path, sorted(used, key=lambda use: use[1].from_s)))
    return files


def leftover_folder(root: Path, key: str, episode: int) -> Path | None:
    """The images of an episode that a recording left beside its video."""
    names = (f"episode_{episode:06d}", f"episode-{episode:06d}")
    folders = (root / "images" / key / name for name in names)
    with contextlib.suppress(OSError):  # a key that is too long for a file's name
        return next((folder for folder in folders if folder.is_dir()), None)
    return None
