"""A LeRobot ACT folder as a checkpoint of this project, and so of upstream's.

What the network of this project is not is refused by name: no action would be quite the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from act.export.lerobot_contract import Features, contract_of
from act.export.lerobot_layout import (
    ACTION,
    CONFIG,
    ENV_STATE,
    MODEL,
    PREPROCESSOR,
    STATE,
    to_ours,
)
from act.export.lerobot_processors import (
    Processor,
    is_left_as_it_is,
    read_processors,
    refuse_other_modes,
)
from act.export.lerobot_sizes import check_numbers, check_sizes, is_size
from act.export.refusals import not_ours
from act.load.packages import needed
from act.load.torch_backend import network_of
from act.network.position import sequence_position
from act.policies.act import LATENT_DIM
from act.policies.act_flags import NUM_HEADS
from act.policies.policy import IMAGENET_MEAN, IMAGENET_STD
from act.policies.weights import Weights
from job.errors import UsageError, first_line
from job.sections.contract import Contract
from job.whole_files import read_json, regular
from job.words import nearest

# What LeRobot's ACT may be and this project's is not: field, what it must be, the error's code.
_FIXED: tuple[tuple[str, Any, str], ...] = (
    ("type", "act", "import-policy"),
    ("n_obs_steps", 1, "import-obs-steps"),
    ("vision_backbone", "resnet18", "import-backbone"),
    ("replace_final_stride_with_dilation", False, "import-dilation"),
    ("pre_norm", False, "import-pre-norm"),
    ("feedforward_activation", "relu", "import-activation"),
    ("n_heads", NUM_HEADS, "import-heads"),
    ("latent_dim", LATENT_DIM, "import-latent"),
    ("use_peft", False, "import-peft"),
)
# LeRobot's own values where a folder of an older version lacks the field
_DEFAULTS: dict[str, Any] = {
    "n_obs_steps": 1,
    "use_peft": False,
    "use_vae": True,
    "normalization_mapping": dict.fromkeys(("VISUAL", "STATE", "ACTION"), "MEAN_STD"),
}


@dataclass(frozen=True)
class Imported:
    """A policy that was read, not yet on disk."""

    contract: Contract
    weights: Weights


def read_lerobot(folder: Path, run_name: str | None = None, fps: float | None = None) -> Imported:
    """Read a `pretrained_model` folder; raises UsageError where it is none, or cannot be ours.

    fps: of the control ticks in Hz, which LeRobot does not store; None: unknown
    """
    config = _config(folder)
    _refuse_other(folder, config)
    check_numbers(folder, config)
    features = _features(folder, config)
    where, modes = "normalization_mapping", config["normalization_mapping"]
    refuse_other_modes(folder, where, modes, _kinds(features).values())
    tensors = _tensors(folder / MODEL)
    check_sizes(folder, config, features, tensors)
    stats = _statistics(folder, config, tensors, features)
    contract = contract_of(folder, config, features, stats, run_name=run_name, fps=fps)
    return Imported(contract, _weights(folder, tensors, contract))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = read_json(path)
        if not isinstance(config, dict):
            raise ValueError(f"it is a {type(config).__name__}")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: cannot be read ({first_line(error)}), expected the configuration of a "
            f"LeRobot policy; give its pretrained_model folder",
            code="import-unreadable",
        ) from error
    return _DEFAULTS | config


def _refuse_other(folder: Path, config: Mapping[str, Any]) -> None:
    for field, expected, code in _FIXED:
        if config.get(field, expected) != expected:
            raise not_ours(folder, f"{field} is {config[field]!r}, expected {expected!r}", code)
    layers = config.get("n_encoder_layers"), config.get("n_vae_encoder_layers")
    if config["use_vae"] and layers[0] != layers[1]:
        what = f"n_vae_encoder_layers is {layers[1]!r}, expected {layers[0]!r} as n_encoder_layers"
        raise not_ours(folder, what, "import-vae-layers")


def _features(folder: Path, config: Mapping[str, Any]) -> Features:
    inputs: Any = config.get("input_features")
    outputs: Any = config.get("output_features")
    try:
        shapes = {name: tuple(one["shape"]) for name, one in {**inputs, **outputs}.items()}
        kinds = {name: one["type"] for name, one in {**inputs, **outputs}.items()}
        (state,), (action,) = shapes[STATE], shapes[ACTION]
        cameras = tuple(name for name in inputs if kinds[name] == "VISUAL")
        others = set(inputs) - {STATE, ENV_STATE, *cameras}
        sizes = {shapes[name][1:] for name in cameras}
        if others or set(outputs) != {ACTION} or len(sizes) > 1:
            raise ValueError(f"found {sorted(shapes)} of {sorted(shapes.values())}")
        if any(shapes[name][0] != 3 or len(shapes[name]) != 3 for name in cameras):
            raise ValueError("an image is not (3, height, width)")
        if not all(is_size(size) for shape in shapes.values() for size in shape):
            raise ValueError(f"found shapes {str(sorted(shapes.items()))[:200]}")
        expected = {STATE: "STATE", ACTION: "ACTION", ENV_STATE: "ENV"}
        wrong = [name for name, kind in expected.items() if kinds.get(name, kind) != kind]
        if wrong:
            raise ValueError(f"the type of {wrong[0]} is {kinds[wrong[0]]!r}")
        (env_state,) = shapes.get(ENV_STATE, (None,))
        size = (int(shapes[cameras[0]][1]), int(shapes[cameras[0]][2])) if cameras else None
        return Features(int(state), int(action), env_state, cameras, size)
    except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
        what = (
            f"its features are not ours ({type(error).__name__}: {first_line(error)}), expected "
            f"{STATE}, {ACTION}, images of one size, and {ENV_STATE} at most"
        )
        raise not_ours(folder, what, "import-features") from error


def _statistics(
    folder: Path, config: Mapping[str, Any], tensors: Weights, features: Features
) -> dict[str, Tensor]:
    """By LeRobot's name, such as `action.mean`; those that were used, nothing else."""
    processors = read_processors(folder, _kinds(features)) or {}
    found = _processor_statistics(processors) or _older_statistics(tensors, features)
    modes = processors[PREPROCESSOR].modes if processors else config["normalization_mapping"]
    if features.env_state is not None and is_left_as_it_is(modes, "ENV"):
        width = features.env_state
        found[f"{ENV_STATE}.mean"] = torch.zeros(width)
        found[f"{ENV_STATE}.std"] = torch.ones(width)
    needed_ones = [f"{STATE}.mean", f"{STATE}.std", f"{ACTION}.mean", f"{ACTION}.std"]
    if features.env_state is not None:
        needed_ones += [f"{ENV_STATE}.mean", f"{ENV_STATE}.std"]
    missing = [name for name in needed_ones if name not in found]
    if missing:
        what = f"the statistics lack {missing[0]}, expected mean and standard deviation of all"
        raise not_ours(folder, what, "import-statistics")
    _refuse_other_colours(folder, features, found)
    return found


