"""Folders with a small policy of random weights and its contract, as training leaves them."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from act.policies.flags import PolicyFlags
from act.policies.registry import Shapes, build_policy
from act.policies.statistics import save_stats
from act.policies.upstream_contract import Recorded, upstream_contract
from act.policies.weights import save_weights
from episodes.arrays import Frame
from job.output_names import CONTRACT
from tests.support.episodes import CAMERAS, frame_of

DIMS = ("shoulder", "elbow", "gripper")
SIZE = (32, 48)
FPS = 10.0
CHUNK = 5
STATE = np.array([0.5, -1.0, 0.25], np.float32)
SMALL = PolicyFlags(chunk_size=CHUNK, hidden_dim=32, dim_feedforward=32, enc_layers=1, dec_layers=2)

Edit = Callable[[dict[str, Any]], object]


def frames(ts: int = 0) -> dict[str, Frame]:
    """What the cameras show, (32, 48, 3) each."""
    return {name: frame_of(0, number, ts) for number, name in enumerate(CAMERAS)}


def write_weights(
    folder: Path,
    flags: PolicyFlags = SMALL,
    *,
    dims: int = 3,
    cameras: int = 2,
    size: tuple[int, int] = SIZE,
    env_state_dim: int = 0,
    seed: int = 0,
) -> Path:
    """A folder as upstream leaves one: weights and statistics, no contract."""
    folder.mkdir(exist_ok=True)
    shapes = Shapes(dims, dims, cameras, size if cameras else None, env_state_dim)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = build_policy(flags, shapes)
    save_weights(folder / "policy_best.ckpt", policy.state_dict())
    random = np.random.default_rng(1)
    means, stds = random.normal(size=(2, dims)), random.uniform(0.5, 2, (2, dims))
    stats = {
        f"{name}_{what}": values[number].astype(np.float32)
        for number, name in enumerate(("action", "qpos"))
        for what, values in (("mean", means), ("std", stds))
    }
    save_stats(folder, stats | {"example_qpos": np.zeros((2, dims), np.float32)})
    return folder


def write_policy(
    folder: Path, edit: Edit = lambda _: None, flags: PolicyFlags = SMALL, **shapes: Any
) -> Path:
    """A folder with a contract too, whose JSON is passed through `edit`; dims have names."""
    template, written = _template(flags, **shapes)
    shutil.copytree(template, folder, dirs_exist_ok=True)
    content = json.loads(written)
    for vector in ("state", "action"):
        for dim, name in zip(content[vector]["dims"], DIMS, strict=False):
            dim |= {"name": name, "minimum": -1.0, "maximum": 3.0}
    if env_state_dim := shapes.get("env_state_dim", 0):
        content["network"]["env_state_dim"] = env_state_dim
        dim = {"name": None, "padding": False, "minimum": 0.0, "maximum": 1.0}
        content["env_state"] = {"features": None, "cut": [], "dims": [dim] * env_state_dim}
        content["statistics"]["env_state_mean"] = [0.5] * env_state_dim
        content["statistics"]["env_state_std"] = [2.0] * env_state_dim
    edit(content)
    (folder / CONTRACT).write_text(json.dumps(content))
    return folder


@cache
def _template(flags: PolicyFlags, **shapes: Any) -> tuple[Path, str]:
    """A folder of weights, and its contract as JSON: making them takes a second."""
    folder = Path(tempfile.mkdtemp(prefix="policy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_weights(folder, flags, **shapes)
    cameras = CAMERAS[: shapes.get("cameras", 2)]
    recorded = Recorded(
        camera_names=cameras, image_size=shapes.get("size", SIZE), fps=FPS, first_offset=0
    )
    return folder, upstream_contract(folder, recorded).model_dump_json()


def padded(content: dict[str, Any]) -> None:
    """Mark the dims behind those with names as padding."""
    for vector in ("state", "action"):
        for number, dim in enumerate(content[vector]["dims"][len(DIMS) :]):
            dim |= {"name": f"padding[{number}]", "padding": True, "minimum": 0.0, "maximum": 0.0}


def camera(number: int, **fields: Any) -> Edit:
    """Change what the contract says of a camera."""
    return lambda content: content["cameras"][number].update(fields)


def part(name: str, fields: Mapping[str, Any]) -> Edit:
    """Change a section of the contract."""
    return lambda content: content[name].update(fields)
