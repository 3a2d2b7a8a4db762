"""The evaluation of a run: what it leaves in the run's folder, and what it changes there.

<run folder>/
├── evaluation.json     the record
├── evaluation.npz      arrays for the figures of a report
├── policy.json         gets the recommended checkpoint and way of execution
└── manifest.json       lists all three
"""

import io
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from act.evaluate.budget import Budget
from act.evaluate.closer_look import look_closer
from act.evaluate.evaluation import Subject, evaluate
from act.evaluate.flags import FLOOR_S, SHARE, EvaluateFlags
from act.evaluate.held_out import Recorded, recorded, split_of, wanted
from act.evaluate.run_record import checkpoints_of, read_record
from act.evaluate.verdict import best_baseline
from act.load.loading import ComputeOptions
from act.load.source import Source, run_path
from act.load.torch_backend import TorchBackend
from act.policies.contract_file import ContractFile, read_contract
from act.processes.flags import ComputeFlags
from episodes.reading import Reading
from job.errors import Interrupted, UsageError, VerdictError, first_line
from job.lock import only_job
from job.output_names import CONTRACT, EVALUATION, EVALUATION_ARRAYS
from job.renewed_manifest import renew
from job.sections.contract import CONTRACT_VERSION, Advice, Contract
from job.sections.evaluation import Evaluation
from job.whole_files import output_errors, read_bytes, whole_file, write_json
from job.words import counted

logger = logging.getLogger("act")

CHANGED = (EVALUATION, EVALUATION_ARRAYS, CONTRACT)
SCRATCH = ".evaluation.partial"

# The episodes to evaluate on, read with the help of a scratch folder: of the run in this folder.
# Who can read recordings is not a part of this room.
ReadEpisodes = Callable[[Path, Contract, Path], Recorded]


def evaluate_run(
    flags: EvaluateFlags, read_episodes: ReadEpisodes, afterwards: Callable[[Path], object]
) -> Evaluation:
    """Evaluate a run; raises UsageError, DatasetError, and VerdictError with `--fail_on no`.

    afterwards: done with the run's folder, whatever the verdict is
    """
    folder = run_path(flags.run, flags.output)
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: is a checkpoint, expected the folder of its run; name the checkpoint with "
            f"--checkpoints",
            code="policy-missing",
        )
    contract, checkpoints = read_contract(folder), checkpoints_of(folder, flags.checkpoints)
    scratch = folder / SCRATCH
    with only_job(folder):
        try:
            with output_errors(scratch):
                shutil.rmtree(scratch, ignore_errors=True)  # what a kill has left
                scratch.mkdir()
            seconds = flags.minutes * 60 or None
            episodes = read_episodes(folder, contract, scratch)
            record = evaluate_folder(folder, episodes, flags, seconds, checkpoints)
            changed = [folder / name for name in CHANGED]
            renew(folder, changed, folder / CONTRACT)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    afterwards(folder)
    refuse_no(record, flags.fail_on)
    return record


def evaluate_finished(
    folder: Path, paths: Sequence[Path], reading: Reading, computing: ComputeFlags
) -> Evaluation | None:
    """Evaluate the run that a job has just finished on the episode files that it was trained on.

    Whatever goes wrong is a warning: the run is completed. Returns None then.
    """
    try:
        contract = read_contract(folder)
        needed = wanted(len(paths), is_of_run=True, validated=split_of(folder))
        files = {number: paths[number] for number in needed.numbers}
        episodes = recorded(
            files,
            {number: path.name for number, path in files.items()},
            needed,
            contract,
            reading=reading,
            is_of_run=True,
            source=", ".join(contract.dataset.paths if contract.dataset else ()),
        )
        seconds = max(FLOOR_S, SHARE * (read_record(folder).seconds or 0.0))
        return evaluate_folder(folder, episodes, computing, seconds, checkpoints_of(folder, ()))
    except Interrupted as error:
        logger.warning(
            "the run is completed, and its evaluation left out (%s); evaluate %s makes up for it",
            first_line(error),
            folder,
        )
        return None
    except Exception as error:  # the training has succeeded, whatever this stumbles over
        logger.warning(
            "the run is completed, but its evaluation failed (%s); repeat it with evaluate %s",
            first_line(error),
            folder,
        )
        return None


def evaluate_folder(
    folder: Path,
    episodes: Recorded,
    computing: ComputeFlags,
    seconds: float | None,
    checkpoints: Mapping[str, Source],
) -> Evaluation:
    """Evaluate the run in a folder that is locked, and write what it leaves; raises JobError.

    seconds: that it may take; None: as long as it takes
    checkpoints: by name, those first that matter most
    """
    budget = Budget(seconds)
    options = ComputeOptions(
        device=computing.device, precision=computing.precision, compile=computing.compile
    )
    subject = Subject(episodes, checkpoints, read_record(folder))
    record, arrays = evaluate(
        subject, lambda source: TorchBackend(source, options), look_closer, budget
    )
    _write(folder, record, arrays)
    _report(record)
    return record


def refuse_no_of(folder: Path) -> None:
    """Raise VerdictError where the run in a folder has been evaluated, and the verdict is no."""
    with suppress(OSError, ValidationError):
        refuse_no(Evaluation.model_validate_json(read_bytes(folder / EVALUATION)), "no")


def refuse_no(record: Evaluation, fail_on: str) -> None:
    """Raise VerdictError where the verdict is no, and that is to be an error."""
    if fail_on == "no" and record.verdict.answer == "no":
        raise VerdictError(
            f"the verdict is no: {record.verdict.reasons[0].text}; "
            f"{record.verdict.reasons[0].next_step}",
            code="verdict-no",
        )


def _write(folder: Path, record: Evaluation, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # allow_pickle has a default
    with whole_file(folder / EVALUATION_ARRAYS, recorded=True) as file:
        file.write(content.getvalue())
    write_json(folder / EVALUATION, record.model_dump(mode="json"), recorded=True)
    if record.held_out:
        recommend(folder, record)


def recommend(folder: Path, record: Evaluation) -> None:
    """Have the contract name what is recommended; raises OutputError."""
    advice = record.recommendation
    kept = ContractFile(folder, read_contract(folder))
    execution = kept.content.execution.model_copy(
        update={"mode": advice.mode, "horizon": advice.horizon}
    )
    evaluation = Advice(
        created_at=record.created_at,
        answer=record.verdict.answer,
        reason=advice.reason,
        mae_in_std=record.best.errors.mae_in_std.mean,
        baseline_in_std=best_baseline(record.baselines).errors.mae_in_std.mean,
    )
    kept.content = kept.content.model_copy(
        update={
            "schema_version": CONTRACT_VERSION,
            "file": advice.file,
            "execution": execution,
            "evaluation": evaluation,
        }
    )
    kept.write()


def _report(record: Evaluation) -> None:
    verdict, advice = record.verdict, record.recommendation
    logger.info(
        "evaluate   %s, every %stime step, %s, %.0f s",
        counted(len(record.episodes), "episode"),
        "" if record.stride == 1 else f"{record.stride}th ",
        counted(len(record.checkpoints), "checkpoint"),
        record.seconds,
    )
    for one in record.baselines:
        logger.info("baseline   %s: error %.3f", one.name, one.errors.mae_in_std.mean)
    logger.info("recommend  %s, %s: %s", advice.checkpoint, advice.mode, advice.reason)
    logger.info("verdict    %s: %s", verdict.answer, verdict.reasons[0].text)
    if verdict.answer != "yes" and verdict.reasons[0].next_step:
        logger.info("next       %s", verdict.reasons[0].next_step)
