"""The verdict on policies of which the answer is known: one command, one table.

    python -m benchmarks.verdict DATASET --good RUN [--output FOLDER] [--epochs N] [--record FILE]

DATASET has one camera, and enough episodes to hold some out; RUN was trained on it to a good rate
in simulation. The others are trained here, on its episodes at 60x80, each half of a frame a camera:

untrained  one epoch with a learning rate of nothing
shuffled   the actions of each episode in another order
swapped    the two cameras exchanged; evaluated on the episodes as they are
states     the states as the actions

--record writes what the verdicts rest on, which tests/test_verdict.py judges again.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.arrays import Frame
from episodes.episode_set import open_episodes
from episodes.folder import find_episodes
from episodes.frames import open_frames
from episodes.writer import write_episode
from job.output_names import CHECKPOINTS
from job.sections.evaluation import Evaluation

_ROOT = Path(__file__).parent.parent
_CAMERAS = ("left", "right")
_SIZE = "60x80"
_TRAINING = (
    "--task_name sim_transfer_cube --state_dim 0 --backbone_weights none --batch_size 8 "
    "--chunk_size 50 --hidden_dim 128 --dim_feedforward 256 --enc_layers 2 --dec_layers 2 "
    "--learning_rate 1e-4 --lr_backbone 1e-4 --eval_after_train off"
)
_DIGITS = 5

Vector = NDArray[np.float32]
Change = Callable[[dict[str, Vector], np.random.Generator], dict[str, Vector]]


@dataclass(frozen=True)
class Kind:
    """A policy that is no good, and why."""

    change: Change = lambda vectors, _: vectors
    cameras: tuple[str, ...] = _CAMERAS
    flags: Mapping[str, str] = field(default_factory=dict)
    on_whole: bool = False  # whether it is evaluated on the episodes as they are


def _shuffled(vectors: dict[str, Vector], random: np.random.Generator) -> dict[str, Vector]:
    return vectors | {"action": random.permutation(vectors["action"])}


def _states(vectors: dict[str, Vector], _: np.random.Generator) -> dict[str, Vector]:
    return vectors | {"action": vectors["qpos"]}


_SHORT = {"num_epochs": "20"}  # what is wrong with them shows at once

KINDS = {
    "untrained": Kind(flags={"num_epochs": "1", "learning_rate": "1e-12", "lr_backbone": "0"}),
    "shuffled": Kind(_shuffled, flags=_SHORT),
    "states": Kind(_states, flags=_SHORT),
    "swapped": Kind(cameras=_CAMERAS[::-1], on_whole=True),
}


def main() -> None:
    """Train, evaluate, print."""
    asked = _arguments()
    output = Path(asked.output)
    found = {}
    if asked.good:
        found["good"] = _evaluated(Path(asked.good), output, [])
    whole = _converted(asked.dataset, output)
    for name, kind in KINDS.items():
        episodes = _written(whole, output / "episodes" / name, kind)
        flags = {"num_epochs": str(asked.epochs), **kind.flags}
        words = [word for flag, value in flags.items() for word in (f"--{flag}", value)]
        _do("--input", episodes, "--output", output, "--run_name", name, *_TRAINING.split(), *words)
        as_they_are = output / "episodes" / "untrained"
        given: list[str | Path] = ["--input", as_they_are] if kind.on_whole else []
        found[name] = _evaluated(output / CHECKPOINTS / name, output, given)
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
    parser.add_argument("--epochs", type=int, default=60, help="of the training on swapped cameras")
    parser.add_argument("--record", help="a JSON file for what the verdicts rest on")
    return parser.parse_args()


def _do(*words: str | Path) -> None:
    command = [sys.executable, _ROOT / "entrypoint.py", *words]
    print("$", *(str(word) for word in words), file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr)


def _converted(dataset: str, output: Path) -> Path:
    folder = output / "converted"
    whole = ["--image_size", _SIZE, "--state_dim", "0", "--task_name", "sim_transfer_cube"]
    _do("convert", dataset, folder, *whole)
    return folder


def _written(whole: Path, folder: Path, kind: Kind) -> Path:
    """Episode files of that kind, each half of a frame a camera."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths = find_episodes(whole)
    episodes = open_episodes(paths)
    frames, random = open_frames(episodes), np.random.default_rng(0)
    height, width = episodes.image_size
    for number, info in enumerate(episodes.infos):
        vectors = {"action": episodes.action[number], "qpos": episodes.qpos[number]}
        vectors["qvel"] = np.zeros_like(vectors["qpos"])
        shapes = dict.fromkeys(_CAMERAS, (info.length, height, width // 2))
        attributes: dict[str, Any] = {"sim": True, "camera_names": list(_CAMERAS), "fps": info.fps}
        path = folder / f"episode_{number}.hdf5"
        with write_episode(path, kind.change(vectors, random), shapes, attributes) as writer:
            image: Frame = np.empty((1, *frames.shape), np.uint8)
            for ts in range(info.length):
                frames.copy_into(np.array([number]), np.array([ts]), image)
                halves = image[0, 0, :, : width // 2], image[0, 0, :, width // 2 :]
                for camera, half in zip(kind.cameras, halves, strict=True):
                    writer.write_frame(camera, ts, np.ascontiguousarray(half))
    frames.close()
    return folder


def _evaluated(run: Path, output: Path, given: list[str | Path]) -> Evaluation:
    """On a copy, so that the run stays as it is; given: flags for other episodes."""
    copy = output / "evaluated" / run.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("state.ckpt", "policy_epoch_*"))
    _do("evaluate", copy, "--minutes", "2", *given)
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
