"""An evaluation.json by hand, of a policy that is well."""

from collections.abc import Sequence
from typing import Any

from job.sections.evaluation import Evaluation
from job.sections.section import Time

NOW: Time = "2026-01-01T00:00:00+00:00"
ERROR, BASELINE = 0.06, 0.6
CHUNK = 20


def evaluation(dims: Sequence[str] = ("arm", "gripper"), camera: str = "top") -> Evaluation:
    """With one checkpoint, one baseline and one camera."""
    reason: dict[str, Any] = {"rule": "close-to-demonstrations", "answer": "yes", "numbers": {}}
    checkpoint = {"name": "best", "file": "policy_best.ckpt", "sha256": "0" * 64, "epoch": 3}
    checkpoint |= {"errors": _errors(ERROR, dims), "above_lowest": _interval(0.0)}
    spoiled = {"name": camera, "blanked": 3.0, "frozen": 2.0, "other_episode": 2.5}
    advice = {"checkpoint": "best", "file": "policy_best.ckpt", "mode": "open_loop"}
    return Evaluation.model_validate(
        {
            "schema_version": "1.0",
            "created_at": NOW,
            "seconds": 1.0,
            "training_seconds": 100.0,
            "complete": True,
            "source": "dataset",
            "held_out": True,
            "episodes": [{"number": n, "source": n, "length": 9, "frames": 9} for n in range(3)],
            "stride": 1,
            "lag_steps": 1,
            "checkpoints": [checkpoint | {"distinguishable": False}],
            "baselines": [{"name": "hold", "errors": _errors(BASELINE, dims)}],
            "replay": [],
            "look": {
                "frames": 9,
                "ablations": [spoiled | {"change_in_std": 0.4, "ignored": False}],
                "exchanged": [],
                "spread_ratio": 1.0,
                "constant_dims": [],
                "attention": None,
            },
            "distance": None,
            "recommendation": advice | {"horizon": 20, "ensembling_weight": 0.01, "reason": "r"},
            "verdict": {
                "answer": "yes",
                "reasons": [reason | {"text": "it is better", "next_step": None}],
                "not_seen": ["closed loop"],
            },
            "versions": {"project": "0.1.0", "python": "3.11", "torch": None},
            "commit": None,
        }
    )


def _interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": 0.9 * mean, "high": 1.1 * mean}


def _errors(error: float, dims: Sequence[str]) -> dict[str, Any]:
    return {
        "mae_in_std": _interval(error),
        "mse_in_std": error**2,
        "by_episode": [error] * 3,
        "by_position": [error] * CHUNK,
        "dims": [
            {"name": name, "mae": error, "mse": error**2, "mae_in_std": error} for name in dims
        ],
    }
