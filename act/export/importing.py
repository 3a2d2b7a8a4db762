"""`import`: a LeRobot ACT folder becomes the folder of a run."""

import logging
import shutil
from pathlib import Path

import torch

from act.export.flags import ImportFlags
from act.export.lerobot_import import Imported, read_lerobot
from act.export.lerobot_run import run_lerobot
from act.export.observations import random_observations
from act.export.parity import compared, reference_actions
from act.load.loading import ComputeOptions
from act.load.source import Source
from act.load.torch_backend import TorchBackend
from act.policies.contract_file import ContractFile
from act.policies.statistics import save_stats
from act.policies.upstream_contract import BEST, STATS
from act.policies.weights import save_weights
from episodes.arrays import FloatArray
from job import file_system
from job.errors import UsageError
from job.lock import only_job
from job.output_names import CHECKPOINTS, CONTRACT
from job.sections.contract import Contract
from job.whole_files import RECORD, output_errors, recorded_sha256

logger = logging.getLogger("act")

_OBSERVATIONS = 100
_SCRATCH = ".import.partial"  # in the run's folder, until the policy is whole
_FILES = (RECORD, STATS, "dataset_stats.json", BEST)  # and the contract, which comes last


def import_lerobot(flags: ImportFlags, folder: Path) -> Path:
    """Import a `pretrained_model` folder as a run; returns the run's folder.

    Raises UsageError for what cannot be ours, or a run of that name; OutputError for the disk.
    """
    imported = read_lerobot(folder, flags.run_name, flags.fps or None)
    run = flags.output / CHECKPOINTS / flags.run_name
    with output_errors(run):
        run.mkdir(parents=True, exist_ok=True)
    with only_job(run):
        scratch = run / _SCRATCH
        _refuse_foreign(run, flags)
        with output_errors(scratch):
            shutil.rmtree(scratch, ignore_errors=True)  # what a kill has left
            scratch.mkdir()
        try:
            source = write_checkpoint(imported, scratch)
            if flags.lerobot_python is not None:
                _compare(flags.lerobot_python, folder, source)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        _publish(scratch, run)
    logger.info("imported   %s", run)
    contract = imported.contract
    if contract.network.decoder_output == "last":
        logger.warning(
            "%d decoder layers feed the heads, where upstream's network has one: this project "
            "runs the policy, upstream does not",
            contract.network.dec_layers,
        )
    if contract.fps is None:
        logger.warning("the rate of the control ticks is not known; give it with --fps")
    return run


def _refuse_foreign(run: Path, flags: ImportFlags) -> None:
    """Raise UsageError where the folder holds more than an import that was killed has left."""
    left = (run / _SCRATCH / CONTRACT).exists() and not (run / CONTRACT).exists()
    own = _FILES if left else ()
    there = sorted(path.name for path in run.glob("[!.]*") if path.name not in own)
    if there:
        raise UsageError(
            f"{run}: holds {there[0]}, expected an empty folder, as another run's policy would "
            f"be lost; choose another {flags.option('run_name')}",
            code="output-foreign",
        )


def _publish(scratch: Path, run: Path) -> None:
    """Give the files their names, the contract last: until then the folder is no run's."""
    with output_errors(run):
        for name in _FILES:
            (scratch / name).replace(run / name)
        file_system.sync_folder(run)
        (scratch / CONTRACT).replace(run / CONTRACT)
        file_system.sync_folder(run)
        shutil.rmtree(scratch, ignore_errors=True)


def write_checkpoint(imported: Imported, folder: Path) -> Source:
    """Write checkpoint, statistics and contract, each file whole."""
    written = ContractFile(folder, imported.contract)
    save_stats(folder, _statistics(imported.contract))
    save_weights(folder / BEST, imported.weights, written.add)
    digest = recorded_sha256(folder / BEST)
    assert digest is not None, "it has just been written"
    return Source(written.content, folder / BEST, digest)


def _statistics(contract: Contract) -> dict[str, FloatArray]:
    """As training pickles them; upstream also reads an example, for which the mean will do."""
    found = contract.statistics.model_dump()
    stats = {name: torch.tensor(one).numpy() for name, one in found.items() if one is not None}
    return stats | {"example_qpos": stats["qpos_mean"][None]}


def _compare(python: Path, folder: Path, source: Source) -> None:
    contract = source.contract
    observations = random_observations(contract, _OBSERVATIONS)
    cpu = TorchBackend(source, ComputeOptions(device="cpu", precision="fp32", compile="off"))
    ours = reference_actions(contract, observations, cpu, "the imported checkpoint, on the CPU")
    scratch = source.checkpoint.with_name(".lerobot_run.partial")
    theirs, ran_in = run_lerobot(python, folder, contract, observations, scratch)
    parity = compared(contract, ours, theirs, ran_in)
    logger.info(
        "parity     %s: at most %.3g, on average %.3g (dataset's units), %.2g of a dim's "
        "standard deviation; %d observations, %s",
        *(ran_in, parity.largest, parity.mean, parity.largest_in_std, parity.observations),
        parity.source,
    )
