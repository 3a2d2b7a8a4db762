"""How far held-out observations lie from training ones: beside how far training ones lie apart.

D values   N, M observations   H, W pixels
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from act.evaluate.held_out import images_of
from act.evaluate.predictions import Asker
from act.load.own_dims import own
from episodes.arrays import FloatArray, Frame
from episodes.resize import resize_area
from job.sections.look import CameraDistance, Distance

_EACH = 8  # frames of an episode
_EPISODES = 10  # of either side
_THUMBNAIL = 16, 16  # pixels
_METHOD = (
    "a held-out frame and the nearest of some training frames of another episode: of states in "
    "standard deviations, of images as means of 16x16 areas in grey"
)

Points = NDArray[np.float64]  # (N, D)


def distance(asker: Asker) -> Distance | None:
    """The section; None with fewer than two episodes of training at hand."""
    recorded = asker.recorded
    trained, evaluated = recorded.trained[:_EPISODES], recorded.evaluated[:_EPISODES]
    if len(trained) < 2 or not recorded.is_held_out:
        return None
    cameras = [camera.name for camera in asker.contract.cameras]
    sides = [[_points(asker, place) for place in places] for places in (trained, evaluated)]
    of_state, *of_cameras = (
        _ratio([one[kind] for one in sides[0]], [one[kind] for one in sides[1]])
        for kind in range(1 + len(cameras))
    )
    return Distance(
        state=of_state,
        cameras=[
            CameraDistance(name=name, ratio=ratio)
            for name, ratio in zip(cameras, of_cameras, strict=True)
        ],
        method=_METHOD,
    )


def _points(asker: Asker, place: int) -> list[Points]:
    """Some frames of an episode: their states, and the thumbnails of each camera."""
    episodes, contract = asker.recorded.episodes, asker.contract
    length = episodes.lengths[place]
    ts = np.unique(np.linspace(0, length - 1, min(_EACH, length)).round().astype(int))
    is_own = own(contract.state)
    std = np.array(contract.statistics.qpos_std)[is_own]
    found: list[Points] = [_as_points(episodes.qpos[place][ts][:, is_own] / std)]
    images = images_of(asker.frames, place, ts.tolist())
    if images is not None:
        found += [_as_points(_thumbnails(images[:, c])) for c in range(images.shape[1])]
    return found


def _as_points(values: FloatArray) -> Points:
    return values.reshape(len(values), -1).astype(np.float64)


def _thumbnails(images: Frame) -> FloatArray:
    height, width = (min(a, b) for a, b in zip(_THUMBNAIL, images.shape[1:3], strict=True))
    small = np.stack([resize_area(image, height, width) for image in images])
    return small.mean(axis=-1, dtype=np.float32)


def _ratio(trained: Sequence[Points], held_out: Sequence[Points]) -> float:
    """The median distance from held-out frames to training, over that between training episodes."""
    everything = np.concatenate(trained)
    to_training = [_nearest(one, everything) for one in held_out]
    among = [
        _nearest(one, np.concatenate([other for other in trained if other is not one]))
        for one in trained
    ]
    usual = float(np.median(np.concatenate(among)))
    found = float(np.median(np.concatenate(to_training)))
    return found / usual if usual else 1.0 if not found else _FAR


_FAR = 1000.0  # where training frames do not differ at all, and held-out ones do


def _nearest(points: Points, others: Points) -> NDArray[np.float64]:
    """The distance (N,) of each point to the nearest of the others."""
    squares = ((points[:, None] - others[None]) ** 2).mean(axis=-1)
    return np.sqrt(squares.min(axis=1))
