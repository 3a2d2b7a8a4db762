"""The limits of cgroups, in files as the kernel shows them and in those of this machine."""

import os
from pathlib import Path

import pytest

from job.cgroups import Cgroups
from job.machine import cpu_count, free_memory_bytes, memory_bytes

MIB = 1 << 20


def write_group(
    mount: Path, version: int, group: str, limit: int | None, used: int, cores: int | None
) -> None:
    """The files of a group; None is no limit."""
    if version == 2:
        folders = dict.fromkeys(("cpu", "memory"), mount / group)
        quota = {"cpu.max": f"{cores * 100000 if cores else 'max'} 100000"}
        memory = {"memory.max": limit or "max", "memory.current": used}
        memory["memory.stat"] = f"anon 1\ninactive_file {30 * MIB}\nactive_file 5"
    else:
        folders = {name: mount / name / group for name in ("cpu", "memory")}
        quota = {"cpu.cfs_quota_us": str(cores * 100000 if cores else -1)}
        quota["cpu.cfs_period_us"] = "100000"
        memory = {"memory.limit_in_bytes": limit or 2**63 - 4096, "memory.usage_in_bytes": used}
        memory["memory.stat"] = f"inactive_file 7\ntotal_inactive_file {30 * MIB}"
    for name in ("cpu", "memory"):
        folders[name].mkdir(parents=True, exist_ok=True)
    for file, text in quota.items():
        (folders["cpu"] / file).write_text(f"{text}\n")
    for file, count in memory.items():
        (folders["memory"] / file).write_text(f"{count}\n")


def cgroups_of(tmp_path: Path, path: str) -> Cgroups:
    """Groups below tmp_path, of a process that is in `path` of each controller."""
    membership = tmp_path / "membership"
    membership.write_text(f"5:cpu,cpuacct:{path}\n4:memory:{path}\n1:name=systemd:/x\n0::{path}\n")
    return Cgroups(tmp_path, membership)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tightest", ["", "slurm", "slurm/job_7", "slurm/job_7/step_0"])
def test_the_tightest_level_counts(tmp_path: Path, version: int, tightest: str) -> None:
    """As Slurm has them, and as a container has them at its root."""
    for group in ("", "slurm", "slurm/job_7", "slurm/job_7/step_0"):
        is_it = group == tightest
        write_group(
            tmp_path, version, group, (300 if is_it else 900) * MIB, 250 * MIB, 1 if is_it else None
        )
    write_group(tmp_path, version, "slurm/job_8", 100 * MIB, 99 * MIB, 1)  # of somebody else
    cgroups = cgroups_of(tmp_path, "/slurm/job_7/step_0")
    assert memory_bytes(cgroups) == 300 * MIB
    assert free_memory_bytes(cgroups) == 80 * MIB
    assert cpu_count(cgroups) == 1


@pytest.mark.parametrize("path", ["/docker/0123", "/../../system.slice"])
def test_groups_of_the_host_are_not_to_be_seen(tmp_path: Path, path: str) -> None:
    """In a container without a cgroup namespace; the limits are at its root."""
    (tmp_path / "mount").mkdir()
    write_group(tmp_path / "mount", 2, "", 300 * MIB, 250 * MIB, 1)
    write_group(tmp_path, 2, "system.slice", 100 * MIB, 99 * MIB, 1)
    cgroups = Cgroups(tmp_path / "mount", cgroups_of(tmp_path, path).membership)
    assert memory_bytes(cgroups) == 300 * MIB


@pytest.mark.parametrize("version", [1, 2])
def test_no_limit_is_the_whole_machine(tmp_path: Path, version: int) -> None:
    nothing = Cgroups(tmp_path / "none", tmp_path / "none")
    write_group(tmp_path, version, "user", None, 250 * MIB, None)
    cgroups = cgroups_of(tmp_path, "/user")
    assert cpu_count(cgroups) == cpu_count(nothing) == len(os.sched_getaffinity(0))
    assert memory_bytes(cgroups) == memory_bytes(nothing)
    assert abs(free_memory_bytes(cgroups) - free_memory_bytes(nothing)) < memory_bytes(nothing) / 2


def test_this_machine_is_within_the_hosts() -> None:
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)
    assert 1 << 28 <= memory_bytes() <= 1 << 45
    assert 0 < free_memory_bytes() < memory_bytes()


def test_a_group_of_its_own_on_this_machine(tmp_path: Path) -> None:
    """Real files: a group below the one that this process is in, or at the root."""
    own = next(
        (
            line.split(":", 2)[2]
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if "memory" in line.split(":")[1].split(",")
        ),
        None,
    )
    folder = Path(f"/sys/fs/cgroup/memory/{own}/act_test_{os.getpid()}")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("needs root and cgroup v1's memory controller")
    try:
        (folder / "memory.limit_in_bytes").write_text(str(300 * MIB))
        membership = tmp_path / "membership"
        membership.write_text(f"4:memory:{own}/{folder.name}\n")
        cgroups = Cgroups(membership=membership)
        assert memory_bytes(cgroups) == 300 * MIB
        assert 200 * MIB < free_memory_bytes(cgroups) <= 300 * MIB
    finally:
        folder.rmdir()
