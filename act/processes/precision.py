"""In which precision the network is computed."""

import torch

from act.processes.flags import MachineFlags
from job.errors import UsageError


def resolved_precision(config: MachineFlags, device: torch.device) -> str:
    """What `--precision auto` is: TF32 on a GPU; a CPU knows none."""
    if config.precision == "tf32" and device.type != "cuda":
        raise UsageError(
            f"--precision tf32 cannot apply: training is on {device}, which has none; choose fp32, "
            f"bf16 or auto",
            code="precision-unsupported",
        )
    if config.precision == "auto":
        return "tf32" if device.type == "cuda" else "fp32"
    return config.precision
