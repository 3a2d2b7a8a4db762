"""What `--compile on` needs of the machine, said before anything is converted."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch

from act.processes.compilation import check_compiler
from act.processes.precision import precision_reason
from act.training.loop import check_ready
from job.errors import UsageError
from job.machine import multiplies_bf16
from tests.support.commands import make_config
from tests.support.errors import raises_code

CPU = torch.device("cpu")


def test_no_compiler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check_compiler(make_config(tmp_path), CPU)  # nothing is compiled
    with raises_code(UsageError, "compilation-unavailable", r"g\+\+"):
        check_compiler(make_config(tmp_path, compile="on"), CPU)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
def test_a_folder_that_nothing_may_be_loaded_from_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /tmp is under `docker run --read-only --tmpfs /tmp`."""
    (tmp_path / "g++").touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", str(disk)], check=True)
    try:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(disk / "torchinductor"))
        with raises_code(UsageError, "compilation-unavailable", "noexec.*/disk:exec"):
            check_compiler(make_config(tmp_path, compile="on"), CPU)
        subprocess.run(["mount", "-o", "remount,exec", str(disk)], check=True)
        check_compiler(make_config(tmp_path, compile="on"), CPU)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("cpuinfo", "has"),
    [
        ("flags\t\t: fpu sse avx2 avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16 avx512_bf16 amx_tile\n", True),
        ("Features\t: fp asimd i8mm bf16\n", True),
        ("model name\t: AMD EPYC\nflags\t\t: fpu sse avx2\n", False),
        ("", True),  # not Linux: nobody knows
    ],
)
def test_bf16_on_a_cpu_that_emulates_it_is_warned_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cpuinfo: str,
    has: bool,
) -> None:
    monkeypatch.setattr("act.processes.precision.multiplies_bf16", lambda: multiplies_bf16(cpuinfo))
    assert not check_ready(make_config(tmp_path, precision="auto"), tmp_path / "run")
    assert not caplog.records
    assert not check_ready(make_config(tmp_path, precision="bf16"), tmp_path / "run")
    assert ["--precision bf16" in record.message for record in caplog.records] == [True] * (not has)


@pytest.mark.parametrize(
    ("device", "precision", "has", "expected"),
    [
        ("cpu", "auto", True, "fp32, as in upstream; .* --precision bf16 is faster"),
        ("cpu", "auto", False, "fp32, as in upstream; .* no instructions for bf16"),
        ("cpu", "bf16", True, "bf16, as asked for"),
        ("cuda", "auto", True, "tf32: auto on a GPU"),
    ],
)
def test_the_plan_says_why_it_is_that_precision(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    precision: str,
    has: bool,
    expected: str,
) -> None:
    monkeypatch.setattr("act.processes.precision.multiplies_bf16", lambda: has)
    flags = make_config(tmp_path, precision=precision)
    assert re.fullmatch(expected, precision_reason(flags, torch.device(device)))
