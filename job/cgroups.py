"""What the control groups (cgroups) of this process allow, versions 1 and 2.

A scheduler may set limits at the group of the process, a container at one above it: each level up
to the root counts, and the tightest is the limit. Where a container has no cgroup namespace, the
kernel names groups of the host, which are not to be seen there; the root is the container's then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cgroups:
    """The groups that a process is in.

    mount: where the groups are; version 1 has a folder for each controller
    membership: the file in which the kernel names the groups of the process
    """

    mount: Path = Path("/sys/fs/cgroup")
    membership: Path = Path("/proc/self/cgroup")

    def cores(self) -> int | None:
        """Whole cores that the quota allows, at least one; None without a quota."""
        quotas = []
        for folder in self._levels("cpu"):
            words = read_words(folder / "cpu.max") or [
                *read_words(folder / "cpu.cfs_quota_us"),
                *read_words(folder / "cpu.cfs_period_us"),
            ]
            if len(words) == 2 and words[0] not in ("max", "-1"):
                quotas.append(max(1, int(words[0]) // int(words[1])))
        return min(quotas, default=None)

    def memory_bytes(self) -> int | None:
        """Memory that the limits allow; None without a limit."""
        limits = (_memory_limit(folder) for folder in self._levels("memory"))
        return min((limit for limit in limits if limit is not None), default=None)

    def free_memory_bytes(self) -> int | None:
        """Memory that is left of the limits, the page cache aside; None without a limit."""
        left = (_memory_left(folder) for folder in self._levels("memory"))
        return min((free for free in left if free is not None), default=None)

    def _levels(self, controller: str) -> Iterator[Path]:
        """Folders of the group that has this controller and of those above it, to the root."""
        for top, group in self._groups(controller):
            yield top / group
            yield from (top / above for above in group.parents)

    def _groups(self, controller: str) -> Iterator[tuple[Path, Path]]:
        """Where a version of the controller is mounted, and the process's group from there."""
        paths = {"": "/", controller: "/"}  # by controller, "" is version 2
        for line in read_words(self.membership, "\n"):
            _, controllers, path = line.split(":", 2)
            paths |= {name: path for name in controllers.split(",") if name in paths}
        for name, path in paths.items():
            group = Path(path.lstrip("/"))
            yield self.mount / name, Path() if ".." in group.parts else group  # outside the mount


def _memory_limit(folder: Path) -> int | None:
    words = read_words(folder / "memory.max") or read_words(folder / "memory.limit_in_bytes")
    return int(words[0]) if words and words[0].isdigit() else None


def _memory_left(folder: Path) -> int | None:
    limit = _memory_limit(folder)
    used = read_words(folder / "memory.current") or read_words(folder / "memory.usage_in_bytes")
    if limit is None or not used:
        return None
    lines = (line.split() for line in read_words(folder / "memory.stat", "\n"))
    stat = {name: int(count) for name, count in lines}
    # version 1 counts the groups below under another name
    cache = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    return limit - int(used[0]) + cache


def read_words(path: Path, separator: str | None = None) -> list[str]:
    """The words of a file, or what stands between separators; none where it cannot be read."""
    try:
        return path.read_text().strip().split(separator)
    except OSError:
        return []
