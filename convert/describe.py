"""What the manifest says of a dataset and its conversion."""

from typing import Any

from convert.convert import Converted
from convert.plan import Dims


def describe_dataset(converted: Converted) -> dict[str, Any]:
    """The `dataset` section."""
    plan = converted.plan
    return {
        "format": "lerobot",
        "version": plan.dataset.version,
        "path": str(plan.dataset.root),
        "fps": float(plan.dataset.fps),
        "robot_type": plan.dataset.robot_type,
        "tasks": plan.dataset.tasks,
        "episodes": [
            {"number": number, "source": episode.index, "length": episode.length}
            for number, episode in enumerate(plan.episodes)
        ],
        "frames": sum(episode.length for episode in plan.episodes),
        "fingerprint": converted.fingerprint,
    }


def describe_conversion(converted: Converted) -> dict[str, Any]:
    """The `conversion` section."""
    plan, rate = converted.plan, converted.frames_per_second
    return {
        "sim": plan.sim,
        "cameras": [
            {"key": c.key, "name": c.name, "height": c.height, "width": c.width}
            for c in plan.cameras
        ],
        "qpos": _describe_dims(plan.qpos),
        "action": _describe_dims(plan.action),
        "qvel": "recorded" if plan.has_velocity else "zeros",
        "effort": "recorded" if plan.has_effort else "absent",
        "frames_per_second": None if rate is None else round(rate, 1),
    }


def _describe_dims(dims: Dims) -> dict[str, Any]:
    return {
        "key": dims.key,
        "source_dims": len(dims.names),
        "source_names": list(dims.names),
        "dims": dims.size,
        "padded": dims.padded,
        "cut": list(dims.cut),
    }
