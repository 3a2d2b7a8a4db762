"""The folder of converted episodes: which are done, which are stale, which are not ours.

An episode file has the fingerprint of its source and options; one without is never touched. In an
output each run has a folder of its own. Runs whose episodes are the same share the files, as hard
links: a run replaces and removes its own names only, and the last one that goes frees the disk.
"""

import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from convert.plan import Plan
from episodes.reader import episode_path, open_episode
from job.errors import DatasetError, OutputError
from job.lock import in_turn, remove_unheld
from job.whole_files import output_errors, whole_path

logger = logging.getLogger("act")

FINGERPRINT = "source_fingerprint"  # an attribute of the file


def remove_episodes(folder: Path, fingerprints: Mapping[str, str]) -> None:
    """Remove those episodes, by file name, and their folder when nothing else is in it."""
    with output_errors(folder), contextlib.suppress(FileNotFoundError):  # of another machine
        for path in sorted(folder.glob("episode_*.hdf5")):
            if path.name in fingerprints and _fingerprint_in(path) == fingerprints[path.name]:
                path.unlink(missing_ok=True)
    remove_empty(folder)


def remove_empty(folder: Path) -> None:
    """Remove a folder in which there is nothing, or nothing but what killed jobs left."""
    with output_errors(folder):
        for path in folder.glob(".*/"):
            remove_unheld(path)
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise


@contextlib.contextmanager
def converted_once(folder: Path, plan: Plan) -> Iterator[None]:
    """Hold the conversion of these very episodes against other runs of the output.

    They wait, and take over what is there by then. folder: with the folders of all runs
    """
    parts = [plan.fingerprint(number) for number in range(len(plan.sources))]
    digest = hashlib.sha256("".join(parts).encode()).hexdigest()
    waiting = "convert    another run converts the same episodes; waiting for them"
    with in_turn(folder / f".converting_{digest[:16]}", waiting):
        yield


def take_over(folder: Path, plan: Plan, paths: Sequence[Path]) -> None:
    """Link the episodes that another run of the output has converted already.

    Where the file system has no links, they are left to be converted.
    folder: with the folders of all runs, and the episodes of a version that had one for all
    paths: of this run's episodes, by number
    """
    missing = {
        number: path
        for number, path in enumerate(paths)
        if not path.exists() or _fingerprint_in(path) not in (None, plan.fingerprint(number))
    }
    others = [folder, *(one for one in sorted(folder.glob("*/")) if one != plan.folder)]
    for other in others if missing else ():
        for number, path in list(missing.items()):
            if is_done(plan, number, episode_path(other, number)) and _link(
                episode_path(other, number), path
            ):
                del missing[number]


def _link(source: Path, path: Path) -> bool:
    """Whether it is there now: its run may have removed it, and not every file system has links."""
    with contextlib.suppress(OutputError), whole_path(path) as partial:
        os.link(source, partial)
        return True
    return False


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
        for partial in folder.glob(".episode_*.hdf5.partial*"):  # of a run that was killed
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
