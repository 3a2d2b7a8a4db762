"""The frozen norms of a network without pretrained weights: statistics of the dataset's frames."""

from pathlib import Path

import torch
from torch import Tensor, nn

from act.network.backbone import FrozenNorm
from act.policies.frozen_norms import FRAMES, set_statistics
from act.training.setup import make_policy
from episodes.episode_set import open_episodes
from tests.support.commands import make_config
from tests.support.episodes import CAMERAS, write_episodes


def test_each_norm_gives_mean_0_and_variance_1(tmp_path: Path) -> None:
    episodes = open_episodes(write_episodes(tmp_path, "raw"), CAMERAS)
    policy, _ = make_policy(make_config(tmp_path), episodes)
    backbone = policy.model.backbones[0][0]
    images: list[Tensor] = []
    seeing = backbone.register_forward_pre_hook(lambda _, inputs: images.append(inputs[0]))
    set_statistics(policy, episodes, [0, 2], 0, torch.device("cpu"))
    seeing.remove()
    norms: list[Tensor] = []

    def conv_norm(conv: nn.Conv2d, norm: FrozenNorm, x: Tensor) -> Tensor:
        out = norm(conv(x))
        norms.append(out.clone())  # what comes after works in place
        return out

    [image] = images
    assert len(image) == FRAMES
    backbone(image, conv_norm)
    assert len(norms) == 20
    for out in norms:
        variance = out.var(dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(
            out.mean(dim=(0, 2, 3)), torch.zeros_like(variance), atol=1e-3, rtol=0
        )
        # 0 where a channel is the same in all frames, which are of one colour each
        assert ((variance - 1).abs() < 0.02).float().mean() > 0.9


def test_the_same_seed_gives_the_same_statistics(tmp_path: Path) -> None:
    episodes = open_episodes(write_episodes(tmp_path, "raw"), CAMERAS)
    policy, _ = make_policy(make_config(tmp_path), episodes)
    found = []
    for seed in (0, 0, 1):
        set_statistics(policy, episodes, [0, 1, 2], seed, torch.device("cpu"))
        found.append(policy.state_dict()["model.backbones.0.0.body.bn1.running_mean"].clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
