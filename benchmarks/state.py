"""What saving the state costs training: one command, one figure.

    python -m benchmarks.state [--cameras 1] [--batch 8] [--size 120x160] [--device auto]

Steps of a network of upstream's size are timed with and without a state that is written beside
them, in turn. The image is small by default, as short steps show best what the writing takes from
them; the size of the state does not depend on it.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from act.batches.loader import Pass
from act.policies.weights import copy_weights
from act.processes.data_parallel import computation
from act.processes.device import choose_device, device_section
from act.processes.group import Group
from act.training.best import Best
from act.training.metrics import Metrics
from act.training.progress import Progress
from act.training.saver import Saver
from act.training.setup import make_policy
from act.training.state import Stateful
from benchmarks.workload import make_config, make_loader, numbers, step, wait_for, write_episodes
from job.machine import cpu_count, keep_freed_memory
from lerobot_to_act import JobFlags


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    device = choose_device(asked.device)
    if device.type == "cpu":
        keep_freed_memory()  # as training does
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        episodes = write_episodes(Path(folder), asked.cameras, asked)
        flags = make_config(asked, "auto")
        policy = make_policy(flags, episodes)[0].to(device)
        network = computation(flags, policy, device, Group())
        optimizer = torch.optim.AdamW(policy.parameter_groups(1e-5, 1e-5), fused=True)
        best, metrics, progress = Best(None), Metrics(None), Progress(device)
        best.weights = copy_weights(policy.state_dict())
        owners: dict[str, Stateful] = {
            "policy": policy,
            "optimizer": optimizer,
            "progress": progress,
            "best": best,
            "metrics": metrics,
        }
        saver = Saver(Path(folder), 0, owners)
        with make_loader(episodes, asked.batch, 1, device) as loader:
            batch = next(loader.batches(Pass(0, train=True)))

        def seconds(saved: bool) -> tuple[float, float]:
            """Of all steps, the state's writing included, and of what the loop waited for it."""
            started = time.perf_counter()
            if saved:
                saver.save(beside=True)
            held = time.perf_counter() - started
            for _ in range(asked.steps):
                step(network, optimizer, batch)
            wait_for(device)
            saver.wait()
            return time.perf_counter() - started, held

        step(network, optimizer, batch)
        costs, helds = [], []
        for _ in range(asked.rounds):
            without, _ = seconds(saved=False)
            with_state, held = seconds(saved=True)
            costs.append(with_state - without)
            helds.append(held)
            print(
                f"  {asked.steps} steps {without:.2f} s, with a state {with_state:.2f} s, "
                f"of which the loop waited {held:.2f} s"
            )
        size = (Path(folder) / "state.ckpt").stat().st_size
    interval = JobFlags.state_interval_minutes * 60
    cost = statistics.median(costs)
    print(
        f"{device_section(device).name}, {cpu_count()} cores: a state of "
        f"{size / 1e9:.2f} GB costs {cost:.2f} s of training (the loop waits "
        f"{statistics.median(helds):.2f} s), {cost / interval:.2%} of the time at one each "
        f"{JobFlags.state_interval_minutes:g} minutes"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=lambda text: numbers(text, "x"), default=(120, 160))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="in each round")
    parser.add_argument("--folder", type=Path, help="where the state is written")
    parser.set_defaults(episodes=2, length=10, compile="off", hidden_dim=512, dim_feedforward=3200)
    return parser.parse_args()


if __name__ == "__main__":
    main()
