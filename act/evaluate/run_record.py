"""What a run's own files say of its training, for the record of an evaluation."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from act.load.source import Source, checkpoint_names, find_source
from job.errors import UsageError, first_line
from job.output_names import MANIFEST, METRICS
from job.sections.whole import Whole
from job.whole_files import parse_json, read_bytes

logger = logging.getLogger("act")

_FIRST = ("last", "best", "average")  # then the latest epochs: time may not be enough for all


@dataclass(frozen=True)
class RunRecord:
    """What is known of a training; None where its files do not say it."""

    seconds: float | None  # that it took
    lag_steps: float | None  # by which the state follows the action
    epochs: dict[str, int]  # of the weights of the checkpoints best, last and average

    def epoch_of(self, name: str) -> int | None:
        """The epoch of a checkpoint's weights."""
        number = name.removeprefix("epoch_")
        return int(number) if number != name and number.isdecimal() else self.epochs.get(name)


def read_record(folder: Path) -> RunRecord:
    """Of the run in a folder; what upstream trained has none."""
    manifest = None
    with suppress(OSError, ValidationError):  # of upstream's, or from another version
        manifest = Whole.model_validate_json(read_bytes(folder / MANIFEST))
    training = manifest.training if manifest else None
    estimates = manifest.estimates if manifest else None
    epochs = {}
    if training is not None:
        epochs = {"last": training.epochs_done, "average": training.epochs_done}
        epochs |= {} if training.best_epoch is None else {"best": training.best_epoch}
    return RunRecord(_seconds(folder), estimates.lag.steps if estimates else None, epochs)


def _seconds(folder: Path) -> float | None:
    """What the epochs took, validation aside."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        lines = read_bytes(folder / METRICS).decode().splitlines()
        rows = [parse_json(line) for line in lines]
        return float(sum(row["wait_s"] + row["compute_s"] for row in rows))
    return None


def checkpoints_of(folder: Path, asked: tuple[str, ...]) -> dict[str, Source]:
    """The checkpoints to evaluate by name, files with the same content once; raises UsageError.

    asked: their names; (): all but those that the contract does not list, with a warning
    """
    names = list(asked) or sorted(checkpoint_names(folder), key=_rank)
    found: dict[str, Source] = {}
    for name in names:
        try:
            source = find_source(folder, name)
        except UsageError as error:
            if name in asked or error.code != "contract-other":
                raise
            logger.warning("%s; it is left out", first_line(error))
            continue
        if source.sha256 not in {one.sha256 for one in found.values()}:
            found[name] = source
    return found


def _rank(name: str) -> tuple[int, int]:
    if name in _FIRST:
        return _FIRST.index(name), 0
    number = name.removeprefix("epoch_")
    return len(_FIRST), -int(number) if number.isdecimal() else 0
