"""`load_policy`: from a run, a checkpoint or what upstream wrote to a policy for a robot."""

import logging
import os
from pathlib import Path
from typing import Literal

from act.load.backend import Backend
from act.load.limits import OFF, Limits
from act.load.loaded_policy import ExecutionOptions, LoadedPolicy
from act.load.onnx_backend import OnnxBackend, find_onnx
from act.load.source import DEFAULT_OUTPUT, Source, check_path, find_source
from act.processes.flags import MachineFlags
from job.errors import UsageError
from job.sections.contract import Contract

logger = logging.getLogger("act")


class ComputeOptions(MachineFlags):
    """Device, precision and compilation, as arguments in place of flags."""

    @classmethod
    def option(cls, name: str) -> str:
        """An argument's name, for errors."""
        return name


def load_policy(  # noqa: PLR0913  what a robot may want otherwise
    source: str | os.PathLike[str],
    *,
    checkpoint: str | None = None,
    output: str | os.PathLike[str] = DEFAULT_OUTPUT,
    device: str = "auto",
    precision: str = "auto",
    compile: str = "auto",
    mode: Literal["open_loop", "temporal_ensembling"] | None = None,
    horizon: int | None = None,
    ensembling_weight: float | None = None,
    align_first_action: bool = False,
    limits: Limits | None = OFF,
    allow_cut: bool = False,
) -> LoadedPolicy:
    """Load a trained policy, ready for a robot.

    source: a run's folder, a .ckpt in it, a run's name (a word without `/`), or a folder of
        upstream's for which `lerobot-to-act contract` has made a policy.json; or a folder that
        `export --format onnx` wrote, which onnxruntime computes on the CPU
    checkpoint: best, last, epoch_1200, average; by default the one that the contract names
    output: the folder below which runs are looked for by name
    device: auto, cuda or cpu; precision: auto, fp32, tf32 or bf16; compile: auto (off), on or off
    mode: how `step` executes chunks, open_loop or temporal_ensembling; by default this, `horizon`
        (actions of a chunk that are executed) and `ensembling_weight` are the contract's
    align_first_action: drop the first action of each chunk where training predicted from the time
        step before the observation (sim false); upstream executes it
    limits: what an action and an observation may be; nothing is limited by default, or by None
    allow_cut: load a policy that was trained without some dims of the dataset: those the robot
        must be told by somebody else
    Raises UsageError in one line, with its code.
    """
    limits = OFF if limits is None else limits
    if not isinstance(limits, Limits):
        raise UsageError(
            f"limits is a {type(limits).__name__}, expected act.Limits(…), or None",
            code="flag-value",
        )
    check_path("source", source)
    check_path("output", output)
    executed = ExecutionOptions(
        mode=mode,
        horizon=horizon,
        ensembling_weight=ensembling_weight,
        align_first_action=align_first_action,
    )
    computing = ComputeOptions(device=device, precision=precision, compile=compile)
    if onnx := find_onnx(source):
        contract, backend = _open_onnx(onnx, checkpoint, computing, allow_cut)
    else:
        contract, backend = _open(
            find_source(source, checkpoint, Path(output)), computing, allow_cut
        )
    loaded = LoadedPolicy(contract, backend, executed=executed, limits=limits)
    if limits.low_pass_hz is not None:  # it acts at every tick
        logger.info("limit: actions pass a low-pass of %g Hz", limits.low_pass_hz)
    return loaded


def _open(source: Source, computing: ComputeOptions, allow_cut: bool) -> tuple[Contract, Backend]:
    if not allow_cut:
        _refuse_cut(source.contract)
    # torch takes seconds to import, which a wrong source or option does not wait for
    from act.load.torch_backend import TorchBackend

    return source.contract, TorchBackend(source, computing)


def _open_onnx(
    file: Path, checkpoint: str | None, computing: ComputeOptions, allow_cut: bool
) -> tuple[Contract, Backend]:
    """Refuses what an ONNX file cannot obey: it is of one checkpoint, and runs on the CPU."""
    asked = {"checkpoint": checkpoint, "device": computing.device}
    asked |= {"precision": computing.precision, "compile": computing.compile}
    unused = [name for name, value in asked.items() if value not in (None, "auto", "cpu", "off")]
    if unused:
        raise UsageError(
            f"{unused[0]}={asked[unused[0]]!r} cannot apply to an ONNX file; leave it out",
            code="flag-unused",
        )
    backend = OnnxBackend(file)
    if not allow_cut:
        _refuse_cut(backend.contract)
    return backend.contract, backend


def _refuse_cut(contract: Contract) -> None:
    vectors = {"state": contract.state, "env_state": contract.env_state, "action": contract.action}
    for what, vector in vectors.items():
        if vector is not None and vector.cut:
            raise UsageError(
                f"policy.json: the policy has no {', '.join(vector.cut)}, dims of the dataset's "
                f"{what} that were cut away (--state_dim), expected all; give allow_cut=True if "
                f"the robot does without them",
                code="policy-dims-cut",
            )
