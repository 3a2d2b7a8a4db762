"""The best weights once more, under upstream's name for their epoch, and what that name replaces.

A run may be given more epochs where its state is kept. In the end it is as if it had been longer:
the name that its best had before holds its snapshot again, or is gone. So what the copy replaces
is kept aside with the state, hidden.
"""

from fnmatch import fnmatch
from pathlib import Path

from act.training.best import Best
from job.output_names import SNAPSHOTS
from job.whole_files import Note, output_errors, read_json, whole_copy, write_json

_NOTED = ".best_copy.json"  # the name of the copy
_ASIDE = ".aside"


def copy_best(best: Best, path: Path, note: Note, for_more_epochs: bool) -> None:
    """Copy the best weights to `path`, in place of the copy of a shorter run.

    for_more_epochs: so that this can be undone
    """
    _undo(path.parent, note)
    if for_more_epochs:
        if path.exists():
            whole_copy(path, _aside(path))
        write_json(path.parent / _NOTED, {"name": path.name})
        # of the copy before, which is undone: not earlier, as a kill may have it undone once more
        _remove_aside(path.parent, but=_aside(path))
    best.copy_to(path)


def _undo(folder: Path, note: Note) -> None:
    if (path := _noted(folder)) is None:
        return
    if _aside(path).exists():
        whole_copy(_aside(path), path, note)
    else:
        with output_errors(path):
            path.unlink(missing_ok=True)


def forget_copy(folder: Path) -> None:
    """Remove what was kept aside; raises OutputError."""
    noted = folder / _NOTED
    with output_errors(noted):
        noted.unlink(missing_ok=True)  # first: without what it names, a snapshot would be removed
    _remove_aside(folder)


def _remove_aside(folder: Path, but: Path | None = None) -> None:
    for path in sorted(folder.glob(f".{SNAPSHOTS}{_ASIDE}")):
        if path != but:
            with output_errors(path):
                path.unlink(missing_ok=True)


def _noted(folder: Path) -> Path | None:
    """Where the copy is; None where nothing is kept aside."""
    try:
        name = str(read_json(folder / _NOTED)["name"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return folder / name if fnmatch(name, SNAPSHOTS) and "/" not in name else None


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_ASIDE}")
