"""Batches of six epochs of the small episodes."""

from dataclasses import replace

import torch

from act.batches.batch import Batch
from act.batches.loader import Loader, Pass
from act.batches.sampler import Sampler
from act.policies.statistics import norm_stats
from episodes.episode_set import Episodes

CPU = torch.device("cpu")


def batches(episodes: Episodes, device: torch.device = CPU, **changes: int) -> list[Batch]:
    changes = {"batch_size": 2, "threads": 2, "cached": 0, "decodes_jpegs": 0} | changes
    sampler = Sampler(episodes, 0, chunk_size=5, latent_dim=4, batch_size=changes["batch_size"])
    todo = [Pass(epoch, train=True) for epoch in range(6)]
    with Loader(
        sampler,
        norm_stats(episodes),
        [(one, [0, 1, 2]) for one in todo],
        threads=changes["threads"],
        device=device,
        cached=bool(changes["cached"]),
        decodes_jpegs=bool(changes["decodes_jpegs"]),
    ) as loader:
        # the loader uses its buffers again
        return [
            replace(batch, image=batch.image.clone())
            for one in todo
            for batch in loader.batches(one)
        ]
