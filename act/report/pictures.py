"""Photos of a page as JPEG inside it: contact sheets, attention, strips of rollouts."""

import base64
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act.report.run_files import Arrays, RunFiles
from job.errors import first_line

logger = logging.getLogger("act")

Photo = NDArray[np.uint8]  # (H, W, 3)

_WIDEST = 480  # pixels
_QUALITY = 82
_MOST_CAMERAS = 8
_MOST_EPISODES = 6
_STRIPS, _STRIP_FRAMES = 6, 6
_STRIP_WIDTH = 240
_WARM = np.array([255.0, 190.0, 40.0])  # where attention is laid over a picture


@dataclass(frozen=True)
class Picture:
    """A JPEG as a data URI, and what it shows."""

    uri: str
    alt: str


@dataclass(frozen=True)
class Row:
    """A row of a contact sheet: a picture of each episode at the same part of it."""

    part: str  # start, middle, end
    pictures: list[Picture]


@dataclass(frozen=True)
class Sheet:
    """A contact sheet of one camera."""

    camera: str
    rows: list[Row]


@dataclass(frozen=True)
class Strip:
    """Frames of a video."""

    title: str
    frames: list[Picture]


def picture(photo: Photo, alt: str, widest: int = _WIDEST) -> Picture:
    """A photo of at most so many pixels."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(photo))
    if image.width > widest:
        image = image.resize((widest, max(1, image.height * widest // image.width)))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_QUALITY)
    code = base64.b64encode(content.getvalue()).decode()
    return Picture(f"data:image/jpeg;base64,{code}", alt)


def _photos(arrays: Arrays, name: str) -> NDArray[Any] | None:
    """Photos (N, H, W, 3) or one (H, W, 3); None for what is none."""
    found = arrays.get(name)
    if found is None or found.dtype != np.uint8 or found.shape[-1:] != (3,) or 0 in found.shape:
        return None
    return found if found.ndim in (3, 4) else None


def three(run: RunFiles, cameras: Sequence[str]) -> list[Picture]:
    """The pictures at the top: start, middle and end of an episode, else what there is."""
    found: list[Picture] = []
    for part in ("first", "middle", "last"):
        photos = _photos(run.arrays, f"{part}_0")
        if photos is not None and photos.ndim == 4 and cameras:
            found.append(picture(photos[0], f"{cameras[0]}, {_PARTS[part]} of an episode"))
    return found


_PARTS = {"first": "start", "middle": "middle", "last": "end"}


def sheets(run: RunFiles, cameras: Sequence[str]) -> Iterator[Sheet]:
    """A contact sheet of each camera."""
    for number, camera in enumerate(cameras[:_MOST_CAMERAS]):
        rows = []
        for part, name in _PARTS.items():
            photos = _photos(run.arrays, f"{part}_{number}")
            if photos is not None and photos.ndim == 4:
                alt = f"{camera}, {name} of an episode"
                shown = [picture(photo, alt, _STRIP_WIDTH) for photo in photos[:_MOST_EPISODES]]
                rows.append(Row(name, shown))
        if rows:
            yield Sheet(camera, rows)


def references(run: RunFiles, cameras: Sequence[str]) -> Iterator[Picture]:
    """A frame of each camera to compare the robot's with."""
    for number, camera in enumerate(cameras[:_MOST_CAMERAS]):
        photo = _photos(run.arrays, f"reference_{number}")
        if photo is not None and photo.ndim == 3:
            yield picture(photo, camera)


def attention(run: RunFiles, cameras: Sequence[str]) -> Iterator[Picture]:
    """Pictures that the policy saw, lighter where it attended."""
    for number, camera in enumerate(cameras[:_MOST_CAMERAS]):
        photos, maps = (
            _photos(run.arrays, f"attended_{number}"),
            run.arrays.get(f"attention_{number}"),
        )
        if photos is None or maps is None or photos.ndim != 4 or maps.ndim != 3:
            continue
        for place, (photo, one) in enumerate(zip(photos, maps, strict=False), 1):
            alt = f"{camera}, observation {place}"
            yield picture(_overlaid(photo, np.asarray(one, dtype=float)), alt)


def _overlaid(photo: Photo, attended: NDArray[np.float64]) -> Photo:
    """The photo (H, W, 3), dark and without colour where a map (h, w) is low, warm where high."""
    from PIL import Image

    span = float(np.ptp(attended)) or 1.0
    small = ((attended - attended.min()) / span * 255).astype(np.uint8)
    size = photo.shape[1], photo.shape[0]
    share = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)) / 255.0
    grey = photo.mean(axis=2, keepdims=True) * 0.5
    weight = share[..., None]
    mixed = grey * (1 - weight) + photo * weight + 0.35 * _WARM * weight**2
    return np.clip(mixed, 0, 255).astype(np.uint8)


def strips(run: RunFiles) -> list[Strip]:
    """Frames of the videos that simulations left, of the first ones."""
    names = [
        (f"{one.name}: {Path(video).name}", video)
        for simulation in run.simulations
        for one in simulation.rollouts
        for video in one.videos
    ]
    found = []
    for title, video in names[:_STRIPS]:
        try:
            frames = _frames(_inside(run.folder, video))
        except Exception as error:  # of a decoder; a report without a strip is one still
            logger.warning(
                "%s: cannot be read (%s); the report does without it", video, first_line(error)
            )
            continue
        found.append(Strip(title, [picture(one, title, _STRIP_WIDTH) for one in frames]))
    return found


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError("it lies outside the run's folder")
    return path


def _frames(path: Path) -> list[Photo]:
    """Some frames, from the first to the last."""
    import av

    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    places = np.unique(np.linspace(0, len(frames) - 1, _STRIP_FRAMES).round().astype(int))
    return [frames[place] for place in places]
