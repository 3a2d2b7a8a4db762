"""The folder of converted episodes: which are done, which are stale, which are not ours.

An episode file has the fingerprint of its source and options; one without is never touched.
"""

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

from convert.plan import Plan
from episodes.reader import episode_path, open_episode
from job.errors import DatasetError, OutputError
from job.whole_files import output_errors

logger = logging.getLogger("act")

FINGERPRINT = "source_fingerprint"  # an attribute of the file


def remove_episodes(folder: Path, fingerprints: Mapping[str, str]) -> None:
    """Remove those episodes, by file name, and their folder when nothing else is in it."""
    with output_errors(folder), contextlib.suppress(FileNotFoundError):  # of another machine
        for path in sorted(folder.glob("episode_*.hdf5")):
            if path.name in fingerprints and _fingerprint_in(path) == fingerprints[path.name]:
                path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def is_done(plan: Plan, number: int, path: Path) -> bool:
    """Whether a run before left this very episode: files stand under their name only when whole."""
    return _fingerprint_in(path) == plan.fingerprint(number)


def _fingerprint_in(path: Path) -> str | None:
    """The fingerprint in an episode file; None where there is no file, or not one of ours."""
    if not path.exists():
        return None
    try:
        with open_episode(path) as file:
            return file.attrs.get(FINGERPRINT)
    except DatasetError:
        return None


def refuse_foreign(paths: tuple[Path, ...]) -> None:
    """Nothing that a conversion did not write is ever replaced or removed."""
    for path in paths:
        if path.exists() and _fingerprint_in(path) is None:
            raise OutputError(
                f"{path}: an episode that this job did not write is in its place, expected only "
                f"converted ones; move it away",
                code="episode-foreign",
            )


def drop_stale(folder: Path, paths: tuple[Path, ...]) -> None:
    """Remove our own episodes beyond the last one, which upstream's loader would take for data."""
    with output_errors(folder):
        for partial in folder.glob(".episode_*.hdf5.partial"):  # of a run that was killed
            partial.unlink()
    number = len(paths)
    while (path := episode_path(folder, number)).exists():
        if _fingerprint_in(path) is None:
            raise OutputError(
                f"{path}: an episode that this job did not write stands behind its last one, "
                f"expected only converted ones; move it away",
                code="episode-foreign",
            )
        path.unlink()
        logger.info("%s is of an earlier conversion with more episodes, and removed", path.name)
        number += 1
