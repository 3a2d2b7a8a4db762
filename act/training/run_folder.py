"""The folder of a run: whose it is, whether this job may resume it, whether it is finished.

run.json holds the flags and the dataset that shape the result, and whether the run is finished. It
is written before anything else, so files of a run in a folder without it are of somebody else, and
left alone.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from act.training.checkpoints import LAST, run_files
from act.training.flags import ResumeFlags
from act.training.state import STATE
from job.errors import AlreadyDone, OutputError, UsageError
from job.flags import Flags
from job.output_names import MANIFEST
from job.sections.data import Dataset
from job.whole_files import output_errors, read_json, write_json

logger = logging.getLogger("act")

_WHICH = "run.json"
_FINISHED = "finished"  # the field; runs of version 0.1.0 lack it
_FORMAT = 1


def check_folder(flags: ResumeFlags, folder: Path) -> bool:
    """Whether the run that was asked for is finished there.

    Raises UsageError when the folder holds another run, or one that must not be resumed.
    """
    names = sorted(path.name for path in folder.glob("[!.]*") if path.name != MANIFEST)
    if flags.resume == "never" and names:
        raise UsageError(
            f"--resume never: {folder} holds {names[0]}{' and more' * (len(names) > 1)}, expected "
            f"an empty run folder; choose another {flags.option('run_name')}, or resume it with "
            f"--resume auto",
            code="run-differs",
        )
    which = _read(folder)
    if which is None:
        _refuse_foreign(flags, folder)
        return False
    _compare(flags, folder, which["flags"])
    return _is_finished(folder, which)


def _is_finished(folder: Path, which: Mapping[str, Any]) -> bool:
    if _FINISHED in which:
        return bool(which[_FINISHED])
    # a run of version 0.1.0: what has its last weights and no state has nothing left to do
    return (folder / LAST).exists() and not (folder / STATE).exists()


def mark_finished(folder: Path) -> None:
    """Record that nothing of the run is left to do; raises OutputError when it cannot be."""
    path = folder / _WHICH
    with output_errors(path):
        which = read_json(path)
    write_json(path, which | {_FINISHED: True})


def remove_state(folder: Path) -> None:
    """Remove the state of a finished run, which needs it no more; warns where it must stay."""
    try:
        with output_errors(folder / STATE):
            (folder / STATE).unlink(missing_ok=True)
    except OutputError as error:
        logger.warning("%s; the run is completed, remove it by hand", error)


def claim_folder(flags: Flags, folder: Path, dataset: Dataset) -> None:
    """Record whose the folder is; raises UsageError when its run is of another dataset.

    dataset: the manifest's section
    """
    lengths = [episode.length for episode in dataset.episodes]
    which = _read(folder)
    if which is None:
        episodes = {"fingerprint": dataset.fingerprint, "lengths": lengths}
        run = {"format": _FORMAT, "flags": flags.shaping(), "dataset": episodes}
        write_json(folder / _WHICH, run | {_FINISHED: False})
    elif which["dataset"]["fingerprint"] != dataset.fingerprint:
        before, now = which["dataset"]["lengths"], lengths
        change = f"{len(before)} episodes with {sum(before)} frames, now {len(now)} with {sum(now)}"
        raise UsageError(
            f"{folder}: the run here was started on another dataset ({change}; fingerprint "
            f"{which['dataset']['fingerprint'][:12]}…, now {dataset.fingerprint[:12]}…), "
            f"expected the same; choose another {flags.option('run_name')}",
            code="run-differs",
        )


def already_done(folder: Path) -> AlreadyDone:
    """What ends a job whose run is finished."""
    return AlreadyDone(f"{folder} holds the policy of this very run", code="already-done")


def _compare(flags: Flags, folder: Path, before: Mapping[str, Any]) -> None:
    now = flags.shaping()
    changed = [name for name in now if before.get(name, now[name]) != now[name]]
    if changed:
        named = "; ".join(
            f"{flags.option(name)} was {before[name]!r}, now {now[name]!r}" for name in changed
        )
        raise UsageError(
            f"{folder}: the run here was started with other flags: {named}; expected the same; "
            f"choose another {flags.option('run_name')}",
            code="run-differs",
        )


def _read(folder: Path) -> Any:
    path = folder / _WHICH
    try:
        which = read_json(path)
        if which["format"] != _FORMAT or not isinstance(which["flags"], dict):
            raise ValueError(f"format {which['format']!r}")
        if not isinstance(which.get(_FINISHED, False), bool):
            raise ValueError(f"{_FINISHED} is {which[_FINISHED]!r}")
        if not all(isinstance(length, int) for length in which["dataset"]["lengths"]):
            raise ValueError("lengths that are no numbers")
        if not isinstance(which["dataset"]["fingerprint"], str):
            raise ValueError("a fingerprint that is no text")
    except (FileNotFoundError, NotADirectoryError):  # what is in the way is reported when writing
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: cannot be understood ({error}), expected what this job wrote; move the "
            f"folder away to start the run anew",
            code="run-differs",
        ) from error
    return which


def _refuse_foreign(flags: Flags, folder: Path) -> None:
    foreign = [path for path in (*run_files(folder), folder / STATE) if path.exists()]
    if foreign:
        raise UsageError(
            f"{foreign[0]}: a file of a run that this job did not start, expected none in its "
            f"folder; choose another {flags.option('run_name')}, or move it away",
            code="run-differs",
        )
