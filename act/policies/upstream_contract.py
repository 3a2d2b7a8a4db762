"""A contract for checkpoints that upstream wrote, which say nothing of cameras, rates or ranges."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from act.policies.act_flags import NUM_HEADS
from act.policies.contract import images_section, upstreams_execution
from act.policies.contract_file import WEIGHTS
from act.policies.statistics import load_stats, stats_section
from act.policies.weights import load_weights
from episodes.arrays import FloatArray
from episodes.orientation import AS_STORED
from job.errors import UsageError
from job.sections.contract import (
    CONTRACT_VERSION,
    Action,
    Architecture,
    Camera,
    Contract,
    Dim,
    State,
    Stats,
)
from job.whole_files import sha256

BEST, STATS = "policy_best.ckpt", "dataset_stats.pkl"
_NEEDED = ("action_mean", "action_std", "qpos_mean", "qpos_std")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What upstream's files do not say."""

    camera_names: tuple[str, ...]
    image_size: tuple[int, int]  # H, W
    fps: float
    first_offset: Literal[0, -1] | None  # see `Action`


def upstream_contract(folder: Path, recorded: Recorded) -> Contract:
    """The contract of the policy_*.ckpt in a folder; raises UsageError.

    It needs policy_best.ckpt, from which the sizes are read, and dataset_stats.pkl.
    """
    for name in (BEST, STATS):
        if not (folder / name).is_file():
            raise UsageError(
                f"{folder / name}: is not there, expected the folder that upstream trained into, "
                f"with {BEST} and {STATS}",
                code="checkpoint-missing",
            )
    stats = _stats(folder / STATS)
    network = _architecture(folder / BEST, load_weights(folder / BEST), stats, recorded)
    return Contract(
        schema_version=CONTRACT_VERSION,
        run_name=None,
        task_name=None,
        policy_class="CNNMLP" if network.hidden_dim is None else "ACT",
        file=BEST,
        fps=recorded.fps,
        state=State(**_vector(network.qpos_dim)),
        env_state=None,
        action=Action(
            **_vector(network.action_dim),
            chunk_size=network.chunk_size,
            first_offset=recorded.first_offset,
        ),
        cameras=[foreign_camera(name, None, recorded.image_size) for name in recorded.camera_names],
        images=images_section(),
        statistics=Stats(**stats_section(stats)),
        network=network,
        execution=upstreams_execution(network.chunk_size),
        dataset=None,
        versions=None,
        commit=None,
        checkpoints={path.name: [_digest(path)] for path in sorted(folder.glob(WEIGHTS))},
    )


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}), expected a checkpoint that upstream "
            f"wrote; move it away",
            code="weights-unreadable",
        ) from error


def _stats(path: Path) -> dict[str, FloatArray]:
    stats = load_stats(path)
    missing = [name for name in _NEEDED if name not in stats]
    widths = {name: stats[name].shape for name in _NEEDED if not missing}
    if missing or any(len(shape) != 1 for shape in widths.values()):
        raise UsageError(
            f"{path}: has {widths or sorted(stats)}, expected {', '.join(_NEEDED)}, one number for "
            f"each dim; it is not what upstream's training wrote",
            code="weights-unreadable",
        )
    for name in _NEEDED:
        _check_values(path, name, stats[name])
    for of in ("action", "qpos"):
        mean, std = (len(stats[f"{of}_{what}"]) for what in ("mean", "std"))
        if mean != std:
            raise _other_statistics(path, f"{of}_std has {std} numbers", f"{mean} as {of}_mean")
    return {name: stats[name] for name in _NEEDED}


def _check_values(path: Path, name: str, values: FloatArray) -> None:
    if values.dtype.kind not in "fiu":
        raise _other_statistics(path, f"{name} is of type {values.dtype}", "real numbers")
    if not len(values) or not np.isfinite(values).all():
        raise _other_statistics(path, f"{name} is {values.tolist()[:20]}", "finite numbers")
    if name.endswith("_std") and not (values > 0).all():
        raise _other_statistics(path, f"{name} is {values.tolist()[:20]}", "numbers above 0")


def _other_statistics(path: Path, found: str, expected: str) -> UsageError:
    return UsageError(
        f"{path}: {found}, expected {expected}; it is not what upstream's training wrote: take "
        f"the one that lay beside these checkpoints",
        code="weights-unreadable",
    )


def _architecture(
    path: Path,
    weights: Mapping[str, Tensor],
    stats: Mapping[str, FloatArray],
    recorded: Recorded,
) -> Architecture:
    """The sizes of a network, by its weights."""
    sizes: dict[str, Any] = {
        "qpos_dim": len(stats["qpos_mean"]),
        "env_state_dim": None,
        "action_dim": len(stats["action_mean"]),
        "num_cameras": len(recorded.camera_names),
        "backbone": "resnet18",
        "backbone_weights": None,
        "backbone_sha256": None,
        "batch_norm": None,
    }
    if "model.query_embed.weight" not in weights:
        names = ("hidden_dim", "dim_feedforward", "num_heads", "enc_layers", "dec_layers")
        none: dict[str, Any] = dict.fromkeys((*names, "decoder_output"))
        return Architecture(**sizes, **none, chunk_size=1, latent_dim=0)
    try:
        chunk_size, hidden_dim = weights["model.query_embed.weight"].shape
        return Architecture(
            **sizes,
            chunk_size=chunk_size,
            hidden_dim=hidden_dim,
            dim_feedforward=len(weights["model.transformer.encoder.layers.0.linear1.weight"]),
            num_heads=NUM_HEADS,
            enc_layers=_layers(weights, "encoder"),
            dec_layers=_layers(weights, "decoder"),
            decoder_output="first",
            latent_dim=weights["model.latent_out_proj.weight"].shape[1],
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise UsageError(
            f"{path}: has not the weights of upstream's ACT ({error}), expected a state dict that "
            f"its training wrote",
            code="weights-mismatch",
        ) from error


def _layers(weights: Mapping[str, Tensor], of: str) -> int:
    name = re.compile(rf"model\.transformer\.{of}\.layers\.(\d+)\.")
    return len({found[1] for found in map(name.match, weights) if found})


def _vector(width: int) -> dict[str, Any]:
    dim = Dim(name=None, padding=False, minimum=None, maximum=None)
    return {"features": None, "dims": [dim] * width, "cut": []}


def foreign_camera(name: str, key: str | None, size: tuple[int, int]) -> Camera:
    """A camera of a policy that was trained elsewhere, on frames of a size (H, W) as stored."""
    height, width = size
    return Camera(
        name=name,
        key=key,
        height=height,
        width=width,
        recorded_height=None,
        recorded_width=None,
        orientation=str(AS_STORED),
        mirrored=False,
        rotated=0,
        storage=None,
        jpeg_quality=None,
    )
