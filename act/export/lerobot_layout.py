"""How LeRobot's ACT (0.4.4) names and shapes what this project's checkpoint holds.

Both come from upstream's network; LeRobot has renamed its modules, and left out the decoder's
layers that reach no head, and the head of the padding.

A action dims   Q state dims   D hidden
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from act.export.graph import own_width
from act.policies.weights import Weights
from job.sections.contract import Camera, Contract
from job.sections.export import Tensor as TensorSection

STATE, ACTION = "observation.state", "action"
ENV_STATE, IMAGES = "observation.environment_state", "observation.images."
CONFIG, MODEL = "config.json", "model.safetensors"
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor", "policy_postprocessor"
EPS = 1e-8  # LeRobot divides by the standard deviation and this

# ours, LeRobot's: the beginnings of names; the longer of two that fit counts
_PREFIXES = {
    "model.encoder.": "model.vae_encoder.",
    "model.pos_table": "model.vae_encoder_pos_enc",
    "model.cls_embed.": "model.vae_encoder_cls_embed.",
    "model.encoder_joint_proj.": "model.vae_encoder_robot_state_input_proj.",
    "model.encoder_action_proj.": "model.vae_encoder_action_input_proj.",
    "model.latent_proj.": "model.vae_encoder_latent_output_proj.",
    "model.latent_out_proj.": "model.encoder_latent_input_proj.",
    "model.backbones.0.0.body.": "model.backbone.",
    "model.input_proj.": "model.encoder_img_feat_input_proj.",
    "model.input_proj_robot_state.": "model.encoder_robot_state_input_proj.",
    "model.input_proj_env_state.": "model.encoder_env_state_input_proj.",
    "model.additional_pos_embed.": "model.encoder_1d_feature_pos_embed.",
    "model.transformer.encoder.": "model.encoder.",
    "model.transformer.decoder.": "model.decoder.",
    "model.query_embed.": "model.decoder_pos_embed.",
    "model.action_head.": "model.action_head.",
}
_OURS = {theirs: ours for ours, theirs in _PREFIXES.items()}
_NOT_THEIRS = "model.is_pad_head."
_DECODER_LAYER = "model.transformer.decoder.layers."

# Columns of the first, rows of the others, are dims that --state_dim may have added.
_OF_STATE = ("model.encoder_joint_proj.weight", "model.input_proj_robot_state.weight")
_OF_ENV_STATE = ("model.input_proj_env_state.weight",)
_OF_ACTION_IN = ("model.encoder_action_proj.weight",)
_OF_ACTION_OUT = ("model.action_head.weight", "model.action_head.bias")


def camera_key(camera: Camera) -> str:
    """The feature that holds a camera's images: the dataset's, else one of the camera's name."""
    return camera.key or f"{IMAGES}{camera.name}"


def computed_layers(contract: Contract) -> int:
    """How many of the decoder's layers reach the heads."""
    layers = contract.network.dec_layers or 1
    return 1 if contract.network.decoder_output == "first" else layers


def to_lerobot(weights: Mapping[str, Tensor], contract: Contract) -> Weights:
    """A whole checkpoint under LeRobot's names, cut to the dataset's own dims.

    What was added is 0 throughout, also once it is normalised: it adds nothing to any sum.
    """
    cut = _widths(contract)
    layers = computed_layers(contract)
    found = {}
    for name, tensor in weights.items():
        if name.startswith(_NOT_THEIRS) or _layer(name) >= layers:
            continue
        axis, width = cut.get(name, (0, tensor.shape[0] if tensor.dim() else 0))
        kept = tensor.narrow(axis, 0, width) if name in cut else tensor
        found[_renamed(name, _PREFIXES)] = kept.contiguous()
    return found


def to_ours(weights: Mapping[str, Tensor]) -> Weights:
    """LeRobot's weights under this project's names, as far as they are known."""
    return {_renamed(name, _OURS): tensor for name, tensor in weights.items()}


def _widths(contract: Contract) -> dict[str, tuple[int, int]]:
    """By weight: the axis along which it is cut, and to how many dims."""
    state, action = own_width(contract.state), own_width(contract.action)
    found = dict.fromkeys(_OF_STATE, (1, state)) | dict.fromkeys(_OF_ACTION_IN, (1, action))
    found |= dict.fromkeys(_OF_ACTION_OUT, (0, action))
    if contract.env_state is not None:
        found |= dict.fromkeys(_OF_ENV_STATE, (1, own_width(contract.env_state)))
    return found


def _renamed(name: str, prefixes: Mapping[str, str]) -> str:
    fitting = [prefix for prefix in prefixes if name.startswith(prefix)]
    if not fitting:
        return name
    longest = max(fitting, key=len)
    return prefixes[longest] + name.removeprefix(longest)


def _layer(name: str) -> int:
    """The number of the decoder's layer that a weight is of; -1 for others."""
    if not name.startswith(_DECODER_LAYER):
        return -1
    return int(name.removeprefix(_DECODER_LAYER).partition(".")[0])


def lerobots(contract: Contract, sections: Sequence[TensorSection]) -> list[TensorSection]:
    """The policy's inputs or outputs by LeRobot's names and types: images in 0 to 1."""
    keys = {f"images/{camera.name}": camera_key(camera) for camera in contract.cameras}
    names = {"state": STATE, "env_state": ENV_STATE, "actions": ACTION} | keys
    found = []
    for one in sections:
        change: dict[str, Any] = {"name": names[one.name]}
        if one.name in keys:
            change |= {"dtype": "float32", "meaning": "RGB image of that camera, values 0 to 1."}
        found.append(one.model_copy(update=change))
    return found
