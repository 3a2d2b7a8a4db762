"""What was read right is read the same: every array of each episode that tests/data converts to.

That it is right is proven in tests/test_convert.py, by lerobot's own reading; here each byte is
compared with what it was when tests/data/digests.json was written.
"""

import json
import shutil
from pathlib import Path

import pytest

from convert.check.dataset import check
from tests.support.broken import files_of_a_mac
from tests.support.digests import DATASETS, FILE, digests_of
from tests.support.paths import SMALL

KNOWN = json.loads(FILE.read_text())


def test_every_dataset_has_its_digests() -> None:
    assert sorted(KNOWN) == sorted(root.name for root in DATASETS)
    assert all(KNOWN.values())


@pytest.mark.parametrize("root", DATASETS, ids=lambda root: root.name)
def test_the_conversion_is_what_it_was(root: Path) -> None:
    assert digests_of(root) == KNOWN[root.name]


@pytest.mark.parametrize("name", ["v21_h264", "v30_multifile"])
def test_hidden_files_beside_every_file_change_nothing(tmp_path: Path, name: str) -> None:
    root = Path(shutil.copytree(SMALL / name, tmp_path / "dataset"))
    files_of_a_mac(root)
    assert [finding.code for finding in check(root).findings].count("hidden-files") == 1
    assert digests_of(root) == KNOWN[name]
