"""Everything a robot needs to use the policy: the `policy` section of the manifest."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from act.policies.flags import PolicyFlags
from act.policies.policy import IMAGENET_MEAN, IMAGENET_STD, Policy
from act.policies.statistics import stats_section
from episodes.episode_set import Episodes, open_episodes
from episodes.flags import EpisodeFlags
from episodes.reader import FloatArray
from job.sections.data import Dataset, UsedEpisode
from job.sections.policy import (
    EnvStateInput,
    ImageInput,
    Inputs,
    Network,
    Output,
    QposInput,
    Stats,
)
from job.sections.policy import Policy as PolicySection
from job.whole_files import sampled_sha256


def policy_section(
    flags: PolicyFlags,
    policy: Policy,
    episodes: Episodes,
    stats: dict[str, FloatArray],
    backbone_sha256: str | None,
) -> PolicySection:
    """Input order, sizes, scaling, normalisation and output of the policy."""
    info = episodes.infos[0]
    return PolicySection(
        policy_class=flags.policy_class,
        fps=info.fps,
        inputs=_inputs(episodes),
        output=Output(
            chunk_size=policy.chunk_size,
            dims=info.action_dim,
            names=_list(info.action_names),
            denormalisation="a_hat * action_std + action_mean",
            first_action_offset=_first_action_offset(episodes),
        ),
        stats=Stats(**stats_section(stats)),
        network=_network(flags, policy, episodes, backbone_sha256),
    )


def _inputs(episodes: Episodes) -> Inputs:
    info = episodes.infos[0]
    image = _image_input(episodes) if episodes.camera_names else None
    env_state = None
    if info.env_state_dim is not None:
        env_state = EnvStateInput(
            dims=info.env_state_dim,
            names=_list(info.env_state_names),
            normalisation="(env_state - env_state_mean) / env_state_std",
        )
    there = {"qpos": True, "image": image is not None, "env_state": env_state is not None}
    return Inputs(
        order=[name for name, is_there in there.items() if is_there],
        qpos=QposInput(
            dims=info.qpos_dim,
            names=_list(info.qpos_names),
            normalisation="(qpos - qpos_mean) / qpos_std",
        ),
        image=image,
        env_state=env_state,
    )


def _image_input(episodes: Episodes) -> ImageInput:
    height, width = episodes.image_size
    return ImageInput(
        camera_names=list(episodes.camera_names),
        height=height,
        width=width,
        channels="RGB",
        layout="batch, camera, channel, height, width",
        own_layout="batch, camera, height, width, channel",
        scaling="value / 255",
        normalisation="(value - mean) / std, per channel, inside the policy",
        mean=list(IMAGENET_MEAN),
        std=list(IMAGENET_STD),
    )


def _network(
    flags: PolicyFlags, policy: Policy, episodes: Episodes, backbone_sha256: str | None
) -> Network:
    sees = bool(episodes.camera_names)
    norms: Literal["weights", "frames"] = "frames" if backbone_sha256 is None else "weights"
    return Network(
        hidden_dim=policy.sizes.get("hidden_dim"),
        dim_feedforward=policy.sizes.get("dim_feedforward"),
        backbone="resnet18" if sees else None,
        backbone_weights=flags.backbone_weights if sees else None,
        backbone_sha256=backbone_sha256,
        batch_norm=norms if sees else None,
    )


def _first_action_offset(episodes: Episodes) -> Literal[0, -1] | None:
    found = {episodes.is_sim(number) for number in range(len(episodes.infos))}
    if len(found) > 1:
        return None  # nothing true can be said of the two kinds together
    return 0 if found.pop() else -1


def _list(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def dataset_section_of_files(flags: EpisodeFlags, paths: Sequence[Path]) -> Dataset:
    """`dataset_section` of episode files by their paths."""
    return dataset_section(open_episodes(paths, flags.camera_names, flags.reading))


def dataset_section(episodes: Episodes) -> Dataset:
    """The `dataset` section for episode files that were not converted here."""
    # all of the vectors, which are in memory, and samples of the frames, which would take hours
    digests = [sampled_sha256(info.path) for info in episodes.infos]
    for vectors in (*episodes.qpos, *episodes.action, *episodes.env_state):
        digests.append(hashlib.sha256(vectors.tobytes()).hexdigest())
    if any(info.sim != episodes.is_sim(number) for number, info in enumerate(episodes.infos)):
        digests.append(f"sim {episodes.reading.sim}")  # which flags alone do not tell: auto is both
    return Dataset(
        format="aloha_hdf5",
        version=None,
        path=", ".join(dict.fromkeys(str(info.path.parent) for info in episodes.infos)),
        fps=episodes.infos[0].fps,
        robot_type=None,
        tasks=[],
        episodes=[
            UsedEpisode(
                number=number,
                source=info.path.name,
                dataset=str(info.path.parent),
                length=info.length,
            )
            for number, info in enumerate(episodes.infos)
        ],
        left_out=[],
        frames=sum(episodes.lengths),
        fingerprint=hashlib.sha256("".join(digests).encode()).hexdigest(),
    )
