"""The table of success rates, in percent with 95 % intervals: one command, one table.

    python -m benchmarks.rates RUN … --env aloha_transfer_cube [a flag of `simulate` …]
    python -m benchmarks.rates --dataset FOLDER --output FOLDER --env aloha_transfer_cube …
    python -m benchmarks.rates --stored RUN/simulation_aloha_transfer_cube.json …

The first simulates each run, the second trains the run of docs/benchmarks.md on the dataset before
(or resumes it), the third prints what was simulated before. Everything else is given to `simulate`:
--episodes 200, --checkpoints best,last, --ways contract,temporal_agg, --seed and so on.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from act.simulate.results import result_name
from job.output_names import CHECKPOINTS
from job.sections.simulation import Rate, Simulation

_ROOT = Path(__file__).parent.parent
_RUN = "cube"
# The run of 50 episodes in docs/benchmarks.md
_TRAINING = (
    f"--run_name {_RUN} --task_name sim_transfer_cube --num_epochs 1500 --image_size 120x160 "
    "--hidden_dim 256 --dim_feedforward 1024 --batch_size 8 --learning_rate 1e-4 "
    "--lr_backbone 1e-4 --backbone_weights none --precision bf16 --state_dim 0"
)


def main() -> None:
    """Train where that is asked for, simulate, and print."""
    asked, simulating = _arguments()
    runs = list(asked.runs)
    if asked.dataset:
        words = ["--input", asked.dataset, "--output", asked.output, *_TRAINING.split()]
        _do([*words, *asked.training.split()])
        runs.append(str(Path(asked.output, CHECKPOINTS, _RUN)))
    found = [Path(path) for path in asked.stored]
    for run in runs:
        _do(["simulate", run, "--env", asked.env, *simulating])
        folder = Path(run) if Path(run).is_dir() else Path(run).parent
        found.append(folder / f"{result_name(asked.env)}.json")
    print("\n".join(table(found)))


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="*", help="folders of runs")
    parser.add_argument("--env", default="aloha_transfer_cube")
    parser.add_argument("--stored", nargs="+", default=[], help="simulation_<env>.json of before")
    parser.add_argument("--dataset", help="the 50 episodes, to train on first")
    parser.add_argument("--training", default="", help="more flags of that training, in one word")
    parser.add_argument("--output", default="out/rates", help="where that run is")
    return parser.parse_known_args()


def _do(words: Sequence[str]) -> None:
    code = subprocess.run([sys.executable, _ROOT / "entrypoint.py", *words], check=False).returncode
    if code:
        sys.exit(code)


def table(paths: Sequence[Path]) -> Iterator[str]:
    """A Markdown table of stored simulations."""
    stored = [(path, Simulation.model_validate_json(path.read_text())) for path in paths]
    stages = list(
        dict.fromkeys(one.name for _, s in stored for r in s.rollouts for one in r.stages)
    )
    head = ["run", "checkpoint", "executed", "success, % (95 %)", *(f"{one}, %" for one in stages)]
    head += ["episodes", "path", "jerk", "s per episode"]
    yield _row(head)
    yield _row(["---"] * len(head))
    for path, one in stored:
        for rollouts in one.rollouts:
            rates = {stage.name: f"{100 * stage.rate.rate:.0f}" for stage in rollouts.stages}
            yield _row(
                [
                    path.parent.name,
                    rollouts.name,
                    _executed(rollouts.mode, rollouts.horizon, rollouts.ensembling_weight),
                    percent(rollouts.success),
                    *(rates.get(stage, "") for stage in stages),
                    str(rollouts.success.of),
                    _beside(rollouts.path_length, one.demonstrated_path_length),
                    _beside(rollouts.jerk, one.demonstrated_jerk),
                    f"{rollouts.seconds_per_episode:.1f}",
                ]
            )


def percent(rate: Rate) -> str:
    """A rate and its interval."""
    return f"{100 * rate.rate:.0f} ({100 * rate.low:.0f} to {100 * rate.high:.0f})"


def _executed(mode: str, horizon: int | None, weight: float | None) -> str:
    return f"{horizon} actions of a chunk" if mode == "open_loop" else f"ensembling, {weight:g}"


def _beside(value: float | None, demonstrated: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" + (f" (demonstrated {demonstrated:.3g})" if demonstrated else "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(re.sub(r'[|]', '/', cell) for cell in cells)} |"


if __name__ == "__main__":
    main()
