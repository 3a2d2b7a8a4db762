"""How long it takes from a dataset to a policy, and how often that policy succeeds: one table.

    python -m benchmarks.time_to_policy DATASET [--env aloha_transfer_cube] [--recipe fast]
        [--seeds 0,1] [--episodes 400] [--checkpoints average] [--training "--flag value …"]

For each seed one job, from the dataset to its verdict, and then the simulation, whose time is not
counted. The same command, called again after an interruption, resumes the job that is there and
does not repeat what is done; other flags need another --output. The time of a job is that of all
its attempts:

before    until the training begins: the imports, the check, the conversion
steps     the steps of the training, and waiting for their data
rest      of the training: validation, averages, checkpoints, curves; steps lost to an interruption
after     evaluation and report
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from act.simulate.results import result_name
from benchmarks.rates import percent
from job.machine import processor_name
from job.output_names import CHECKPOINTS, METRICS, STATUS
from job.sections.simulation import Simulation
from job.whole_files import write_json

_ROOT = Path(__file__).parent.parent
_POLL_S = 0.2


@dataclass
class Seconds:
    """Of the phases of a job, over all its attempts."""

    before: float = 0.0
    train: float = 0.0
    after: float = 0.0
    is_done: bool = False

    @property
    def total(self) -> float:
        return self.before + self.train + self.after


def main() -> int:
    """Train and simulate each seed; 1 where a rate is below the one that is asked for."""
    asked = _arguments()
    rows, reached = [], True
    for seed in asked.seeds.split(","):
        name = f"{asked.recipe}_{seed}"
        run = asked.output / CHECKPOINTS / name
        seconds = _train(asked, name, seed, run)
        found = _simulated(asked, run)
        rows += list(_rows(name, seconds, _steps_s(run), found))
        reached &= all(one.success.low >= asked.rate for one in found.rollouts)
    print(f"\n{processor_name()}, {asked.dataset}, {asked.env}, {asked.episodes} episodes\n")
    print("\n".join([*_head(), *rows]))
    return int(not reached)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset")
    parser.add_argument("--env", default="aloha_transfer_cube")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--checkpoints", default="average")
    parser.add_argument("--rate", type=float, default=0.0, help="lower end of 95 %% that is asked")
    parser.add_argument(
        "--training",
        default="--task_name sim_transfer_cube --state_dim 0 --sim true --backbone_weights none",
        help="more flags of the job, in one word",
    )
    parser.add_argument("--output", type=Path, default=Path("out/time_to_policy"))
    return parser.parse_args()


def _train(asked: argparse.Namespace, name: str, seed: str, run: Path) -> Seconds:
    """Run the job, or what is left of it; a job that is done takes no time."""
    record = asked.output / f"seconds_{name}.json"
    seconds = Seconds(**json.loads(record.read_text())) if record.exists() else Seconds()
    words = ["--input", asked.dataset, "--output", str(asked.output), "--recipe", asked.recipe]
    words += ["--run_name", name, "--seed", seed, *shlex.split(asked.training)]
    if not seconds.is_done:
        asked.output.mkdir(parents=True, exist_ok=True)
        if code := _timed(words, run, seconds, record):
            sys.exit(code)
        seconds.is_done = True
        write_json(record, asdict(seconds))
    return seconds


def _timed(words: Sequence[str], run: Path, seconds: Seconds, record: Path) -> int:
    """Run a job, its seconds by the phase that status.json names, kept as they pass."""
    process = subprocess.Popen([sys.executable, _ROOT / "entrypoint.py", *words])
    before = (run / STATUS).stat().st_mtime_ns if (run / STATUS).exists() else 0
    looked = time.monotonic()
    try:
        while process.poll() is None:
            time.sleep(_POLL_S)
            now, phase = time.monotonic(), _phase(run, before)
            setattr(seconds, phase, getattr(seconds, phase) + now - looked)
            looked = now
            write_json(record, asdict(seconds))
    except KeyboardInterrupt:
        process.wait()
        raise
    return process.wait()


def _phase(run: Path, before: int) -> str:
    """The phase of a job; before: when an earlier attempt wrote its status for the last time."""
    path = run / STATUS
    if not path.exists() or path.stat().st_mtime_ns <= before:
        return "before"
    status = json.loads(path.read_text())
    if status["status"] != "running":
        return "after"
    return "train" if status["phase"] == "train" else "before"


def _steps_s(run: Path) -> float:
    rows = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    return float(sum(row["compute_s"] + row["wait_s"] for row in rows))


def _simulated(asked: argparse.Namespace, run: Path) -> Simulation:
    path = run / f"{result_name(asked.env)}.json"
    stored = Simulation.model_validate_json(path.read_text()) if path.exists() else None
    if stored is None or stored.rollouts[0].success.of != asked.episodes:
        words = ["simulate", str(run), "--env", asked.env, "--episodes", str(asked.episodes)]
        words += ["--checkpoints", asked.checkpoints, "--videos", "0"]
        code = subprocess.run(
            [sys.executable, _ROOT / "entrypoint.py", *words], check=False
        ).returncode
        if code:
            sys.exit(code)
    return Simulation.model_validate_json(path.read_text())


def _head() -> Iterator[str]:
    names = ["run", "checkpoint", "success, % (95 %)", "before, s", "steps", "rest", "after"]
    yield _row([*names, "minutes in all"])
    yield _row(["---"] * (len(names) + 1))


def _rows(name: str, seconds: Seconds, steps_s: float, found: Simulation) -> Iterator[str]:
    phases = [seconds.before, steps_s, seconds.train - steps_s, seconds.after]
    for one in found.rollouts:
        counted = f"{percent(one.success)}, {one.success.count} of {one.success.of}"
        minutes = f"{seconds.total / 60:.1f}"
        yield _row([name, one.name, counted, *(f"{s:.0f}" for s in phases), minutes])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
