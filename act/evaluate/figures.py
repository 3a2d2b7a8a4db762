"""evaluation.npz: the arrays that a report's figures are drawn from.

T time steps   A action dims   H, W pixels

NAME_demonstrated, NAME_executed (T, A)   of the episodes best, typical and worst, by error
NAME_queries (N,)                         the time steps at which the policy was asked
NAME_episode ()                           the episode's number in the run
reference_I (H, W, 3)                     camera I in the first frame of an episode of training
first_I, middle_I, last_I (E, H', W', 3)  camera I in some of the episodes, small
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from act.evaluate.held_out import Recorded, images_of
from act.evaluate.replay import Replayed
from episodes.arrays import Frame
from episodes.frames import FrameSource
from episodes.resize import resize_area
from job.sections.evaluation import CheckpointErrors, Replay

Arrays = dict[str, NDArray[np.generic]]

_SHOWN = 6  # episodes of a contact sheet
_SMALL = 120  # pixels of height there


def figure_arrays(
    recorded: Recorded,
    frames: FrameSource,
    best: CheckpointErrors,
    way: Replay,
    replayed: Sequence[Replayed],
    more: Mapping[str, NDArray[np.generic]],
) -> Arrays:
    """All of them; replayed: the episodes in that way; more: those of a closer look."""
    order = np.argsort(best.errors.by_episode, kind="stable")
    chosen = {"best": order[0], "typical": order[len(order) // 2], "worst": order[-1]}
    found: Arrays = {}
    for name, index in chosen.items():
        one = replayed[index]
        found[f"{name}_demonstrated"], found[f"{name}_executed"] = one.demonstrated, one.executed
        found[f"{name}_queries"] = np.arange(0, len(one.executed), way.horizon or 1)
        found[f"{name}_episode"] = np.array(recorded.numbers[recorded.evaluated[index]])
    return found | _photos(recorded, frames) | dict(more)


def _photos(recorded: Recorded, frames: FrameSource) -> Arrays:
    places = [*(recorded.trained or recorded.evaluated)]
    reference = images_of(frames, places[len(places) // 2], [0])
    if reference is None:
        return {}
    found: Arrays = {f"reference_{i}": image for i, image in enumerate(reference[0])}
    for name, share in (("first", 0.0), ("middle", 0.5), ("last", 1.0)):
        sheet = _sheet(recorded, frames, places[:: -(-len(places) // _SHOWN)], share)
        found |= {f"{name}_{camera}": images for camera, images in enumerate(sheet)}
    return found


def _sheet(
    recorded: Recorded, frames: FrameSource, places: Sequence[int], share: float
) -> list[Frame]:
    """(E, H', W', 3) of each camera: some episodes at the same part of their length."""
    shown: list[list[Frame]] = []
    for place in places:
        ts = round(share * (recorded.episodes.lengths[place] - 1))
        images = images_of(frames, place, [ts])
        assert images is not None
        shown.append([_small(image) for image in images[0]])
    return [np.stack(of_camera) for of_camera in zip(*shown, strict=True)]


def _small(image: Frame) -> Frame:
    height, width = image.shape[:2]
    factor = max(1, height // _SMALL)
    return resize_area(image, height // factor, width // factor) if factor > 1 else image
