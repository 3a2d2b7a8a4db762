"""Where the backbone's pretrained weights lie; imports no torch, so that a missing file is reported
at once, before seconds of imports and hours of conversion.
"""

import os
from pathlib import Path

from job.errors import UsageError
from job.whole_files import sha256

IMAGENET_FILE = "resnet18-f37072fd.pth"
IMAGENET_SHA256 = "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"


def backbone_file(choice: str) -> Path | None:
    """The file that `--backbone_weights` means: imagenet, none (None), or a path.

    Nothing is downloaded: ImageNet's file is baked into the image, or lies where torchvision
    caches it. Raises UsageError when it is not there.
    """
    if choice == "none":
        return None
    path = _imagenet_path() if choice == "imagenet" else Path(choice)
    if path.is_file():
        return path
    remedies = "give a file, or choose none, which trains from random weights and learns slower"
    if choice == "imagenet":
        remedies = (
            f"let torchvision put {IMAGENET_FILE} there (README, Train on your own dataset), "
            f"{remedies}"
        )
    raise UsageError(
        f"--backbone_weights {choice}: {path} is not there; expected a torchvision ResNet-18 "
        f"state dict; {remedies}",
        code="weights-missing",
    )


def backbone_digest(choice: str, path: Path) -> str:
    """The file's SHA-256; raises UsageError when it is not readable or not ImageNet's."""
    try:
        digest = sha256(path)
    except OSError as error:
        raise UsageError(
            f"--backbone_weights {choice}: {path} cannot be read ({error.strerror}); expected a "
            f"file that user {os.getuid()}:{os.getgid()} may read",
            code="weights-unreadable",
        ) from error
    if choice == "imagenet" and digest != IMAGENET_SHA256:
        raise UsageError(
            f"{path}: its SHA-256 is {digest}, expected {IMAGENET_SHA256}; the file is damaged or "
            f"another one; put torchvision's {IMAGENET_FILE} there",
            code="weights-damaged",
        )
    return digest


def _imagenet_path() -> Path:
    if baked := os.environ.get("BACKBONE_WEIGHTS_FILE"):
        return Path(baked)
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    home = os.environ.get("TORCH_HOME") or Path(cache, "torch")  # torch.hub.get_dir() without torch
    return Path(home).expanduser() / "hub/checkpoints" / IMAGENET_FILE
