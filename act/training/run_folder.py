"""The folder of a run: whose it is, whether this job may resume it, whether it is finished.

run.json holds the flags and the dataset that shape the result, and whether the run is finished. It
is written before anything else, so files of a run in a folder without it are of somebody else, and
left alone. A finished run whose state was kept may be given more epochs: it is then an unfinished
run of so many, as if it had been asked for them from the start.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from act.batches.split import train_count
from act.policies.contract_file import listed_digests
from act.training.best_copy import forget_copy
from act.training.checkpoints import LAST, run_files
from act.training.flags import TrainingFlags, epochs_of
from act.training.state import read_state
from episodes.frame_cache import remove_cache
from job.errors import AlreadyDone, OutputError, UsageError
from job.flags import Flags, as_json, flags_of
from job.more_epochs import flag_against_more_epochs
from job.output_names import MANIFEST, RUN, STATE, STATUS
from job.sections.data import Dataset
from job.whole_files import output_errors, read_json, write_json

logger = logging.getLogger("act")

_FINISHED = "finished"  # the field; runs of version 0.1.0 lack it
_STATE_KEPT = "state_kept"
_LENGTH = {"num_epochs", "steps"}  # the flags
_FORMAT = 1


def check_folder(flags: TrainingFlags, folder: Path) -> bool:
    """Whether the run that was asked for is finished there.

    Raises UsageError when the folder holds another run, or one that must not be resumed.
    """
    names = sorted(
        path.name for path in folder.glob("[!.]*") if path.name not in (MANIFEST, STATUS)
    )
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
    listed_digests(folder)
    _compare(flags, folder, which)
    if _gets_more_epochs(flags, folder, which):
        read_state(folder)  # a damaged one leaves the run as finished as it is
        return False
    return _is_finished(folder, which)


def _is_finished(folder: Path, which: Mapping[str, Any]) -> bool:
    if _FINISHED in which:
        return bool(which[_FINISHED])
    # a run of version 0.1.0: what has its last weights and no state has nothing left to do
    return (folder / LAST).exists() and not (folder / STATE).exists()


def mark_finished(folder: Path, state_kept: bool) -> None:
    """Record that nothing of the run is left to do; raises OutputError when it cannot be."""
    path = folder / RUN
    with output_errors(path):
        which = read_json(path)
    write_json(path, which | {_FINISHED: True, _STATE_KEPT: state_kept})


def remove_state(folder: Path, unless_kept: bool = False) -> None:
    """Remove the state of a finished run, which needs it no more; warns where it must stay.

    And all that is kept for more epochs.

    unless_kept: leave one that was kept on purpose
    """
    if unless_kept and (_read(folder) or {}).get(_STATE_KEPT):
        return
    try:
        with output_errors(folder / STATE):
            (folder / STATE).unlink(missing_ok=True)
        forget_copy(folder)  # then: where there is a state, more epochs are to undo the copy
    except OutputError as error:
        logger.warning("%s; the run is completed, remove it by hand", error)


def tidy_finished(folder: Path) -> None:
    """Remove what a kill may have left of a run that had just finished."""
    remove_frames(folder)
    remove_state(folder, unless_kept=True)


def remove_frames(folder: Path) -> None:
    """Remove the decoded frames of a finished run; warns where they must stay."""
    try:
        remove_cache(folder)
    except OutputError as error:
        logger.warning("%s; the run is completed, remove its .frames_* by hand", error)


def claim_folder(flags: TrainingFlags, folder: Path, dataset: Dataset) -> None:
    """Record whose the folder is; raises UsageError when its run is of another dataset.

    A finished run that `check_folder` lets have more epochs is an unfinished one from here on.
    dataset: the manifest's section
    """
    lengths = [episode.length for episode in dataset.episodes]
    train_count(len(lengths), flags.val_episodes)  # refused before the folder is of such a run
    which = _read(folder)
    if which is None:
        episodes = {"fingerprint": dataset.fingerprint, "lengths": lengths}
        run = {"format": _FORMAT, "flags": flags.shaping(), "dataset": episodes}
        write_json(folder / RUN, run | {_FINISHED: False})
        return
    if which["dataset"]["fingerprint"] != dataset.fingerprint:
        before, now = which["dataset"]["lengths"], lengths
        change = f"{len(before)} episodes with {sum(before)} frames, now {len(now)} with {sum(now)}"
        raise UsageError(
            f"{folder}: the run here was started on another dataset ({change}; fingerprint "
            f"{which['dataset']['fingerprint'][:12]}…, now {dataset.fingerprint[:12]}…), "
            f"expected the same; a new run may start from its weights: another "
            f"{flags.option('run_name')}, and --init_weights {folder}",
            code="run-differs",
        )
    if _gets_more_epochs(flags, folder, which):
        logger.info("run        gets %d epochs instead of %d", flags.epochs, _epochs(which))
        write_json(folder / RUN, which | {"flags": flags.shaping(), _FINISHED: False})


def already_done(folder: Path) -> AlreadyDone:
    """What ends a job whose run is finished."""
    return AlreadyDone(f"{folder} holds the policy of this very run", code="already-done")


def _compare(flags: TrainingFlags, folder: Path, which: Mapping[str, Any]) -> None:
    changed = _changed(flags, which)
    if not changed or _gets_more_epochs(flags, folder, which):
        return
    now = flags.shaping()
    named = "; ".join(
        f"{flags.option(name)} was {was!r}, now {now[name]!r}" for name, was in changed.items()
    )
    raise UsageError(
        f"{folder}: the run here was started with other flags: {named}; expected the same; "
        f"choose another {flags.option('run_name')}",
        code="run-differs",
    )


def _changed(flags: Flags, which: Mapping[str, Any]) -> dict[str, Any]:
    """The flags with another value than the run was started with, and that value."""
    now = flags.shaping()
    # a run from before there was a flag is one with its default
    before = {entry.name: as_json(entry.default) for entry, _ in flags_of(type(flags))}
    before |= which["flags"]
    return {name: before[name] for name in now if before[name] != now[name]}


def _gets_more_epochs(flags: TrainingFlags, folder: Path, which: Mapping[str, Any]) -> bool:
    """Whether a finished run was asked for with more epochs, and nothing else changed.

    Raises UsageError where it would not be as if it had been longer from the start.
    """
    changed = _changed(flags, which)
    longer = bool(changed) and _LENGTH.issuperset(changed) and flags.epochs > _epochs(which)
    if not longer or not _is_finished(folder, which):
        return False
    forbids = flag_against_more_epochs(flags.lr_schedule, (folder / STATE).exists())
    if forbids is None:
        return True
    option = flags.option(forbids)
    why = f"its state was not kept ({option})"
    if forbids == "lr_schedule":
        why = f"its learning rates ended with it ({option} {flags.lr_schedule})"
    raise UsageError(
        f"{folder}: the run here is finished, with {_epochs(which)} epochs, and {why}, so "
        f"{flags.epochs} epochs take a new run; choose another {flags.option('run_name')}",
        code="run-differs",
    )


def _epochs(which: Mapping[str, Any]) -> int:
    """How many epochs the run was started with."""
    before = which["flags"]
    return epochs_of(before.get("num_epochs", 0), before.get("steps", 0))


def _read(folder: Path) -> Any:
    path = folder / RUN
    try:
        which = read_json(path)
        if which["format"] != _FORMAT or not isinstance(which["flags"], dict):
            raise ValueError(f"format {which['format']!r}")
        if not all(isinstance(which["flags"].get(name, 0), int) for name in _LENGTH):
            raise ValueError("epochs that are no numbers")
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
