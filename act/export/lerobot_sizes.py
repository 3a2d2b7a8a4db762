"""The sizes that a LeRobot policy's configuration gives, against the weights beside it.

Before anything is built of them: a size of 10**9 takes all memory, a weight of it cannot be there.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from act.export.lerobot_contract import Features
from act.export.lerobot_layout import CONFIG
from act.export.refusals import not_ours
from act.policies.act_flags import NUM_HEADS
from job.errors import UsageError

_SIZES = ("chunk_size", "dim_model", "dim_feedforward", "n_encoder_layers", "n_decoder_layers")


def check_numbers(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise UsageError for a size or an execution that is no number in its range."""
    for field in (*_SIZES, "n_action_steps"):
        if not is_size(config.get(field)):
            raise _no_number(folder, field, config.get(field), "a whole number of 1 or more")
    if config["n_action_steps"] > config["chunk_size"]:
        expected = f"at most chunk_size, {config['chunk_size']}"
        raise _no_number(folder, "n_action_steps", config["n_action_steps"], expected)
    if config["dim_model"] % NUM_HEADS:
        expected = f"a multiple of {NUM_HEADS}, the number of heads"
        raise _no_number(folder, "dim_model", config["dim_model"], expected)
    weight = config.get("temporal_ensemble_coeff")
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if weight is not None and not (is_number and math.isfinite(weight)):
        raise _no_number(folder, "temporal_ensemble_coeff", weight, "a finite number, or null")


def is_size(value: Any) -> bool:
    """Whether it is a whole number of at least 1 that no arithmetic overflows with."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 1 << 31


def check_sizes(
    folder: Path, config: Mapping[str, Any], features: Features, weights: Mapping[str, Tensor]
) -> None:
    """Raise UsageError where the weights, by LeRobot's names, are of other sizes."""
    width, chunk = config["dim_model"], config["chunk_size"]
    expected = {
        "model.encoder_robot_state_input_proj.weight": (width, features.state),
        "model.action_head.weight": (features.action, width),
        "model.decoder_pos_embed.weight": (chunk, width),
        "model.encoder.layers.0.linear1.weight": (config["dim_feedforward"], width),
    }
    if features.env_state is not None:
        name = "model.encoder_env_state_input_proj.weight"
        expected[name] = (width, features.env_state)
    for name, shape in expected.items():
        found = tuple(weights[name].shape) if name in weights else None
        if found != shape:
            what = f"the weight {name} is {found}, expected {shape} by {CONFIG}"
            raise not_ours(folder, what, "import-weights")
    for kind in ("encoder", "decoder"):
        layer = re.compile(rf"model\.{kind}\.layers\.(\d+)\.")
        layers = len({one[1] for one in map(layer.match, weights) if one})
        if layers != config[f"n_{kind}_layers"]:
            what = f"the weights have {layers} layers of the {kind}"
            expected_layers = f"{config[f'n_{kind}_layers']} by {CONFIG}"
            raise not_ours(folder, f"{what}, expected {expected_layers}", "import-weights")


def _no_number(folder: Path, field: str, found: Any, expected: str) -> UsageError:
    return UsageError(
        f"{folder / CONFIG}: {field} is {str(found)[:100]}, expected {expected}; save the policy "
        f"with lerobot 0.4 again",
        code="import-unreadable",
    )
