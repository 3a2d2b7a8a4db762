"""A run as `compare` sees it: what its folder says of it."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from act.training.metrics import Row
from job.errors import UsageError, first_line
from job.output_names import MANIFEST, METRICS, RUN
from job.sections.evaluation import Evaluation
from job.sections.simulation import Simulation
from job.whole_files import read_bytes, read_json

M = TypeVar("M", bound=BaseModel)
_ROW = TypeAdapter(Row)


@dataclass(frozen=True)
class Run:
    """What a run's folder says."""

    name: str
    folder: Path
    flags: dict[str, Any]
    fingerprint: str  # of its episodes
    rows: list[Row]
    evaluation: Evaluation | None
    simulations: list[Simulation]

    @property
    def seconds(self) -> list[float]:
        """Seconds of training up to the end of each epoch."""
        found, total = [], 0.0
        for row in self.rows:
            total += row.wait_s + row.compute_s
            found.append(total)
        return found


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in these folders; raises UsageError for what is no run."""
    names = [folder.resolve().name for folder in folders]
    often = Counter(names)
    shown = [
        f"{name} ({number})" if often[name] > 1 else name for number, name in enumerate(names, 1)
    ]
    return [_read(folder, name) for folder, name in zip(folders, shown, strict=True)]


def _read(folder: Path, name: str) -> Run:
    try:
        which = read_json(folder / RUN)
        flags, fingerprint = dict(which["flags"]), str(which["dataset"]["fingerprint"])
        lines = read_bytes(folder / METRICS).decode().splitlines()
        rows = [_ROW.validate_json(line) for line in lines if line.endswith("}")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder}: cannot be compared ({first_line(error)}), expected the folder of a run "
            f"with its {RUN} and {METRICS}; leave it out",
            code="run-unreadable",
        ) from error
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # it has all of them
        flags = dict(read_json(folder / MANIFEST)["flags"]) or flags
    simulations = [_model(path, Simulation) for path in sorted(folder.glob("simulation_*.json"))]
    return Run(
        name=name,
        folder=folder,
        flags=flags,
        fingerprint=fingerprint,
        rows=rows,
        evaluation=_model(folder / "evaluation.json", Evaluation),
        simulations=[one for one in simulations if one is not None],
    )


def _model(path: Path, kind: type[M]) -> M | None:
    """What a file holds, None where there is none; raises UsageError where it is damaged."""
    try:
        return kind.model_validate_json(read_bytes(path))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, ValueError) as error:
        raise UsageError(
            f"{path}: cannot be understood ({first_line(error)}), expected what this version "
            f"writes; write it again, or remove it",
            code="run-unreadable",
        ) from error
