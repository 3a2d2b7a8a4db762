"""A policy's losses as one module: in a precision, compiled or not, on one or more processes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from act.batches.batch import Samples
from act.policies.policy import Policy
from act.processes.flags import MachineFlags
from act.processes.group import Group
from act.processes.precision import resolved_precision


class Computation(nn.Module):
    """A policy's losses, as one module that can be compiled and spread over processes."""

    def __init__(self, policy: Policy, device: torch.device, flags: MachineFlags) -> None:
        super().__init__()
        self.policy = policy
        self._device_type = device.type
        self._autocast = resolved_precision(flags, device) == "bf16"

    def forward(self, batch: Samples) -> dict[str, Tensor]:
        """What the samples add to the losses of their step."""
        with torch.autocast(self._device_type, torch.bfloat16, enabled=self._autocast):
            return self.policy.losses(batch)


def computation(
    flags: MachineFlags, policy: Policy, device: torch.device, group: Group
) -> nn.Module:
    """The policy's losses, computed as the flags say; the policy's own weights are used."""
    precision = resolved_precision(flags, device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
    module: nn.Module = Computation(policy, device, flags)
    if flags.compile == "on":
        # CUDA graphs take the launches away, which are what ACT waits for; they do not go with
        # DistributedDataParallel's hooks, nor with gradients that wait for another part
        graphs = device.type == "cuda" and group.size == 1 and flags.accumulate == 1
        # the sizes of batches are few: each has code of its own, as graphs must
        module.compile(mode="reduce-overhead" if graphs else None, dynamic=False)
    if group.size > 1:
        module = DistributedDataParallel(
            module,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,  # they are the same everywhere
            gradient_as_bucket_view=True,
        )
    return module


def resolved_flags(flags: MachineFlags, device: torch.device) -> dict[str, Any]:
    """What was decided where the flags say `auto`."""
    return {
        "precision": resolved_precision(flags, device),
        "compile": "on" if flags.compile == "on" else "off",
    }
