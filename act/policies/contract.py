"""Everything a robot needs to use the policy, as policy.json has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from act.policies.act_flags import NUM_HEADS
from act.policies.flags import PolicyFlags
from act.policies.policy import IMAGENET_MEAN, IMAGENET_STD, Policy
from act.policies.registry import obeyed_flags
from act.policies.statistics import stats_section
from episodes.arrays import FloatArray
from episodes.episode_set import Episodes
from episodes.orientation import AS_STORED
from episodes.padding import recorded_dims
from job.sections.contract import (
    CONTRACT_VERSION,
    Action,
    Architecture,
    Camera,
    Contract,
    Dim,
    EnvState,
    Execution,
    Images,
    Recording,
    Rotation,
    State,
    Stats,
)
from job.sections.data import Conversion, ConvertedVector, Dataset
from job.sections.whole import Whole

_ENSEMBLING_WEIGHT = 0.01  # upstream's


@dataclass(frozen=True)
class Subject:
    """What a contract is made of."""

    flags: PolicyFlags
    policy: Policy
    episodes: Episodes
    stats: dict[str, FloatArray]
    backbone_sha256: str | None
    dataset: Dataset
    conversion: Conversion | None  # None: the episode files were used as they were


def make_contract(of: Subject, manifest: Whole, file: str) -> Contract:
    """policy.json, but for the digests of checkpoints.

    manifest: of the job, for the run's name, and which software it is
    file: the name of the checkpoint to use
    """
    episodes, made, info = of.episodes, of.conversion, of.episodes.infos[0]
    state = _vector(episodes.qpos, info.qpos_names, made.qpos if made else None)
    action = _vector(episodes.action, info.action_names, made.action if made else None)
    return Contract(
        schema_version=CONTRACT_VERSION,
        run_name=manifest.run_name,
        task_name=manifest.task_name,
        policy_class=of.flags.policy_class,
        file=file,
        fps=info.fps,
        state=State(**state),
        action=Action(
            **action, chunk_size=of.policy.chunk_size, first_offset=_first_action_offset(episodes)
        ),
        env_state=_env_state(of),
        cameras=[_camera(episodes, name, made) for name in episodes.camera_names],
        images=images_section() if episodes.camera_names else None,
        statistics=Stats(**stats_section(of.stats)),
        network=_architecture(of),
        execution=upstreams_execution(of.policy.chunk_size),
        dataset=Recording(
            format=of.dataset.format,
            version=of.dataset.version,
            paths=list(dict.fromkeys(episode.dataset for episode in of.dataset.episodes)),
            robot_type=of.dataset.robot_type,
            tasks=of.dataset.tasks,
            fingerprint=of.dataset.fingerprint,
        ),
        versions=manifest.versions,
        commit=manifest.commit,
        checkpoints={},
    )


def _env_state(of: Subject) -> EnvState | None:
    episodes, made = of.episodes, of.conversion
    if not episodes.env_state:
        return None
    names = episodes.infos[0].env_state_names
    return EnvState(**_vector(episodes.env_state, names, made.env_state if made else None))


def upstreams_execution(chunk_size: int) -> Execution:
    """What upstream does by default."""
    return Execution(
        mode="open_loop",
        horizon=chunk_size,
        ensembling_weight=_ENSEMBLING_WEIGHT,
        executed_first="first action of the chunk",
    )


def images_section() -> Images:
    """How every policy of ours takes images."""
    return Images(
        channels="RGB",
        layout="batch, camera, height, width, channel",
        values="uint8, or float in 0 to 1",
        upstream_layout="batch, camera, channel, height, width",
        upstream_scaling="value / 255",
        mean=list(IMAGENET_MEAN),
        std=list(IMAGENET_STD),
    )


def _vector(
    vectors: Sequence[FloatArray], names: Sequence[str] | None, made: ConvertedVector | None
) -> dict[str, Any]:
    """The dims of vectors (T, D) of all episodes, and what is known of where they come from."""
    smallest = np.min([one.min(axis=0) for one in vectors], axis=0).tolist()
    largest = np.max([one.max(axis=0) for one in vectors], axis=0).tolist()
    width = len(smallest)
    if names is not None and len(names) != width:  # an attribute of somebody else's file
        names = None
    recorded = recorded_dims(names, width)
    return {
        "features": made.key.split(",") if made else None,
        "dims": [
            Dim(
                name=names[i] if names else None,
                padding=i >= recorded,
                minimum=smallest[i],
                maximum=largest[i],
            )
            for i in range(width)
        ],
        "cut": made.cut if made else [],
    }


def _camera(episodes: Episodes, name: str, made: Conversion | None) -> Camera:
    height, width = episodes.image_size
    orientation = episodes.infos[0].orientations.get(name, AS_STORED)
    found = next((camera for camera in (made.cameras if made else ()) if camera.name == name), None)
    return Camera(
        name=name,
        key=found.key if found else None,
        height=height,
        width=width,
        recorded_height=found.recorded_height if found else None,
        recorded_width=found.recorded_width if found else None,
        orientation=str(orientation),
        mirrored=orientation.applied.mirrored,
        rotated=cast(Rotation, int(orientation.applied.degrees)),
        storage="jpeg" if episodes.infos[0].compressed else "raw",
        jpeg_quality=made.jpeg_quality if made else None,
    )


def _architecture(of: Subject) -> Architecture:
    flags, info = of.flags, of.episodes.infos[0]
    obeyed = obeyed_flags(flags.policy_class)
    names = ("hidden_dim", "dim_feedforward", "enc_layers", "dec_layers", "decoder_output")
    sizes: dict[str, Any] = {
        name: getattr(flags, name) if name in obeyed else None for name in names
    }
    return Architecture(
        qpos_dim=info.qpos_dim,
        env_state_dim=info.env_state_dim,
        action_dim=info.action_dim,
        num_cameras=len(of.episodes.camera_names),
        chunk_size=of.policy.chunk_size,
        num_heads=NUM_HEADS if "hidden_dim" in obeyed else None,
        latent_dim=of.policy.latent_dim,
        **sizes,
        **_backbone(of),
    )


def _backbone(of: Subject) -> dict[str, Any]:
    """The image backbone; null without cameras."""
    sees = bool(of.episodes.camera_names)
    return {
        "backbone": "resnet18" if sees else None,
        "backbone_weights": of.flags.backbone_weights if sees else None,
        "backbone_sha256": of.backbone_sha256,
        "batch_norm": ("frames" if of.backbone_sha256 is None else "weights") if sees else None,
    }


def _first_action_offset(episodes: Episodes) -> Literal[0, -1] | None:
    found = {episodes.is_sim(number) for number in range(len(episodes.infos))}
    if len(found) > 1:
        return None  # nothing true can be said of the two kinds together
    return 0 if found.pop() else -1
