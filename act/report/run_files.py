"""What a run's folder says of the run: whatever of it is there, as a run may not have ended."""

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from act.report.curves import Curves, read_curves
from act.report.finding_facts import Facts
from job.errors import first_line
from job.more_epochs import flag_against_more_epochs
from job.output_names import CONTRACT, EVALUATION, EVALUATION_ARRAYS, MANIFEST, METRICS, RUN, STATE
from job.sections.contract import Contract
from job.sections.evaluation import Evaluation
from job.sections.simulation import Simulation
from job.sections.training import Training
from job.sections.whole import Whole
from job.whole_files import read_bytes, read_json

logger = logging.getLogger("act")

M = TypeVar("M", bound=BaseModel)
_MOST_ARRAY_BYTES = 1 << 30  # a few MB are usual; compressed, they could be anything
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class RunFiles:
    """The files of a run; None for what is not there, or cannot be understood."""

    folder: Path
    which: Mapping[str, Any]  # run.json; {} without
    manifest: Whole | None
    contract: Contract | None
    curves: Curves | None
    evaluation: Evaluation | None
    arrays: Arrays  # evaluation.npz; {} without
    simulations: tuple[Simulation, ...]

    @property
    def is_finished(self) -> bool:
        """Whether nothing of the run is left to do; so where upstream trained it."""
        return bool(self.which.get("finished", True))

    @property
    def flags(self) -> Mapping[str, Any]:
        """The flags of its last job."""
        if self.manifest is not None and self.manifest.flags:
            return self.manifest.flags
        return dict(self.which.get("flags", {}))

    @property
    def training(self) -> Training | None:
        """As the manifest has it, else as far as the curves say."""
        if self.manifest is not None and self.manifest.training is not None and self.is_finished:
            return self.manifest.training
        return _training(self) if self.curves else None

    @property
    def facts(self) -> Facts:
        """What the findings look at."""
        estimates = self.manifest.estimates if self.manifest else None
        return Facts(
            self.curves,
            self.flags,
            self.training,
            self.evaluation,
            estimates.idle if estimates else None,
            self.is_finished,
            self.takes_more_epochs,
        )

    @property
    def takes_more_epochs(self) -> bool:
        """Whether it may be given more epochs, though it is finished."""
        schedule = str(self.flags.get("lr_schedule", "constant"))
        return flag_against_more_epochs(schedule, (self.folder / STATE).exists()) is None


def read_run(folder: Path) -> RunFiles:
    """All that is there; what cannot be understood is a warning."""
    found = [_model(path, Simulation) for path in sorted(folder.glob("simulation_*.json"))]
    evaluation = _model(folder / EVALUATION, Evaluation)
    return RunFiles(
        folder=folder,
        which=_which(folder / RUN),
        manifest=_model(folder / MANIFEST, Whole),
        contract=_model(folder / CONTRACT, Contract),
        curves=read_curves(folder / METRICS),
        evaluation=evaluation,
        arrays=_arrays(folder / EVALUATION_ARRAYS) if evaluation else {},
        simulations=tuple(one for one in found if one is not None),
    )


def _model(path: Path, kind: type[M]) -> M | None:
    try:
        return kind.model_validate_json(read_bytes(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _warn(path, error)
        return None


def _warn(path: Path, error: Exception) -> None:
    why = first_line(error)
    if isinstance(error, ValidationError):
        wrong = error.errors()[0]
        why = ": ".join([".".join(map(str, wrong["loc"])), wrong["msg"]]).removeprefix(": ")
    logger.warning("%s: cannot be understood (%s); the report does without it", path, why)


def _which(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
        if isinstance(found, dict) and isinstance(found.get("flags", {}), dict):
            return found
    except (OSError, ValueError):  # upstream's run has none
        pass
    return {}


def _arrays(path: Path) -> Arrays:
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as found:
            size = sum(entry.file_size for entry in found.zip.infolist())
            if size > _MOST_ARRAY_BYTES:
                raise ValueError(f"its arrays have {size} bytes")
            return {name: found[name] for name in found.files}
    except FileNotFoundError:
        return {}
    except Exception as error:  # numpy and zipfile raise a dozen kinds
        _warn(path, error)
        return {}


def _training(run: RunFiles) -> Training:
    """What is known of a training that goes on."""
    curves = run.curves
    assert curves is not None
    best = int(curves.val["loss"].argmin())
    samples, steps = int(curves.samples[-1]), int(curves.step[-1])
    asked = [run.flags.get(name, 0) for name in ("num_epochs", "steps")]
    wait = float(curves.wait_s.sum()) / curves.seconds if curves.seconds else 0.0
    return Training(
        epochs=max([len(curves), *(one for one in asked if isinstance(one, int))]),
        epochs_done=len(curves),
        continued_from_step=None,
        steps=steps,
        samples=samples,
        effective_batch=_effective_batch(run, samples // len(curves)),
        best_epoch=int(curves.epoch[best]),
        best_val_loss=float(curves.val["loss"][best]),
        last_train={name: float(values[-1]) for name, values in curves.train.items()},
        last_val={name: float(values[-1]) for name, values in curves.val.items()},
        samples_per_second=round(samples / curves.seconds, 3) if curves.seconds else 0.0,
        data_wait_share=round(wait, 4),
    )


def _effective_batch(run: RunFiles, samples: int) -> int:
    """samples: of an epoch"""
    asked = run.flags.get("batch_size")
    return max(1, min(samples, asked) if isinstance(asked, int) else samples)
