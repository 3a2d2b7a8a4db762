"""How frames lie: as data in an episode file, in words for people."""

from pathlib import Path
from typing import Any

import h5py
import pytest

from episodes.orientation import (
    AS_STORED,
    CAMERA_ORIENTATIONS,
    Orientation,
    Turn,
    read_orientations,
    to_attribute,
)

WORDS = {
    "as stored": AS_STORED,
    "mirrored": Orientation(Turn(0, mirrored=True)),
    "rotated by 90 degrees counterclockwise": Orientation(Turn(90)),
    "mirrored and rotated by 270 degrees counterclockwise": Orientation(Turn(270, mirrored=True)),
    "as stored, where players show them rotated by 180 degrees counterclockwise": Orientation(
        shown=Turn(180)
    ),
    "as stored, where players show them mirrored": Orientation(shown=Turn(mirrored=True)),
}


def read(tmp_path: Path, given: Any) -> dict[str, Orientation]:
    """What is read where a file's attribute has that."""
    with h5py.File(tmp_path / "episode_0.hdf5", "w") as file:
        file.attrs["camera_names"] = ["front", "wrist"]
        file.attrs[CAMERA_ORIENTATIONS] = given
        return read_orientations(file)


@pytest.mark.parametrize(("words", "orientation"), WORDS.items())
def test_data_and_the_words_of_earlier_files_are_read(
    tmp_path: Path, words: str, orientation: Orientation
) -> None:
    assert str(orientation) == words
    found = {"front": orientation, "wrist": AS_STORED}
    assert read(tmp_path, to_attribute(found)) == found
    assert read(tmp_path, [words, "as stored"]) == found  # in files of 2026-11-26 and 27


def test_a_slanted_display_of_earlier_files_is_read(tmp_path: Path) -> None:
    words = "as stored, where players show them rotated by 12.5 degrees"
    found = read(tmp_path, [words, "as stored"])
    assert found == {"front": Orientation(shown=Turn(12.5)), "wrist": AS_STORED}
    assert str(found["front"]) == f"{words} counterclockwise"


@pytest.mark.parametrize(
    "given",
    [
        "upright",
        '{"front": "upright"}',
        '{"front": {"applied": {"degrees": 45}}}',
        ["rotated by 45 degrees counterclockwise", "as stored"],
        ["as stored"],
        7,
    ],
)
def test_an_attribute_of_somebody_else_says_nothing(tmp_path: Path, given: Any) -> None:
    assert read(tmp_path, given) == {}
