"""A policy of a few thousand weights, and a batch for it."""

from typing import Any

import torch

from act.batches.batch import Samples
from act.network.act import ACT
from act.policies.act import ACTPolicy

TINY: dict[str, Any] = {
    "qpos_dim": 5,
    "action_dim": 3,
    "chunk_size": 4,
    "hidden_dim": 16,
    "dim_feedforward": 24,
    "num_heads": 2,
    "dropout": 0.0,
}


def tiny_batch(image_size: tuple[int, int] = (32, 64)) -> Samples:
    random = torch.Generator().manual_seed(0)
    return Samples(
        qpos=torch.randn(2, 5, generator=random),
        image=torch.randint(0, 256, (2, 2, *image_size, 3), dtype=torch.uint8, generator=random),
        action=torch.randn(2, 7, 3, generator=random),
        is_pad=torch.arange(7) >= torch.tensor([[7], [3]]),
        eps=torch.randn(2, 32, generator=random),
    )


def tiny_policy(**knobs: Any) -> ACTPolicy:
    torch.manual_seed(0)
    return ACTPolicy(ACT(**(TINY | knobs)), kl_weight=10)
