"""Room for decoded frames: how many of those that a run takes from videos stay on its disk."""

import hashlib
import logging
from pathlib import Path

from episodes.episode_set import Episodes
from episodes.frame_cache import FrameCache, kept_bytes
from episodes.frames import filmed_of
from job.errors import OutputError
from job.file_system import free_bytes

logger = logging.getLogger("act")

_SHARE = 0.5  # of what is free, with --frames_cache_gb auto: states and checkpoints come too


def open_cache(episodes: Episodes, folder: Path, most_gb: str, *, shown: bool) -> FrameCache | None:
    """The cache of a run's decoded frames; None where no frame is in a video, or none is kept.

    folder: of the run; most_gb: `--frames_cache_gb`; shown: whether this process says so
    """
    filmed = filmed_of(episodes)
    if not filmed:
        return None
    shape = (*episodes.image_size, 3)
    frame_bytes = shape[0] * shape[1] * shape[2]
    count = sum(len(one.ordinals) for one in filmed.values())
    room = _SHARE * free_bytes(folder) + kept_bytes(folder)
    room = room if most_gb == "auto" else float(most_gb) * 1e9
    most = int(min(count * frame_bytes, room)) // frame_bytes
    if shown:
        kept, every = most * frame_bytes / 1e9, count * frame_bytes / 1e9
        rest = "" if most == count else ", the others are decoded each time"
        logger.info(
            "frames     from the dataset's videos; %d of %d are kept once decoded, %.2f of %.2f "
            "GB in %s%s",
            *(most, count, kept, every, folder, rest),
        )
    if not most:
        return None
    identity = hashlib.sha256(str(shape).encode())
    for one in filmed.values():  # wherever they are mounted
        identity.update(repr(one.attributes | {"path": ""}).encode() + one.ordinals.tobytes())
    try:
        return FrameCache(folder, identity.hexdigest()[:16], shape, most)
    except OutputError as error:  # as a mounted bucket, which takes no file that is read as well
        logger.warning("decoded frames are not kept (%s)", error)
        return None
