"""How the network is computed: in which precision, compiled or not, on how many processes."""

import logging
import os
import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from act.batches.loader import Batch
from act.policies.policy import Policy
from act.processes.group import Group
from job.config import Config
from job.errors import UsageError

logger = logging.getLogger("act")


class Computation(nn.Module):
    """A policy's losses, as one module that can be compiled and spread over processes."""

    def __init__(self, policy: Policy, device: torch.device, autocast: bool) -> None:
        super().__init__()
        self.policy = policy
        self._device_type = device.type
        self._autocast = autocast

    def forward(self, *inputs: Tensor | None) -> dict[str, Tensor]:
        """The inputs of `Policy.losses`, in its order."""
        with torch.autocast(self._device_type, torch.bfloat16, enabled=self._autocast):
            return self.policy.losses(*inputs)  # type: ignore[arg-type]


def computation(config: Config, policy: Policy, device: torch.device, group: Group) -> nn.Module:
    """The policy's losses, computed as the flags say; the policy's own weights are used."""
    precision = resolved_precision(config, device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
    module: nn.Module = Computation(policy, device, precision == "bf16")
    if config.compile == "on":
        # CUDA graphs take the launches away, which are what ACT waits for; they do not go with
        # DistributedDataParallel's hooks, nor with gradients that wait for another part
        graphs = device.type == "cuda" and group.size == 1 and config.accumulate == 1
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


def losses(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """What a batch adds to the losses of its step."""
    return module(
        batch.qpos, batch.image, batch.action, batch.is_pad, batch.eps, batch.share, batch.augment
    )


def resolved_precision(config: Config, device: torch.device) -> str:
    """What `--precision auto` is: TF32 on a GPU; a CPU knows none."""
    if config.precision == "tf32" and device.type != "cuda":
        raise UsageError(
            f"--precision tf32 cannot apply: training is on {device}, which has none; choose fp32, "
            f"bf16 or auto"
        )
    if config.precision == "auto":
        return "tf32" if device.type == "cuda" else "fp32"
    return config.precision


def check_compiler(config: Config, device: torch.device) -> None:
    """Refuse `--compile on` where torch.compile has nothing to work with."""
    if config.compile != "on":
        return
    if not any(map(shutil.which, ("g++", "clang++", "c++", "gcc"))):
        raise UsageError(
            "--compile on: found no C++ compiler, which torch.compile needs; install g++, or leave "
            "--compile auto"
        )
    headers = Path(sysconfig.get_path("include"))
    if device.type == "cuda" and not (headers / "Python.h").exists():
        raise UsageError(
            f"--compile on: found no Python.h in {headers}, which Triton needs; install Python's "
            f"headers (python3-dev), or leave --compile auto"
        )
    folder = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir()))
    while not folder.exists():
        folder = folder.parent
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise UsageError(
            f"--compile on: {folder} is mounted noexec, and torch.compile loads from there what it "
            f"has compiled; mount it with exec (docker run --tmpfs {folder}:exec), or leave "
            f"--compile auto"
        )


def describe(config: Config, device: torch.device) -> dict[str, Any]:
    """What was decided in place of `auto`."""
    return {
        "precision": resolved_precision(config, device),
        "compile": "on" if config.compile == "on" else "off",
    }
