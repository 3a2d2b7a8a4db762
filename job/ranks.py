"""Which process of a run this is, and whether the run needs several; imports no torch."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from job.errors import Interrupted
from job.warning import warn

# What act/processes/torchrun.py gives its processes in their environment (ACT_… are flags):
EXIT_FOLDER = "LEROBOT_TO_ACT_EXIT_FOLDER"  # where each leaves its exit code
ATTEMPT = "LEROBOT_TO_ACT_ATTEMPT"  # the name of this start of the job

# What torch.distributed needs to join processes that a training operator or a script started
_NUMBERS, _ADDRESS = ("RANK", "WORLD_SIZE"), ("MASTER_ADDR", "MASTER_PORT")
_BY_OPERATOR = "LEROBOT_TO_ACT_BY_OPERATOR"  # set where they are complete
# What a launcher found wrong with them, of which its processes warn
_LACKING = "LEROBOT_TO_ACT_LACKING"
_LOCAL_RANKS = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK")


def in_group() -> bool:
    """Whether this process is one of several, which torchrun or a training operator started."""
    return by_torchrun() or _BY_OPERATOR in os.environ


def by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def take_over_from_operator(environ: MutableMapping[str, str]) -> None:
    """Make this process one of those that RANK and WORLD_SIZE name, where they are complete.

    torchrun's own variables come first: where there are some, it starts this machine's processes.
    """
    if _are_the_operators(environ) and not _lacking(environ) and environ["WORLD_SIZE"] != "1":
        environ[_BY_OPERATOR] = "1"
        given = (environ.get(name, "") for name in _LOCAL_RANKS)
        local = next((text for text in given if text.isdecimal()), "0")
        environ["LOCAL_RANK"] = local


def warn_of_variables(processes: int, environ: Mapping[str, str] = os.environ) -> None:
    """Warn where an operator's variables are incomplete, or what they leave of `--processes`."""
    lacking = environ.get(_LACKING) or (_are_the_operators(environ) and _lacking(environ))
    if lacking:
        message = (
            f"{lacking}, so the job trains on its own; to train as one of several set "
            f"{', '.join((*_NUMBERS, *_ADDRESS))} on each, or leave them all out"
        )
        warn("process-variables", message)
    elif _are_the_operators(environ) and processes > 1 and _BY_OPERATOR in environ:
        message = (
            f"--processes {processes} does not apply, as RANK and WORLD_SIZE="
            f"{environ['WORLD_SIZE']} name every process; to have each machine start its own, set "
            f"PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT instead"
        )
        warn("process-variables", message)


def hand_on_variables(environ: MutableMapping[str, str]) -> None:
    """Let the processes that this one is to start warn of an operator's incomplete variables."""
    if _are_the_operators(environ) and (lacking := _lacking(environ)):
        environ[_LACKING] = lacking


def _are_the_operators(environ: Mapping[str, str]) -> bool:
    """Whether RANK or WORLD_SIZE is set, and not by torchrun or beside its variables."""
    torchruns = "TORCHELASTIC_RUN_ID" in environ or environ.get("PET_NNODES", "1") != "1"
    return not torchruns and any(name in environ for name in _NUMBERS)


def _lacking(environ: Mapping[str, str]) -> str:
    """What is wrong with an operator's variables; empty where nothing is."""
    found = {name: environ.get(name, "") for name in _NUMBERS}
    shown = ", ".join(f"{name}={text}" for name, text in found.items() if text)
    size = found["WORLD_SIZE"]
    if found == {"RANK": "", "WORLD_SIZE": "1"}:  # one, whoever it is
        return ""
    numbers = all(text.isascii() and text.isdecimal() for text in found.values())
    if not numbers or int(found["RANK"]) >= int(size):
        return f"{shown} is set, expected RANK from 0 and WORLD_SIZE above it"
    missing = [name for name in _ADDRESS if not environ.get(name)]
    if missing and int(size) > 1:
        return f"{shown} is set, but not {' and '.join(missing)}"
    return ""


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
