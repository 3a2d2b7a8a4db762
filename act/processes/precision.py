"""In which precision the network is computed."""

import logging

import torch

from act.processes.flags import MachineFlags
from job.errors import UsageError
from job.machine import multiplies_bf16, processor_name

logger = logging.getLogger("act")


def resolved_precision(flags: MachineFlags, device: torch.device) -> str:
    """What `--precision auto` is: TF32 on a GPU; a CPU knows none."""
    if flags.precision == "tf32" and device.type != "cuda":
        raise UsageError(
            f"--precision tf32 cannot apply: the device is {device}, which has none; choose fp32, "
            f"bf16 or auto",
            code="precision-unsupported",
        )
    if flags.precision == "auto":
        return "tf32" if device.type == "cuda" else "fp32"
    return flags.precision


def warn_if_emulated(precision: str, device: torch.device) -> None:
    """Warn of bf16 on a CPU that has no instructions for it."""
    if precision == "bf16" and device.type == "cpu" and not multiplies_bf16():
        logger.warning(
            "--precision bf16 is 5 to 7 times slower than fp32 on this CPU (%s), which has no "
            "instructions for bf16 (found neither avx512_bf16 nor amx_bf16); use --precision fp32",
            processor_name(),
        )


def precision_reason(flags: MachineFlags, device: torch.device) -> str:
    """The precision of matrix products and why; raises UsageError for tf32 on a CPU."""
    precision = resolved_precision(flags, device)
    if flags.precision != "auto":
        return f"{precision}, as asked for"
    if device.type == "cuda":
        return f"{precision}: auto on a GPU"
    if multiplies_bf16():
        return (
            f"{precision}, as in upstream; this processor has instructions for bf16, with "
            f"which --precision bf16 is faster"
        )
    return f"{precision}, as in upstream; this processor has no instructions for bf16"
