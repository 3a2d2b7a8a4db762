"""The warning of an output that goes with the container; .ci/container sees it in the image."""

from pathlib import Path

import pytest

from job.command import IN_IMAGE, run_recorded, warn_unless_mounted
from job.manifest import Manifest
from tests.support.paths import ROOT

ON_ROOT, ON_A_MOUNT = Path("/not_there/output"), Path("/proc/output")


@pytest.mark.parametrize(
    ("image", "output", "is_warned"),
    [("1", ON_ROOT, True), ("1", ON_A_MOUNT, False), ("", ON_ROOT, False)],
)
def test_only_our_image_warns_and_only_of_its_own_file_system(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    image: str,
    output: Path,
    is_warned: bool,
) -> None:
    monkeypatch.setenv(IN_IMAGE, image)
    warn_unless_mounted(output)
    assert [record.message.split(":")[0] for record in caplog.records] == (
        [f"{output} is no mount"] if is_warned else []
    )


def test_the_warning_stands_in_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IN_IMAGE, "1")
    manifest = Manifest(tmp_path / "manifest.json", {})
    assert run_recorded(manifest, lambda manifest: manifest.write()) == 0
    is_on_root = tmp_path.stat().st_dev == Path("/").stat().st_dev
    found = [warning for warning in manifest.content.warnings if "is no mount" in warning]
    assert len(found) == is_on_root


def test_the_image_says_that_it_is_ours() -> None:
    assert f"{IN_IMAGE}=1" in (ROOT / "Dockerfile").read_text()
