"""The notebook of the whole path: its cells run in order, on a CPU, with small settings."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.backbone import backbone_file
from tests.support.commands import command_environment
from tests.support.jobs import Job
from tests.support.paths import ROOT, SMALL

NOTEBOOK = ROOT / "examples/whole_path.ipynb"
_COMMAND = re.compile(r"^!lerobot-to-act (.*)$", re.MULTILINE)


def cells() -> dict[str, str]:
    """The code of each cell, by its id."""
    found = json.loads(NOTEBOOK.read_text())
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    return {cell["id"]: "".join(cell["source"]) for cell in code}


def small(output: Path) -> dict[str, str]:
    """What stands in the settings, for a CPU and seconds."""
    tiny = "--num_epochs 1 --batch_size 2 --chunk_size 10 --hidden_dim 32 --dim_feedforward 32"
    return {
        "DATASET": str(SMALL / "v30_h264"),
        "DATA": "--sim true --state_dim 0 --camera_keys observation.images.front",
        "TRAINING": f"{tiny} --device cpu --backbone_weights {backbone_file()}",
        "OUTPUT": str(output),
        "RUN": f"{output}/checkpoints/cube",
    }


@pytest.mark.slow
def test_the_cells_run_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    code = cells()
    exec(code.pop("settings"), names)
    assert set(small(tmp_path)) <= set(names)
    names |= small(tmp_path / "output")
    assert code.pop("install") == '%pip install -q "..[hub,export]"'  # it is
    for cell, text in code.items():
        for command in _COMMAND.findall(text):
            words = ["entrypoint.py", *shlex.split(command.format(**names))]
            job = Job(words, command_environment(), subprocess.PIPE, subprocess.PIPE)
            out, err = job.communicate(timeout=300)
            assert job.wait() == 0, f"{cell}: {out}{err}"
        exec(_COMMAND.sub("", text), names)
    said = capsys.readouterr().out
    assert said.startswith(("no\n", "unknown\n", "yes\n"))
    assert "(7,) once every 0.0333" in said
    assert list((tmp_path / "output/checkpoints/cube").glob("export/*/policy.onnx"))
