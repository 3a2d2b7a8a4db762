"""What torch.compile needs of the machine."""

import os
import shutil
import sysconfig
import tempfile
from pathlib import Path

import torch

from act.processes.flags import MachineFlags
from job.errors import UsageError


def check_compiler(flags: MachineFlags, device: torch.device) -> None:
    """Refuse `--compile on` where torch.compile has nothing to work with."""
    if flags.compile != "on":
        return
    if not any(map(shutil.which, ("g++", "clang++", "c++", "gcc"))):
        raise UsageError(
            "--compile on: found no C++ compiler, which torch.compile needs; install g++, or leave "
            "--compile auto",
            code="compilation-unavailable",
        )
    headers = Path(sysconfig.get_path("include"))
    if device.type == "cuda" and not (headers / "Python.h").exists():
        raise UsageError(
            f"--compile on: found no Python.h in {headers}, which Triton needs; install Python's "
            f"headers (python3-dev), or leave --compile auto",
            code="compilation-unavailable",
        )
    folder = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir()))
    while not folder.exists():
        folder = folder.parent
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise UsageError(
            f"--compile on: {folder} is mounted noexec, and torch.compile loads from there what it "
            f"has compiled; mount it with exec (docker run --tmpfs {folder}:exec), or leave "
            f"--compile auto",
            code="compilation-unavailable",
        )
