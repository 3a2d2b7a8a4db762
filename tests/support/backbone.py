"""Backbone weights for tests: made once a session, so that no training computes its norms.

`--backbone_weights none` takes the frozen norms from 256 frames, 8 of the 13 s of a tiny training.
"""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch
from torchvision.models import resnet18

_FOLDER = "TEST_BACKBONE_FOLDER"


@cache
def backbone_file() -> Path:
    """A ResNet-18 with seeded weights, and norms of random images; the session's, made if need be.

    The folder is named in the environment, which the processes of a session inherit.
    """
    if _FOLDER not in os.environ:
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix="backbone-")
        Path(os.environ[_FOLDER]).chmod(0o755)  # for tests that are another user
        atexit.register(shutil.rmtree, os.environ[_FOLDER], ignore_errors=True)
    path = Path(os.environ[_FOLDER]) / "resnet18.pth"
    if not path.exists():
        made = path.with_name(f"{os.getpid()}.pth")
        torch.save(_state_dict(), made)
        made.replace(path)  # another process may have made the same
    return path


@torch.no_grad()
def _state_dict() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = resnet18()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1  # the norms are those of the images below
        network.train()(torch.rand(16, 3, 96, 128))
    return network.state_dict()
