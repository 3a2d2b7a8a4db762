"""What this machine lets the job use: cores and memory."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cpu_count() -> int:
    """Cores that this process may use: its affinity and the container's quota."""
    cores = len(os.sched_getaffinity(0))
    quota = _read_words(_CGROUP / "cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def memory_bytes() -> int:
    """Memory that this process may use: the container's limit counts, not the host's."""
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [_CGROUP / "memory.max", _CGROUP / "memory/memory.limit_in_bytes"]
    words = [word for path in limits for word in _read_words(path) if word.isdigit()]
    return min([host, *map(int, words)])


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
