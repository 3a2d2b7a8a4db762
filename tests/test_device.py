"""A GPU that cannot be used is one sentence."""

import os
from pathlib import Path

import pytest
import torch

from act.processes.device import check_architecture, choose_device
from job.errors import UsageError
from job.machine import cpu_count, free_memory_bytes, memory_bytes

BUILT_FOR = ["sm_75", "sm_80", "sm_90", "sm_100", "compute_120"]


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (10, 3)])
def test_same_major_and_no_newer_minor_runs(capability: tuple[int, int]) -> None:
    check_architecture(capability, BUILT_FOR)


@pytest.mark.parametrize("capability", [(6, 1), (7, 0), (11, 0)])
def test_an_architecture_that_torch_was_not_built_for(capability: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"compute capability .* built for sm_75, .*--device cpu"):
        check_architecture(capability, BUILT_FOR)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_where_there_is_none() -> None:
    with pytest.raises(UsageError, match="no GPU that this torch"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": "{limit}", "memory.current": "{used}", "memory.stat": "{stat}",
         "cpu.max": "100000 100000"},
        {"memory/memory.limit_in_bytes": "{limit}", "memory/memory.usage_in_bytes": "{used}",
         "memory/memory.stat": "{stat}", "cpu/cpu.cfs_quota_us": "100000",
         "cpu/cpu.cfs_period_us": "100000"},
    ],
)  # fmt: skip
def test_the_containers_limits_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    """Files as the kernel shows them in a container: cgroup v2 and v1."""
    monkeypatch.setattr("job.machine._CGROUP", tmp_path)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        stat = f"anon 1\ninactive_file {30 << 20}\nactive_file 5"
        text = content.format(limit=300 << 20, used=250 << 20, stat=stat)
        (tmp_path / name).write_text(f"{text}\n")
    assert memory_bytes() == 300 << 20
    assert free_memory_bytes() == 80 << 20
    assert cpu_count() == 1


@pytest.mark.parametrize("quota", ["cpu.max", "cpu/cpu.cfs_quota_us"])
def test_no_quota_is_every_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str
) -> None:
    monkeypatch.setattr("job.machine._CGROUP", tmp_path)
    (tmp_path / "cpu").mkdir()
    (tmp_path / quota).write_text("max 100000\n" if quota == "cpu.max" else "-1\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cpu_count() == len(os.sched_getaffinity(0))


def test_machine_is_within_the_hosts() -> None:
    assert 1 <= cpu_count() <= 4096
    assert 1 << 28 <= memory_bytes() <= 1 << 45
