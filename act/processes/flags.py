"""The flags that say what computes a training: devices, processes, precision, compilation."""

from dataclasses import dataclass

from job.bounds import at_least
from job.flags import Flags, flag


@dataclass(frozen=True, kw_only=True)
class ComputeFlags(Flags):
    """What computes, be it a training or a trained policy."""

    title = "machine"

    device: str = flag(
        "Device that computes; auto = the GPU, if there is one.",
        "auto",
        choices=("auto", "cuda", "cpu"),
        same_run=True,
    )
    precision: str = flag(
        "Precision of matrix products; auto = tf32 on a GPU.",
        "auto",
        choices=("auto", "fp32", "tf32", "bf16"),
    )
    compile: str = flag(
        "Whether torch.compile compiles the network; auto = off.",
        "auto",
        choices=("auto", "on", "off"),
    )


@dataclass(frozen=True, kw_only=True)
class MachineFlags(ComputeFlags):
    """What computes a training."""

    title = "machine"

    processes: int = flag(
        "Number of processes on this machine; 0 = one for each GPU.",
        0,
        check=at_least(0),
        same_run=True,
    )
    dist_timeout_s: int = flag(
        "Seconds for which processes wait for each other.", 600, check=at_least(1), same_run=True
    )
    accumulate: int = flag(
        "Number of gradient-accumulation steps for each batch, for less memory.",
        1,
        check=at_least(1),
    )
