"""The end of a job, as the manifest has it; manifests of older versions."""

import json
from pathlib import Path

import pytest

from job.command import run_recorded
from job.errors import AlreadyDone, OutputError
from job.manifest import Manifest
from tests.support.commands import make_config
from tests.support.errors import raises_code
from tests.support.paths import DATA

OF_VERSION_1_0 = (DATA / "manifest_1_0.json").read_bytes()  # as its schema demanded


def test_what_is_left_for_the_end_may_fail_and_the_manifest_says_so(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    manifest = Manifest(path, make_config(tmp_path).resolved())
    seen = []

    def remove() -> None:
        seen.append(json.loads(path.read_text())["status"])
        raise OutputError("state.ckpt: cannot be removed", code="output-unwritable")

    manifest.afterwards(remove)
    with raises_code(OutputError, "output-unwritable") as raised:
        manifest.complete()
    assert seen == ["completed"]  # a kill here leaves a run that is done
    manifest.fail(raised.value)
    found = json.loads(path.read_text())
    assert (found["status"], found["exit_code"]) == ("failed", 4)
    assert (found["code"], found["reason"]) == ("output-unwritable", str(raised.value))


@pytest.mark.parametrize(("content", "code"), [(OF_VERSION_1_0, 0), (b'{"a": "1.0"}', 2)])
def test_a_manifest_of_version_1_0_is_that_of_an_earlier_job(
    tmp_path: Path, content: bytes, code: int
) -> None:
    """It stays as it is, as anything else in its place does, which is an error besides."""
    path = tmp_path / "manifest.json"
    path.write_bytes(content)

    def finished(_: Manifest) -> None:
        raise AlreadyDone("the run is there", code="already-done")

    assert run_recorded(Manifest(path, {}), finished) == code
    assert path.read_bytes() == content