def _refuse_other_colours(folder: Path, features: Features, stats: Mapping[str, Tensor]) -> None:
    for camera in features.cameras:
        for what, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            expected, given = torch.tensor(values), stats.get(f"{camera}.{what}")
            if given is not None and torch.allclose(given.flatten(), expected, atol=1e-5):
                continue
            shown = None if given is None else [round(v, 4) for v in given.flatten().tolist()]
            raise not_ours(
                folder,
                f"the {what} of {camera} is {shown}, expected ImageNet's {list(values)}",
                "import-image-statistics",
            )


def _processor_statistics(processors: Mapping[str, Processor]) -> dict[str, Tensor]:
    """What the processors' files hold."""
    found: dict[str, Tensor] = {}
    for name, processor in processors.items():
        into = name == PREPROCESSOR  # LeRobot puts all statistics into both
        every = _tensors(processor.statistics).items()
        found |= {n: one for n, one in every if n.startswith(f"{ACTION}.") != into}
    return found


def _kinds(features: Features) -> dict[str, str]:
    """The types of the features, in LeRobot's names."""
    kinds = {STATE: "STATE", ACTION: "ACTION"} | dict.fromkeys(features.cameras, "VISUAL")
    return kinds | ({} if features.env_state is None else {ENV_STATE: "ENV"})


def _older_statistics(tensors: Weights, features: Features) -> dict[str, Tensor]:
    """Before there were processors, they were buffers among the weights."""
    found = {}
    names = [STATE, ACTION, ENV_STATE, *features.cameras]
    for name in names:
        side = "unnormalize_outputs" if name == ACTION else "normalize_inputs"
        for what in ("mean", "std"):
            buffer = f"{side}.buffer_{name.replace('.', '_')}.{what}"
            if buffer in tensors:
                found[f"{name}.{what}"] = tensors[buffer]
    return found


def _weights(folder: Path, tensors: Weights, contract: Contract) -> Weights:
    """A whole checkpoint: what LeRobot leaves out is 0, as it reaches no action."""
    expected = network_of(contract).state_dict()
    given = to_ours(tensors)
    without_vae = not any(name.startswith("model.vae_encoder.") for name in tensors)
    optional = ["model.is_pad_head.", "model.pos_table"]
    if without_vae:
        optional += [
            *("model.encoder.", "model.cls_embed.", "model.latent_proj."),
            *("model.encoder_joint_proj.", "model.encoder_action_proj."),
        ]
    found = {}
    for name, tensor in expected.items():
        one = given.get(name)
        if one is None and name.startswith(tuple(optional)):
            one = _constant(name, tensor)
        if one is None or one.shape != tensor.shape:
            shape = None if one is None else tuple(one.shape)
            what = f"the weight {name} is {shape}, expected {tuple(tensor.shape)}"
            raise not_ours(folder, what + nearest(name, list(given), "weight"), "import-weights")
        found[name] = one.float().contiguous()
    known = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.", "model.backbone.fc")
    unknown = [name for name in given if name not in expected and not name.startswith(known)]
    unknown = [name for name in unknown if not name.endswith("num_batches_tracked")]
    if unknown:
        what = f"the weight {unknown[0]} is not known, expected those of LeRobot's ACT alone"
        raise not_ours(folder, what, "import-weights")
    return found


def _constant(name: str, tensor: Tensor) -> Tensor:
    if name == "model.pos_table":
        return sequence_position(*tensor.shape[1:])[None]
    return torch.zeros(tensor.shape)


def _tensors(path: Path) -> Weights:
    load_file = needed("safetensors.torch").load_file
    try:
        with open(path, "rb", opener=regular):  # it would wait at a pipe for ever
            pass
        found: Weights = load_file(path)
    except Exception as error:  # safetensors' own are of many classes
        raise UsageError(
            f"{path}: cannot be read ({type(error).__name__}: {first_line(error)[:200]}), "
            f"expected tensors as LeRobot writes them; copy the folder again",
            code="import-unreadable",
        ) from error
    return found
