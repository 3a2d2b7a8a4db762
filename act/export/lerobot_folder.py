"""`pretrained_model`: the folder that LeRobot's `from_pretrained` reads, processors included.

Its files are written by hand, in the layout of lerobot 0.4.4, which need not be installed.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from act.export.graph import own_width
from act.export.lerobot_layout import (
    ACTION,
    CONFIG,
    ENV_STATE,
    EPS,
    MODEL,
    POSTPROCESSOR,
    PREPROCESSOR,
    STATE,
    camera_key,
    computed_layers,
    to_lerobot,
)
from act.load.packages import needed
from act.load.source import Source
from act.policies.policy import IMAGENET_MEAN, IMAGENET_STD
from act.policies.weights import load_weights
from job.errors import UsageError
from job.sections.contract import Contract, Vector

FOLDER = "pretrained_model"
_NORM_MAP = {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "MEAN_STD", "ENV": "MEAN_STD"}


def write_lerobot(source: Source, folder: Path) -> list[Path]:
    """Write the files of `pretrained_model` into `folder`; returns their paths.

    source: of a policy that `refuse_unrepresentable` lets pass
    Raises UsageError without safetensors.
    """
    contract = source.contract
    save = needed("safetensors.torch").save
    files = folder / FOLDER
    files.mkdir(parents=True)
    stats = _statistics(contract)
    _write(files / CONFIG, _config(contract))
    weights = to_lerobot(load_weights(source.checkpoint), contract)
    # whole in memory: safetensors itself writes files that their owner alone may read
    (files / MODEL).write_bytes(save(weights, metadata={"format": "pt"}))
    for name, steps in _processors(contract).items():
        for number, step in enumerate(steps):
            if "norm_map" in step["config"]:
                step["state_file"] = f"{name}_step_{number}_{step['registry_name']}.safetensors"
                (files / step["state_file"]).write_bytes(save(stats))
        _write(files / f"{name}.json", {"name": name, "steps": steps})
    return sorted(files.iterdir())


def refuse_unrepresentable(contract: Contract) -> None:
    """Raise UsageError for what LeRobot's ACT cannot be."""
    if contract.policy_class != "ACT":
        found, expected = f"policy_class is {contract.policy_class}", "ACT"
    elif not contract.cameras and contract.env_state is None:
        found, expected = "the policy sees the state alone", "a camera or an environment state"
    else:
        return
    raise UsageError(
        f"--format lerobot: {found}, expected {expected}, as LeRobot's ACT cannot be it; export it "
        f"as onnx or torch_export",
        code="export-unrepresentable",
    )


def notes(contract: Contract) -> list[str]:
    """What a user of LeRobot must know besides."""
    said = []
    vectors = {STATE: contract.state, ACTION: contract.action, ENV_STATE: contract.env_state}
    for feature, vector in vectors.items():
        if vector is not None and vector.features not in (None, [feature]):
            said.append(f"{feature} is {', '.join(vector.features)} of the dataset, joined.")
    if any(camera.key is None for camera in contract.cameras):
        said.append("The cameras' features are made of their names: the data had no LeRobot keys.")
    if contract.cameras:
        said.append("LeRobot does not resize images: give it frames of the size in images.")
    return said


def _config(contract: Contract) -> dict[str, Any]:
    network, execution = contract.network, contract.execution
    ensembles = execution.mode == "temporal_ensembling"
    return {
        "type": "act",
        "n_obs_steps": 1,
        "input_features": _inputs(contract),
        "output_features": {ACTION: _feature("ACTION", [own_width(contract.action)])},
        "device": None,  # LeRobot takes the best that is there
        "use_amp": False,
        "chunk_size": contract.action.chunk_size,
        "n_action_steps": 1 if ensembles else execution.horizon,  # LeRobot ensembles with no other
        "normalization_mapping": _NORM_MAP,
        "vision_backbone": "resnet18",
        "pretrained_backbone_weights": None,  # else LeRobot downloads what it then replaces
        "replace_final_stride_with_dilation": False,
        "pre_norm": False,
        "dim_model": network.hidden_dim,
        "n_heads": network.num_heads,
        "dim_feedforward": network.dim_feedforward,
        "feedforward_activation": "relu",
        "n_encoder_layers": network.enc_layers,
        "n_decoder_layers": computed_layers(contract),
        "use_vae": True,
        "latent_dim": network.latent_dim,
        "n_vae_encoder_layers": network.enc_layers,
        "temporal_ensemble_coeff": execution.ensembling_weight if ensembles else None,
    }


def _inputs(contract: Contract) -> dict[str, Any]:
    """In the policy's order, which is that of LeRobot's tokens."""
    found = {STATE: _feature("STATE", [own_width(contract.state)])}
    for camera in contract.cameras:
        found[camera_key(camera)] = _feature("VISUAL", [3, camera.height, camera.width])
    if contract.env_state is not None:
        found[ENV_STATE] = _feature("ENV", [own_width(contract.env_state)])
    return found


def _feature(kind: str, shape: list[int]) -> dict[str, Any]:
    return {"type": kind, "shape": shape}


def _processors(contract: Contract) -> dict[str, list[dict[str, Any]]]:
    inputs, action = _inputs(contract), {ACTION: _feature("ACTION", [own_width(contract.action)])}
    into = {"eps": EPS, "features": inputs | action, "norm_map": _NORM_MAP}
    out = {"eps": EPS, "features": action, "norm_map": _NORM_MAP}
    on_cpu = {"device": "cpu", "float_dtype": None}  # LeRobot's commands put theirs in its place
    return {
        PREPROCESSOR: [
            _step("rename_observations_processor", {"rename_map": {}}),
            _step("to_batch_processor", {}),
            _step("device_processor", on_cpu),
            _step("normalizer_processor", into),
        ],
        POSTPROCESSOR: [
            _step("unnormalizer_processor", out),
            _step("device_processor", on_cpu),
        ],
    }


def _step(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"registry_name": name, "config": config}


def _statistics(contract: Contract) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    given = contract.statistics
    vectors = [
        (STATE, contract.state, given.qpos_mean, given.qpos_std),
        (ACTION, contract.action, given.action_mean, given.action_std),
    ]
    if contract.env_state is not None:
        assert given.env_state_mean is not None, "the contract is checked"
        assert given.env_state_std is not None, "the contract is checked"
        vectors.append((ENV_STATE, contract.env_state, given.env_state_mean, given.env_state_std))
    for feature, vector, mean, std in vectors:
        width = own_width(vector)
        found |= {f"{feature}.mean": _tensor(mean[:width]), f"{feature}.std": _tensor(std[:width])}
        found |= _ranges(feature, vector)
    for camera in contract.cameras:
        for what, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            found[f"{camera_key(camera)}.{what}"] = _tensor(list(values)).view(3, 1, 1)
    return found


def _ranges(feature: str, vector: Vector) -> dict[str, Tensor]:
    """Of no use to this policy, but what LeRobot's statistics have."""
    dims = vector.dims[: own_width(vector)]
    low, high = [dim.minimum for dim in dims], [dim.maximum for dim in dims]
    if None in low or None in high:
        return {}
    return {f"{feature}.min": _tensor(low), f"{feature}.max": _tensor(high)}


def _tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
