"""What was read right is read the same: every array of each episode that tests/data converts to.

That it is right is proven in tests/test_convert.py, by lerobot's own reading; here each byte is
compared with what it was when tests/data/digests.json was written.
"""

import json
from pathlib import Path

import pytest

from tests.support.digests import DATASETS, FILE, digests_of

KNOWN = json.loads(FILE.read_text())


def test_every_dataset_has_its_digests() -> None:
    assert sorted(KNOWN) == sorted(root.name for root in DATASETS)
    assert all(KNOWN.values())


@pytest.mark.parametrize("root", DATASETS, ids=lambda root: root.name)
def test_the_conversion_is_what_it_was(root: Path) -> None:
    assert digests_of(root) == KNOWN[root.name]
