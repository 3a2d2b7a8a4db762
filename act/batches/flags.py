"""The flags of batches: how they are loaded, and how their images are augmented."""

import re
from dataclasses import dataclass

from job.bounds import at_least, fraction
from job.flags import Flags, flag


def _half_turn(value: float) -> str | None:
    return None if 0 <= value <= 0.5 else "0 to 0.5 of a turn"


def _gb(value: str) -> str | None:
    fine = value == "auto" or re.fullmatch(r"\d{1,9}(\.\d*)?", value)
    return None if fine else "a number of GB, 0 or more, or auto"


@dataclass(frozen=True, kw_only=True)
class AugmentationFlags(Flags):
    """Random changes of the training images."""

    title = "augmentation of the training images, off as in upstream"

    jitter_brightness: float = flag(
        "Brightness is multiplied by a factor from 1 - X to 1 + X.",
        0.0,
        check=fraction,
        needs_cameras=True,
    )
    jitter_contrast: float = flag(
        "Contrast is multiplied by a factor from 1 - X to 1 + X.",
        0.0,
        check=fraction,
        needs_cameras=True,
    )
    jitter_saturation: float = flag(
        "Saturation is multiplied by a factor from 1 - X to 1 + X.",
        0.0,
        check=fraction,
        needs_cameras=True,
    )
    jitter_hue: float = flag(
        "Hue is turned by up to this part of a full turn.",
        0.0,
        check=_half_turn,
        needs_cameras=True,
    )
    random_shift: int = flag(
        "Images are cropped and shifted by up to this many pixels.",
        0,
        check=at_least(0),
        needs_cameras=True,
    )
    camera_dropout: float = flag(
        "Probability that a camera is blanked; one always stays.",
        0.0,
        check=fraction,
        needs_cameras=True,
    )


@dataclass(frozen=True, kw_only=True)
class LoaderFlags(Flags):
    """Where frames are kept and who reads them."""

    title = "machine"

    data_cache: str = flag(
        "Where all frames are kept; auto = on the GPU, if half of what is free will do.",
        "auto",
        choices=("auto", "gpu", "none"),
        same_run=True,
        needs_cameras=True,
    )
    jpeg_decoder: str = flag(
        "What decodes JPEG frames; gpu = nvJPEG, whose pixels differ slightly.",
        "cpu",
        choices=("cpu", "gpu"),
        needs_cameras=True,
    )
    frames_cache_gb: str = flag(
        "GB of frames decoded from videos that stay on disk; auto = half of what is free.",
        "auto",
        check=_gb,
        same_run=True,
        needs_cameras=True,
    )
    num_workers: int = flag(
        "Number of loader threads, which need no shared memory; 0 = by cores.",
        0,
        check=at_least(0),
        same_run=True,
    )
