"""The command `average RUN`: the mean of several of a run's checkpoints as one more."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from job.bounds import distinct, file_name
from job.errors import UsageError
from job.flags import flag
from job.run_flags import OutputFlags
from job.target_command import TargetCommand

logger = logging.getLogger("act")

_TAKEN = ("best", "last", "average")  # training writes these


def _names(value: tuple[str, ...]) -> str | None:
    return distinct(value) if len(value) > 1 else "two names or more"


def _new_name(value: str) -> str | None:
    if value in _TAKEN or value.startswith("epoch_"):
        return "a name that training does not use"
    return file_name(value)


@dataclass(frozen=True, kw_only=True)
class AverageFlags(OutputFlags):
    """The command `average`."""

    title = "average"

    run: str = ""  # its name, or a path
    checkpoints: tuple[str, ...] = flag(
        "Checkpoints whose mean is taken, each counting alike.", check=_names
    )
    name: str = flag(
        "Name of the mean among the run's checkpoints, policy_<name>.ckpt.", "mean", check=_new_name
    )


AVERAGE = TargetCommand(
    "average",
    AverageFlags,
    "The mean of several of a run's checkpoints, as one more checkpoint of the run.",
    "--checkpoints A,B,… [FLAG VALUE …]",
)


def main(argv: Sequence[str]) -> int:
    """Write the mean beside the checkpoints; returns the exit code."""
    return AVERAGE.run(write_mean, argv)


def write_mean(flags: AverageFlags) -> None:
    """Average the checkpoints' weights, and list the mean in the run's contract; raises JobError.

    Raises UsageError for a checkpoint that is not there, or of another network.
    """
    from act.load.source import find_source, run_path
    from act.load.torch_backend import network_of
    from act.policies.contract_file import ContractFile
    from act.policies.weights import load_weights, mean_of, save_weights
    from job.lock import only_job
    from job.output_names import CONTRACT
    from job.renewed_manifest import renew

    folder = run_path(flags.run, flags.output)
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: is a checkpoint, expected the folder of its run; name the checkpoints with "
            f"--checkpoints",
            code="policy-missing",
        )
    with only_job(folder):
        sources = [find_source(folder, name) for name in flags.checkpoints]
        expected = network_of(sources[0].contract).state_dict()
        weights = []
        for source in sources:
            found = load_weights(source.checkpoint)
            if {n: one.shape for n, one in found.items()} != {
                n: one.shape for n, one in expected.items()
            }:
                raise UsageError(
                    f"{source.checkpoint}: does not fit the network of its contract; expected the "
                    f"weights that its run wrote; copy both from the run's folder again",
                    code="weights-mismatch",
                )
            weights.append(found)
        path = folder / f"policy_{flags.name}.ckpt"
        save_weights(path, mean_of(weights), ContractFile(folder, sources[0].contract).add)
        renew(folder, [path, folder / CONTRACT], folder / CONTRACT)
    logger.info("average    %s: the mean of %s", path, ", ".join(flags.checkpoints))
