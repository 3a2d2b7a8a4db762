"""The device to train on, or one sentence why it cannot be used."""

import torch

from job.errors import UsageError
from job.machine import cpu_count, memory_bytes, processor_name
from job.ranks import local_rank
from job.sections.training import Device


def choose_device(wanted: str) -> torch.device:
    """The device for `--device`; raises UsageError when it is not there or not usable.

    torchrun gives each process of a machine a number, and it takes that GPU.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = torch.version.cuda or "none"
        raise UsageError(
            f"--device cuda: no GPU that this torch {torch.__version__} (CUDA {built}) can use; "
            f"start the container with --gpus all and a driver for that CUDA, or use --device cpu",
            code="device-missing",
        )
    check_architecture(torch.cuda.get_device_capability(), torch.cuda.get_arch_list())
    if local_rank() >= torch.cuda.device_count():
        raise UsageError(
            f"--processes: found {torch.cuda.device_count()} GPUs, and this process would take "
            f"number {local_rank()}; start at most as many processes as there are GPUs",
            code="device-missing",
        )
    return torch.device("cuda", local_rank())


def check_architecture(capability: tuple[int, int], built_for: list[str]) -> None:
    """Refuse a GPU for which this torch has no code: same major number, minor not above."""
    major, minor = capability
    known = [int(name.removeprefix("sm_")) for name in built_for if name[3:].isdigit()]
    if not any(arch // 10 == major and arch % 10 <= minor for arch in known):
        raise UsageError(
            f"--device cuda: the GPU has compute capability {major}.{minor}, and this torch is "
            f"built for {', '.join(built_for)}; use another GPU, or --device cpu",
            code="device-missing",
        )


def device_section(device: torch.device) -> Device:
    """The device, as the manifest has it."""
    if device.type == "cuda":
        return Device(
            type="cuda",
            name=torch.cuda.get_device_name(device),
            cuda=torch.version.cuda,
            cores=cpu_count(),
            memory_bytes=torch.cuda.get_device_properties(device).total_memory,
        )
    return Device(
        type="cpu",
        name=processor_name(),
        cuda=None,
        cores=cpu_count(),
        memory_bytes=memory_bytes(),
    )
