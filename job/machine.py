"""What this machine lets the job use: cores and memory."""

import contextlib
import ctypes
import os
import platform
import re
import signal
from pathlib import Path

from job.cgroups import Cgroups, read_words

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h
_PR_SET_PDEATHSIG = 1  # prctl.h
_SPINS = "1000"  # turns that a thread of GNU's OpenMP waits for before it sleeps
_OWN_CGROUPS = Cgroups()


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next step, instead of giving it back to the kernel.

    A step on the CPU allocates gigabytes, and each fresh page is a page fault: 6.0 to 6.9 s a step
    became 4.5 s (batch 4, 2 cameras, 480x640, fp32, a virtual machine with 2 cores).
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library has no such thing
        libc = ctypes.CDLL(None)
        for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1)):
            libc.mallopt(option, value)


# In the environment of a job that another process of ours waits for, and ends with.
WITH_PARENT = "LEROBOT_TO_ACT_WITH_PARENT"


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent ends, also when that is killed."""
    with contextlib.suppress(AttributeError, OSError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def kill_before_others(pid: int) -> None:
    """Have the kernel choose this process first when memory runs out."""
    with contextlib.suppress(OSError):  # not Linux, or it has ended
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")  # the most


def resident_bytes(pid: int | None = None) -> int:
    """Memory that a process, by default this one, has in use; 0 where that cannot be read."""
    with contextlib.suppress(OSError):  # not Linux, or it has ended
        pages = int(Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def cpu_count(cgroups: Cgroups = _OWN_CGROUPS) -> int:
    """Cores that this process may use: its affinity and the quota of its cgroups."""
    cores = len(os.sched_getaffinity(0))
    return min(cores, cgroups.cores() or cores)


def local_processes() -> int:
    """How many processes of this run torchrun started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def cores_each(processes: int | None = None) -> int:
    """Cores for each of the processes of this run on this machine, `processes` if not yet there."""
    return max(1, cpu_count() // (processes or local_processes()))


def limit_threads(processes: int | None = None, cgroups: Cgroups = _OWN_CGROUPS) -> None:
    """Have torch use the cores of this process only, and not spin on them while it waits.

    Called before torch is imported: OpenMP reads its variables once. By itself it starts a thread
    for each core of the host where a container has a quota of two, and threads that wait spin,
    which takes the cores from other work and from the thread they wait for. What the user set is
    kept. GNU's OpenMP, which torch brings along, sleeps at once with the passive policy; it is let
    spin for some microseconds before, as a small network's step is a thousand short operations
    (0.20 s in place of 0.25; docs/benchmarks.md has it beside a busy neighbour too).

    processes: how many this one will start for the run, which take its environment over
    """
    threads = min(_physical_cores(), cpu_count(cgroups)) // (processes or local_processes())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def _physical_cores() -> int:
    """Cores of the affinity, two hardware threads of one core counted once, as torch does."""
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    cores = {
        " ".join(read_words(Path(topology.format(cpu)))) or str(cpu)
        for cpu in os.sched_getaffinity(0)
    }
    return len(cores)


def memory_bytes(cgroups: Cgroups = _OWN_CGROUPS) -> int:
    """Memory that this process may use: the limit of its cgroups counts, not only the host's."""
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = cgroups.memory_bytes()
    return host if limit is None else min(host, limit)


def processor_name() -> str:
    """The processor as the kernel names it."""
    found = re.search(r"model name\s*: (.+)", _cpuinfo())
    return found[1] if found else platform.machine()


def multiplies_bf16(cpuinfo: str | None = None) -> bool:
    """Whether the processor has instructions for products of bf16; True where nobody knows.

    cpuinfo: that of the kernel by default, which names them `flags`, or `Features` on ARM
    """
    names = re.search(r"(?:flags|Features)\s*: (.+)", _cpuinfo() if cpuinfo is None else cpuinfo)
    return not names or bool({"avx512_bf16", "amx_bf16", "bf16"} & set(names[1].split()))


def _cpuinfo() -> str:
    with contextlib.suppress(OSError):  # not Linux
        return Path("/proc/cpuinfo").read_text()
    return ""


def free_memory_bytes(cgroups: Cgroups = _OWN_CGROUPS) -> int:
    """Memory that is left: of the machine, and of the limit of its cgroups, page cache aside."""
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    host = int(meminfo["MemAvailable"].split()[0]) << 10
    left = cgroups.free_memory_bytes()
    return host if left is None else min(host, left)
