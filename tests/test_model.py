"""The networks: their parts against plain rewrites, their state, and what they refuse."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from act.network.act import ACT
from act.network.backbone import Backbone, load_backbones
from act.network.cnnmlp import CNNMLP
from act.network.position import image_position, sequence_position
from act.network.transformer import Attention

SMALL: dict[str, Any] = {
    "qpos_dim": 5,
    "action_dim": 3,
    "chunk_size": 4,
    "hidden_dim": 16,
    "dim_feedforward": 24,
    "num_heads": 2,
    "enc_layers": 2,
    "dec_layers": 3,
    "dropout": 0.0,
}


def small_act(**knobs: Any) -> ACT:
    torch.manual_seed(0)
    return ACT(**(SMALL | knobs))


def observation(num_cameras: int = 2, height: int = 32, width: int = 64) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    image = torch.randn(2, num_cameras, 3, height, width, generator=random)
    return torch.randn(2, 5, generator=random), image


def chunk() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    actions = torch.randn(2, 4, 3, generator=random)
    is_pad = torch.tensor([[False, False, False, False], [False, False, True, True]])
    return actions, is_pad, torch.randn(2, 32, generator=random)


def test_shapes_when_qpos_and_action_dims_differ() -> None:
    a_hat, is_pad_hat, mu, logvar = small_act()(*observation(), *chunk())
    assert a_hat.shape == (2, 4, 3)
    assert is_pad_hat.shape == (2, 4, 1)
    assert mu.shape == logvar.shape == (2, 32)


def test_without_actions_the_latent_is_zero() -> None:
    model = small_act()
    a_hat, _, mu, logvar = model(*observation())
    assert mu is None
    assert logvar is None
    nn.init.zeros_(model.latent_out_proj.weight)  # now every latent means the same
    assert torch.equal(model(*observation())[0], a_hat)
    assert torch.allclose(model(*observation(), *chunk())[0], a_hat, atol=1e-6)


def test_latent_is_mu_plus_eps_standard_deviations() -> None:
    model = small_act()
    actions, is_pad, eps = chunk()
    seen: list[Tensor] = []
    model.latent_out_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    _, _, mu, logvar = model(*observation(), actions, is_pad, eps)
    assert torch.allclose(seen[0], mu + torch.sqrt(logvar.exp()) * eps, atol=1e-6)


def test_posterior_does_not_see_padded_actions() -> None:
    model = small_act()
    qpos, _ = observation()
    actions, is_pad, _ = chunk()
    changed = actions + 9 * is_pad[..., None]
    before = torch.cat(model.posterior(qpos, actions, is_pad), dim=1)
    assert torch.allclose(torch.cat(model.posterior(qpos, changed, is_pad), dim=1), before)
    unmasked = torch.cat(model.posterior(qpos, changed, torch.zeros_like(is_pad)), dim=1)
    assert (unmasked - before)[1].abs().max() > 1e-2


def test_first_decoder_layer_alone_is_computed() -> None:
    model = small_act(decoder_output="first")
    model(*observation(), *chunk())[0].sum().backward()
    layers = model.transformer.decoder.layers
    idle = [parameter for layer in layers[1:] for parameter in layer.parameters()]
    assert {id(p) for p in model.uncomputed_parameters()} == {id(p) for p in idle}
    assert all(parameter.grad is None for parameter in idle)
    assert all(parameter.grad is not None for parameter in layers[0].parameters())


def test_last_decoder_layer_reaches_them_all() -> None:
    model = small_act(decoder_output="last")
    model(*observation(), *chunk())[0].square().sum().backward()
    assert model.uncomputed_parameters() == []
    for layer in model.transformer.decoder.layers:
        assert isinstance(layer.linear1, nn.Linear)
        assert layer.linear1.weight.grad is not None
        assert layer.linear1.weight.grad.abs().max() > 0


def test_first_and_last_share_weights_but_not_outputs() -> None:
    first, last = small_act(decoder_output="first"), small_act(decoder_output="last")
    last.load_state_dict(first.state_dict(), strict=True)
    difference = first(*observation())[0] - last(*observation())[0]
    assert difference.abs().max() > 1e-2
    one_layer = small_act(decoder_output="last", dec_layers=1)
    one_layer.load_state_dict(first.state_dict(), strict=False)
    assert torch.equal(one_layer(*observation())[0], first(*observation())[0])


@pytest.mark.parametrize("num_cameras", [1, 3])
def test_cameras_are_joined_along_the_width(num_cameras: int) -> None:
    model = small_act()
    _, image = observation(num_cameras, 64, 96)
    cameras = [model.input_proj(model.backbones[0](image[:, i])) for i in range(num_cameras)]
    expected = torch.cat(cameras, dim=3).flatten(2).transpose(1, 2)
    pos = image_position(2, 3, 16, torch.device("cpu"))
    tokens, tokens_pos = model.image_tokens(image)
    assert tokens.shape == (2, 2 * 3 * num_cameras, 16)
    assert torch.allclose(tokens, expected, atol=1e-5)
    assert torch.equal(tokens_pos, torch.cat([pos] * num_cameras, dim=1).flatten(0, 1))


def test_act_sees_a_set_of_cameras() -> None:
    model = small_act()
    qpos, image = observation()
    swapped = model(qpos, image.flip(1))[0]
    # As upstream: each camera gets the same positions, so only what it shows tells which it is.
    assert torch.allclose(swapped, model(qpos, image)[0], atol=1e-5)
    assert (model(qpos, image.flip(4))[0] - swapped).abs().max() > 1e-4


def test_backbone_keeps_the_memory_format_and_frozen_statistics() -> None:
    torch.manual_seed(0)
    backbone = Backbone().train()
    image = torch.randn(2, 3, 64, 70)
    channels_last = backbone(image.to(memory_format=torch.channels_last))
    assert channels_last.shape == (2, 512, 2, 3)
    assert channels_last.is_contiguous(memory_format=torch.channels_last)
    assert backbone(image).is_contiguous()
    assert torch.allclose(channels_last, backbone.eval()(image), rtol=1e-4, atol=1e-5)
    assert all("bn" not in name for name, _ in backbone.named_parameters())


def test_dropout_acts_in_training_only() -> None:
    model = small_act(dropout=0.5)
    assert not torch.equal(model(*observation())[0], model(*observation())[0])
    model.eval()
    assert torch.equal(model(*observation())[0], model(*observation())[0])


def test_attention_is_torchs_with_the_same_keys() -> None:
    torch.manual_seed(0)
    ours, torchs = Attention(16, 4, 0.0), nn.MultiheadAttention(16, 4, batch_first=True)
    ours.load_state_dict(torchs.state_dict(), strict=True)
    query, key, value = torch.randn(2, 3, 16), torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    skipped = torch.tensor([[False] * 5, [False, False, True, False, True]])
    expected, _ = torchs(query, key, value, key_padding_mask=skipped)
    assert torch.allclose(ours(query, key, value, ~skipped[:, None, None]), expected, atol=1e-6)
    assert not torch.allclose(ours(query, key, value, None), expected, atol=1e-3)


def test_only_the_transformers_matrices_are_xavier() -> None:
    model = small_act(hidden_dim=64, dim_feedforward=512)
    for name, parameter in model.named_parameters():
        if parameter.dim() != 2 or "backbone" in name or "embed" in name:
            continue
        xavier = math.sqrt(6 / sum(parameter.shape))
        is_xavier = 0.9 * xavier < parameter.abs().max() <= xavier
        # nn.MultiheadAttention starts its own in_proj_weight like that wherever it stands.
        expected = name.startswith("transformer.") or name.endswith("in_proj_weight")
        assert is_xavier == expected, name


def test_image_position_by_hand() -> None:
    pos = image_position(3, 5, 16, torch.device("cpu"))
    assert pos.shape == (3, 5, 16)
    y, x = 2 / 3 * 2 * math.pi, 4 / 5 * 2 * math.pi  # the second row, the fourth column
    for pair in range(4):
        scale = 10_000 ** (2 * pair / 8)
        expected = [math.sin(y / scale), math.cos(y / scale)]
        assert pos[1, 3, 2 * pair : 2 * pair + 2].tolist() == pytest.approx(expected, abs=1e-5)
        expected = [math.sin(x / scale), math.cos(x / scale)]
        assert pos[1, 3, 8 + 2 * pair : 10 + 2 * pair].tolist() == pytest.approx(expected, abs=1e-5)


def test_sequence_position_by_hand() -> None:
    pos = sequence_position(7, 8)
    expected = [f(5 / 10_000 ** (i / 4)) for i in range(4) for f in (math.sin, math.cos)]
    assert pos[5].tolist() == pytest.approx(expected, abs=1e-6)


def test_positions_first_seen_in_inference_mode_can_train() -> None:
    with torch.inference_mode():
        pos = image_position(1, 7, 16, torch.device("cpu"))  # a size that no other test uses
    assert image_position(1, 7, 16, torch.device("cpu")) is pos  # computed once
    (pos * torch.ones_like(pos, requires_grad=True)).sum().backward()


@pytest.mark.slow
def test_compiles_to_one_graph_with_constant_positions() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    model = small_act()
    compiled = torch.compile(model, backend=keep, fullgraph=True)
    a_hat = compiled(*observation(), *chunk())[0]
    assert torch.allclose(a_hat, model(*observation(), *chunk())[0], atol=1e-6)
    assert len(graphs) == 1
    assert not [node.name for node in graphs[0].graph.nodes if "sin" in node.name]


@pytest.mark.parametrize(("hidden_dim", "num_heads"), [(20, 8), (6, 2)])
def test_hidden_dim_that_cannot_be_split(hidden_dim: int, num_heads: int) -> None:
    with pytest.raises(ValueError, match=f"hidden_dim is {hidden_dim}, .*{num_heads}"):
        small_act(hidden_dim=hidden_dim, num_heads=num_heads)


def test_load_backbone_takes_torchvisions_state_dict() -> None:
    model = small_act()
    torch.manual_seed(3)
    resnet = resnet18(weights=None).eval()
    for name, buffer in resnet.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    features: list[Tensor] = []
    resnet.layer4.register_forward_hook(lambda _, __, output: features.append(output))
    image = torch.randn(1, 3, 64, 64)
    resnet(image)
    load_backbones(model, resnet.state_dict())
    assert torch.allclose(model.backbones[0](image), features[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ({"layer4.1.conv2.weight": None}, "'layer4.1.conv2.weight'"),
        ({"layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)}, "'layer1.2.conv1.weight'"),
        ({"conv1.weight": torch.zeros(64, 1, 7, 7)}, r"\(64, 1, 7, 7\), .*\(64, 3, 7, 7\)"),
        ({"conv1.weight": "a string"}, "'conv1.weight' .*None"),
    ],
)
def test_load_backbone_refuses_another_network(change: dict[str, Any], values: str) -> None:
    model = small_act()
    before = model.backbones[0].state_dict()["0.body.bn1.weight"].clone()
    state_dict = resnet18(weights=None).state_dict() | {"bn1.weight": torch.full((64,), 7.0)}
    state_dict = {k: v for k, v in (state_dict | change).items() if v is not None}
    with pytest.raises(ValueError, match=values):
        load_backbones(model, state_dict)
    assert torch.equal(model.backbones[0].state_dict()["0.body.bn1.weight"], before)


def test_cnnmlp_is_upstreams() -> None:
    model = CNNMLP(qpos_dim=14, action_dim=14, num_cameras=2, image_size=(480, 640))
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items() if "backbones" not in k}
    convolutions = [(128, 512, 5, 5), (64, 128, 5, 5), (32, 64, 5, 5)]
    expected: dict[str, tuple[int, ...]] = {
        "action_head.weight": (14, 1000),
        "action_head.bias": (14,),
    }
    for camera in range(2):
        for i, shape in enumerate(convolutions):
            expected[f"backbone_down_projs.{camera}.{i}.weight"] = shape
            expected[f"backbone_down_projs.{camera}.{i}.bias"] = shape[:1]
    for i, (before, after) in {0: (2 * 768 + 14, 1024), 2: (1024, 1024), 4: (1024, 14)}.items():
        expected |= {f"mlp.{i}.weight": (after, before), f"mlp.{i}.bias": (after,)}
    assert shapes == expected
    assert sum(k.startswith("backbones.1.0.body.") for k in model.state_dict()) == 100


@torch.no_grad()
def test_cnnmlp_has_a_backbone_per_camera() -> None:
    torch.manual_seed(0)
    model = CNNMLP(qpos_dim=5, action_dim=3, num_cameras=2, image_size=(385, 400))
    qpos, image = (x[:1] for x in observation(2, 385, 400))
    a_hat = model(qpos, image)
    assert a_hat.shape == (1, 3)
    assert not torch.allclose(model(qpos, image.flip(1)), a_hat, atol=1e-4)
    channels_last = image.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    assert torch.allclose(model(qpos, channels_last), a_hat, atol=1e-4)
    load_backbones(model, resnet18(weights=None).state_dict())
    first, second = (module.state_dict()["0.body.conv1.weight"] for module in model.backbones)
    assert torch.equal(first, second)


def test_cnnmlp_refuses_small_images() -> None:
    CNNMLP(qpos_dim=5, action_dim=3, num_cameras=1, image_size=(385, 385))
    with pytest.raises(ValueError, match=r"240x640 .*385x385"):
        CNNMLP(qpos_dim=5, action_dim=3, num_cameras=1, image_size=(240, 640))
