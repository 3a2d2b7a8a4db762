"""The verdict on policies of which the answer is known: one command, one table.

    python -m benchmarks.verdict DATASET --good RUN [--output FOLDER] [--record FILE]

DATASET has enough episodes to hold some out; RUN was trained on it to a good rate in simulation.
The others are trained here, on its episodes at 60x80:

untrained  one epoch with a learning rate of nothing
shuffled   the actions of each episode in another order
states     the states as the actions
swapped    the camera's pictures of another episode

--record writes what the verdicts rest on, which tests/test_verdict.py judges again.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from episodes.folder import find_episodes
from job.output_names import CHECKPOINTS
from job.sections.evaluation import Evaluation

_ROOT = Path(__file__).parent.parent
_CONVERSION = "--image_size 60x80 --state_dim 0 --task_name sim_transfer_cube"
_TRAINING = (
    "--task_name sim_transfer_cube --state_dim 0 --backbone_weights none --batch_size 8 "
    "--chunk_size 50 --hidden_dim 128 --dim_feedforward 256 --enc_layers 2 --dec_layers 2 "
    "--eval_after_train off --report off"
)
_RATES = "--learning_rate {0} --lr_backbone {0}"
_DIGITS = 5

Change = Callable[[h5py.File, h5py.File], None]  # of an episode; the next one is to read from


def _nothing(_: h5py.File, __: h5py.File) -> None:
    pass


def _shuffle(file: h5py.File, _: h5py.File) -> None:
    actions = file["action"]
    actions[:] = np.random.default_rng(len(actions)).permutation(actions[:])


def _states(file: h5py.File, _: h5py.File) -> None:
    file["action"][:] = file["observations/qpos"][:]


def _swap(file: h5py.File, other: h5py.File) -> None:
    for pictures in file["observations/images"].values():
        pictures[:] = other[pictures.name][:]


@dataclass(frozen=True)
class Kind:
    """A policy that is no good, and why."""

    change: Change
    epochs: int = 20  # what is wrong shows at once
    learning_rate: float = 1e-4


KINDS = {
    "untrained": Kind(_nothing, epochs=1, learning_rate=1e-12),
    "shuffled": Kind(_shuffle),
    "states": Kind(_states),
    "swapped": Kind(_swap, epochs=100),
}


def main() -> None:
    """Train, evaluate, print."""
    asked = _arguments()
    output = Path(asked.output)
    found = {"good": _evaluated(Path(asked.good), output)} if asked.good else {}
    whole = output / "converted"
    _do("convert", asked.dataset, whole, *_CONVERSION.split())
    for name, kind in KINDS.items():
        episodes = _changed(whole, output / "episodes" / name, kind.change)
        flags = f"{_TRAINING} {_RATES.format(kind.learning_rate)} --num_epochs {kind.epochs}"
        _do("--input", episodes, "--output", output, "--run_name", name, *flags.split())
        found[name] = _evaluated(output / CHECKPOINTS / name, output)
    print("\n".join(_table(found)))
    if asked.record:
        recorded = {name: _facts(one) for name, one in found.items()}
        Path(asked.record).write_text(json.dumps(recorded) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="the LeRobot dataset")
    parser.add_argument("--good", help="a run that works, with the dataset where it was")
    parser.add_argument("--output", default="out/verdict", help="where the others go")
    parser.add_argument("--record", help="a JSON file for what the verdicts rest on")
    return parser.parse_args()


def _do(*words: str | Path) -> None:
    command = [sys.executable, _ROOT / "entrypoint.py", *words]
    print("$", *(str(word) for word in words), file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr)


def _changed(whole: Path, folder: Path, change: Change) -> Path:
    """Copies of the episode files, each changed; the next of the last is the first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths = find_episodes(whole)
    for path, other in zip(paths, [*paths[1:], paths[0]], strict=True):
        copy = shutil.copy(path, folder)
        with h5py.File(copy, "r+") as file, h5py.File(other) as next_file:
            change(file, next_file)
    return folder


def _evaluated(run: Path, output: Path) -> Evaluation:
    """On a copy, so that the run stays as it is."""
    copy = output / "evaluated" / run.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("state.ckpt", "policy_epoch_*"))
    _do("evaluate", copy, "--minutes", "2")
    return Evaluation.model_validate_json((copy / "evaluation.json").read_bytes())


def _table(found: Mapping[str, Evaluation]) -> list[str]:
    rows = ["| policy | verdict | rule | what was found |", "| --- | --- | --- | --- |"]
    for name, one in found.items():
        reason = one.verdict.reasons[0]
        rows.append(f"| {name} | {one.verdict.answer} | `{reason.rule}` | {reason.text} |")
    return rows


def _facts(record: Evaluation) -> Any:
    """What the rules look at, in few digits."""
    content = record.model_dump(mode="json")
    chosen = record.recommendation.checkpoint
    [best] = [one for one in content["checkpoints"] if one["name"] == chosen]
    kept = {name: content[name] for name in ("baselines", "look", "distance", "held_out")}
    return _rounded({"best": best, **kept})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
