"""A GPU that cannot be used is one sentence."""

from pathlib import Path

import pytest
import torch

from act.device import check_architecture, choose_device
from act.errors import UsageError
from act.machine import cpu_count, free_memory_bytes, memory_bytes

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
    ("limit", "usage", "stat"),
    [
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ],
)
def test_the_containers_limits_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, usage: str, stat: str
) -> None:
    """Files as the kernel shows them in a container: cgroup v2 and v1."""
    monkeypatch.setattr("act.machine._CGROUP", tmp_path)
    (tmp_path / "memory").mkdir()
    (tmp_path / limit).write_text(f"{300 << 20}\n")
    (tmp_path / usage).write_text(f"{250 << 20}\n")
    (tmp_path / stat).write_text(f"anon 1\ninactive_file {30 << 20}\nactive_file 5\n")
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert memory_bytes() == 300 << 20
    assert free_memory_bytes() == 80 << 20
    assert cpu_count() == 1


def test_machine_is_within_the_hosts() -> None:
    assert 1 <= cpu_count() <= 4096
    assert 1 << 28 <= memory_bytes() <= 1 << 45
