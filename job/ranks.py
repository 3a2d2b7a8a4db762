"""Which process of a run this is, and whether the run needs several; imports no torch."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import MutableMapping
from pathlib import Path

from job.errors import Interrupted

# What act/processes/torchrun.py gives its processes in their environment:
EXIT_FOLDER = "ACT_EXIT_FOLDER"  # where each leaves its exit code
ATTEMPT = "ACT_ATTEMPT"  # the name of this start of the job


def in_group() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """The number of this process among all; 0 writes the files and the log."""
    return int(os.environ["RANK"]) if in_group() else 0


def attempt() -> str:
    """A random name of this start of the job, which its launcher gives all of its processes."""
    return os.environ.get(ATTEMPT) or uuid.uuid4().hex


def local_rank() -> int:
    """The number of this process on its machine."""
    return int(os.environ["LOCAL_RANK"]) if in_group() else 0


def on_several_machines() -> bool:
    """Whether torchrun's own variables name more than this machine."""
    return os.environ.get("PET_NNODES", "1") not in ("1", "1:1")


def take_over_from_scheduler(environ: MutableMapping[str, str]) -> None:
    """Give torchrun what AWS Batch gives a multi-node job, unless it is set."""
    nodes = environ.get("AWS_BATCH_JOB_NUM_NODES", "1")
    if "PET_NNODES" in environ or nodes == "1":
        return
    environ["PET_NNODES"] = nodes
    environ["PET_NODE_RANK"] = environ["AWS_BATCH_JOB_NODE_INDEX"]
    # the main node is not given its own address
    address = environ.get("AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS", "localhost")
    environ.setdefault("PET_MASTER_ADDR", address)
    environ.setdefault("PET_MASTER_PORT", "29500")


def processes_to_start(asked: int, device: str) -> int:
    """How many processes this machine's share of the run has; 0 = this one does it alone.

    asked, device: `--processes` and `--device`
    """
    if in_group():
        return 0
    take_over_from_scheduler(os.environ)
    count = asked or _gpu_count(device)
    return count if count > 1 or on_several_machines() else 0


def _gpu_count(device: str) -> int:
    if device == "cpu" or len(list(Path("/dev").glob("nvidia[0-9]*"))) < 2:
        return 1
    # in a process of its own: torch takes seconds and memory, which this one has no other use for
    ask = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    found = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    return max(1, int(found)) if found.isdecimal() else 1


def leave_interrupted() -> None:
    """Tell the launcher that this process was ended by a signal."""
    leave_exit_code(Interrupted.exit_code)


def leave_exit_code(code: int) -> int:
    """Tell the launcher, if there is one, how this process ends; returns `code`."""
    folder = os.environ.get(EXIT_FOLDER)
    if folder and in_group():
        with contextlib.suppress(OSError):  # it may be gone, killed
            (Path(folder) / str(local_rank())).write_text(str(code))
    return code
