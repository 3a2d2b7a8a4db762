"""What a run remembers of the episodes that it was given."""

from pathlib import Path

import h5py

from act.policies.contract import dataset_section_of_files
from tests.support.commands import make_config
from tests.support.episodes import write_episodes


def test_a_vector_that_changed_in_place_is_noticed(tmp_path: Path) -> None:
    paths = write_episodes(tmp_path, "raw")
    before = dataset_section_of_files(make_config(tmp_path), paths).fingerprint
    assert dataset_section_of_files(make_config(tmp_path), paths).fingerprint == before
    size = paths[1].stat().st_size
    with h5py.File(paths[1], "r+") as file:
        file["observations/qpos"][2, 1] += 0.1
    assert paths[1].stat().st_size == size
    assert dataset_section_of_files(make_config(tmp_path), paths).fingerprint != before
