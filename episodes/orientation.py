"""How the frames of a camera lie: what was done to the recorded ones, and what players would do.

Episode files have it as JSON in an attribute, by camera; people read the sentence made from it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import h5py
from pydantic import TypeAdapter, ValidationError

from episodes.attributes import names_in

CAMERA_ORIENTATIONS = "camera_orientations"


@dataclass(frozen=True)
class Turn:
    """What is done to a frame: mirrored first, left to right, then rotated."""

    degrees: float = 0  # counterclockwise
    mirrored: bool = False

    def __str__(self) -> str:
        """In words; empty where nothing is done."""
        rotated = f"rotated by {self.degrees:.3g} degrees counterclockwise" if self.degrees else ""
        return " and ".join(filter(None, ("mirrored" if self.mirrored else "", rotated)))


NO_TURN = Turn()


@dataclass(frozen=True)
class Orientation:
    """How frames lie."""

    applied: Turn = NO_TURN  # to the recorded frames
    shown: Turn = NO_TURN  # by players, to the frames as they are here

    def __str__(self) -> str:
        """In words, as the manifest and the contract with the robot have it."""
        lie = str(self.applied) or "as stored"
        return lie if self.shown == NO_TURN else f"{lie}, where players show them {self.shown}"


AS_STORED = Orientation()

_QUARTERS = (0, 90, 180, 270)  # by which frames can be rotated
_JSON = TypeAdapter(dict[str, Orientation])
# Files of 2026-11-26 and 27 have the sentences, in the order of the cameras.
_TURN = "(mirrored)?(?: and )?(?:rotated by ([0-9.]+) degrees(?: counterclockwise)?)?"
_SENTENCE = re.compile(f"(?:as stored, where players show them )?{_TURN}")


def to_attribute(orientations: Mapping[str, Orientation]) -> str:
    """The attribute's text."""
    return _JSON.dump_json(dict(orientations)).decode()


def read_orientations(file: h5py.File) -> dict[str, Orientation]:
    """By camera, those that an episode file has; cameras that it does not name lie as stored."""
    found = _read(file)
    ours = all(one.applied.degrees in _QUARTERS for one in found.values())
    return found if ours else {}  # an attribute of somebody else's


def _read(file: h5py.File) -> dict[str, Orientation]:
    text = file.attrs.get(CAMERA_ORIENTATIONS)
    if isinstance(text, str):
        try:
            return _JSON.validate_json(text)
        except ValidationError:
            return {}
    cameras, sentences = names_in(file, "camera_names"), names_in(file, CAMERA_ORIENTATIONS)
    if cameras is None or sentences is None or len(cameras) != len(sentences):
        return {}
    return {name: _in_words(sentence) for name, sentence in zip(cameras, sentences, strict=True)}


def _in_words(sentence: str) -> Orientation:
    found = _SENTENCE.fullmatch(sentence)
    if found is None:  # as stored
        return AS_STORED
    turn = Turn(degrees=float(found[2] or 0), mirrored=bool(found[1]))
    return Orientation(shown=turn) if sentence.startswith("as stored") else Orientation(turn)
