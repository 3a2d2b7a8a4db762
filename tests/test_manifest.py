"""The end of a job, as the manifest has it."""

import json
from pathlib import Path

import pytest

from job.errors import OutputError
from job.manifest import Manifest
from tests.support.commands import make_config


def test_what_is_left_for_the_end_may_fail_and_the_manifest_says_so(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    manifest = Manifest(path, make_config(tmp_path).resolved())
    seen = []

    def remove() -> None:
        seen.append(json.loads(path.read_text())["status"])
        raise OutputError("state.ckpt: cannot be removed", code="output-unwritable")

    manifest.afterwards(remove)
    with pytest.raises(OutputError) as raised:
        manifest.complete()
    assert seen == ["completed"]  # a kill here leaves a run that is done
    manifest.fail(raised.value)
    found = json.loads(path.read_text())
    assert (found["status"], found["exit_code"]) == ("failed", 4)
    assert found["reason"] == "state.ckpt: cannot be removed"
