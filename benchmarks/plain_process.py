"""The plain path's steps, in a process of its own: its memory is handled as upstream's is."""

import contextlib
import multiprocessing
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

import torch

from act.batches.loader import Pass
from act.processes.data_parallel import computation
from act.processes.group import Group
from act.training.setup import make_policy
from benchmarks.plain import make_plain, plain_loader
from benchmarks.workload import make_loader, seconds_each, step, wait_for
from episodes.episode_set import open_episodes
from lerobot_to_act import JobFlags


class PlainProcess:
    """Takes plain steps when asked to."""

    def __init__(
        self, flags: JobFlags, paths: list[Path], batch: int, device: torch.device
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # not a daemon: those may not have children, and a loader is one
        self._process = context.Process(target=_serve, args=(theirs, flags, paths, batch, device))
        self._process.start()
        theirs.close()

    def step_seconds(self, count: int) -> float:
        """Seconds of one of `count` steps on data that is there."""
        return self._ask(count, False)

    def both_seconds(self, count: int) -> float:
        """Seconds of one of `count` steps, each on a batch from a loader that is started for it."""
        return self._ask(count, True)

    def _ask(self, count: int, loading: bool) -> float:
        self._pipe.send((count, loading))
        found: float = self._pipe.recv()
        return found

    def __enter__(self) -> Self:
        self.step_seconds(1)  # so that it is warm
        return self

    def __exit__(self, *exc: object) -> None:
        self._pipe.close()
        self._process.join()


def _serve(
    pipe: Connection, flags: JobFlags, paths: list[Path], size: int, device: torch.device
) -> None:
    episodes = open_episodes(paths)
    policy = make_plain(make_policy(flags, episodes)[0]).to(device)
    network = computation(flags, policy, device, Group())
    optimizer = torch.optim.AdamW(
        [p.requires_grad_(True) for p in policy.parameters()],
        1e-5,
        weight_decay=1e-4,
        foreach=False,
    )
    with make_loader(episodes, size, 1, device) as loader:
        resident = next(loader.batches(Pass(0, train=True)))
        image = resident.image.permute(0, 1, 4, 2, 3) / 255.0
        resident = replace(resident, image=image.contiguous())

    def both(count: int) -> float:
        pinned = device.type == "cuda"
        loader = plain_loader(episodes, size, count, flags.chunk_size, pinned=pinned)
        started = time.perf_counter()
        for batch in loader:
            image, qpos, action, is_pad = (one.to(device) for one in batch)
            loaded = replace(resident, image=image, qpos=qpos, action=action, is_pad=is_pad)
            step(network, optimizer, loaded)
        wait_for(device)
        return (time.perf_counter() - started) / count

    with contextlib.suppress(EOFError):
        while True:
            count, loading = pipe.recv()
            if loading:
                pipe.send(both(count))
            else:
                pipe.send(seconds_each(lambda: step(network, optimizer, resident), count, device))
