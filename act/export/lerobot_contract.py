"""The contract of a policy that LeRobot trained, from what its folder says.

Q state dims   A action dims   E environment state dims
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from act.export.lerobot_layout import ACTION, CONFIG, ENV_STATE, EPS, IMAGES, STATE
from act.policies.act import LATENT_DIM
from act.policies.act_flags import NUM_HEADS
from act.policies.contract import images_section, upstreams_execution
from act.policies.upstream_contract import BEST, foreign_camera
from job.errors import UsageError
from job.manifest import versions
from job.sections.contract import (
    CONTRACT_VERSION,
    Action,
    Architecture,
    Camera,
    Contract,
    Dim,
    EnvState,
    Execution,
    Recording,
    State,
    Stats,
)
from job.version import commit
from job.whole_files import read_bytes


@dataclass(frozen=True)
class Features:
    """What the policy takes and gives, in LeRobot's names."""

    state: int  # Q
    action: int  # A
    env_state: int | None  # E
    cameras: tuple[str, ...]
    image_size: tuple[int, int] | None  # H, W; None: there is no camera


def contract_of(
    folder: Path,
    config: Mapping[str, Any],
    features: Features,
    stats: Mapping[str, Tensor],
    *,
    run_name: str | None,
    fps: float | None,
) -> Contract:
    """What a robot needs to know; raises UsageError where a field of the folder is missing.

    stats: by LeRobot's name, such as `action.mean`
    """
    try:
        return Contract(
            schema_version=CONTRACT_VERSION,
            run_name=run_name,
            task_name=None,
            policy_class="ACT",
            file=BEST,
            fps=fps,
            state=State(**_vector(stats, STATE, features.state)),
            action=Action(
                **_vector(stats, ACTION, features.action),
                chunk_size=config["chunk_size"],
                first_offset=0,  # LeRobot trains on the action that is stored with an observation
            ),
            env_state=EnvState(**_vector(stats, ENV_STATE, features.env_state))
            if features.env_state
            else None,
            cameras=_cameras(features),
            images=images_section() if features.cameras else None,
            statistics=_statistics(stats),
            network=_architecture(config, features),
            execution=_execution(config),
            dataset=Recording(
                format="lerobot",
                version=None,
                paths=_trained_on(folder),
                robot_type=None,
                tasks=[],
                fingerprint=None,
            ),
            versions=versions(),
            commit=commit(),
            checkpoints={},
        )
    except (KeyError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UsageError(
            f"{folder / CONFIG}: {reason}, expected the fields of LeRobot's ACT; save the policy "
            f"with lerobot 0.4 again",
            code="import-unreadable",
        ) from error


def _vector(stats: Mapping[str, Tensor], name: str, width: int) -> dict[str, Any]:
    low, high = (_values(stats, f"{name}.{what}", width) for what in ("min", "max"))
    dims = [
        Dim(name=None, padding=False, minimum=least, maximum=most)
        for least, most in zip(low, high, strict=True)
    ]
    return {"features": [name], "dims": dims, "cut": []}


def _values(stats: Mapping[str, Tensor], name: str, width: int) -> list[float | None]:
    """A value for each dim, None each where they are not known."""
    found: list[float | None] = stats[name].flatten().tolist() if name in stats else []
    known = len(found) == width and all(v is not None and math.isfinite(v) for v in found)
    return found if known else [None] * width


def _cameras(features: Features) -> list[Camera]:
    if features.image_size is None:
        return []
    size = features.image_size
    return [foreign_camera(key.removeprefix(IMAGES), key, size) for key in features.cameras]


def _architecture(config: Mapping[str, Any], features: Features) -> Architecture:
    layers, sees = config["n_decoder_layers"], bool(features.cameras)
    return Architecture(
        qpos_dim=features.state,
        env_state_dim=features.env_state,
        action_dim=features.action,
        num_cameras=len(features.cameras),
        chunk_size=config["chunk_size"],
        hidden_dim=config["dim_model"],
        dim_feedforward=config["dim_feedforward"],
        num_heads=NUM_HEADS,
        enc_layers=config["n_encoder_layers"],
        dec_layers=layers,
        decoder_output="first" if layers == 1 else "last",
        latent_dim=LATENT_DIM,
        backbone="resnet18" if sees else None,
        backbone_weights=config.get("pretrained_backbone_weights") if sees else None,
        backbone_sha256=None,
        batch_norm=None,
    )


def _execution(config: Mapping[str, Any]) -> Execution:
    """As the folder has it: LeRobot asks for n_action_steps of 1 where it ensembles."""
    usual = upstreams_execution(config["chunk_size"])
    weight = config.get("temporal_ensemble_coeff")
    if weight is None:
        return usual.model_copy(update={"horizon": config["n_action_steps"]})
    return usual.model_copy(
        update={"mode": "temporal_ensembling", "ensembling_weight": float(weight)}
    )


def _statistics(stats: Mapping[str, Tensor]) -> Stats:
    """As this project divides: LeRobot adds an epsilon where it normalises, not on the way back."""
    found: dict[str, Any] = {}
    for ours, theirs in (("qpos", STATE), ("env_state", ENV_STATE)):
        if f"{theirs}.mean" in stats:
            found[f"{ours}_mean"] = stats[f"{theirs}.mean"].tolist()
            found[f"{ours}_std"] = (stats[f"{theirs}.std"] + EPS).tolist()
    found["action_mean"] = stats[f"{ACTION}.mean"].tolist()
    found["action_std"] = stats[f"{ACTION}.std"].tolist()
    return Stats(**found)


def _trained_on(folder: Path) -> list[str]:
    """The dataset's name, where LeRobot's record of the training lies beside."""
    try:
        return [str(json.loads(read_bytes(folder / "train_config.json"))["dataset"]["repo_id"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []
