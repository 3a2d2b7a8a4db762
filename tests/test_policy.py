"""The policies: losses by hand, image normalisation, parameter groups, decay, checkpoints.

Upstream's numbers are in test_policy_golden.py.
"""

import io
import math

import pytest
import torch
from torch import nn

from act.network.cnnmlp import CNNMLP
from act.policies.cnnmlp import CNNMLPPolicy
from tests.support.policies import tiny_batch, tiny_policy

STEPS, WEIGHT_DECAY = 5, 1e-4


def test_checkpoint_round_trip_is_strict() -> None:
    policy = tiny_policy()
    file = io.BytesIO()
    torch.save(policy.state_dict(), file)
    file.seek(0)
    state_dict = torch.load(file, weights_only=True)
    other = tiny_policy(decoder_output="last")
    other.load_state_dict(state_dict, strict=True)
    assert all(torch.equal(value, state_dict[key]) for key, value in other.state_dict().items())
    del state_dict["model.transformer.decoder.layers.6.norm1.bias"]
    with pytest.raises(RuntimeError, match=r"decoder\.layers\.6\.norm1\.bias"):
        other.load_state_dict(state_dict, strict=True)


def test_act_losses_by_hand() -> None:
    policy, batch = tiny_policy(), tiny_batch()
    with torch.no_grad():
        losses = {name: loss.item() for name, loss in policy.losses(batch).items()}
        a_hat, _, mu, logvar = policy.model(
            batch.qpos,
            policy.normalised(batch.image),
            batch.action[:, :4],
            batch.is_pad[:, :4],
            batch.eps,
        )
    # The chunk has 4 of the 7 steps; of the second episode 3 are real. All 2 * 4 * 3 count.
    real = [
        (b, t, i) for b, valid_len in ((0, 4), (1, 3)) for t in range(valid_len) for i in range(3)
    ]
    l1 = sum(abs(float(batch.action[j] - a_hat[j])) for j in real) / (2 * 4 * 3)
    terms = zip(mu.flatten().tolist(), logvar.flatten().tolist(), strict=True)
    kl = sum(-0.5 * (1 + v - m * m - math.exp(v)) for m, v in terms) / 2
    assert tuple(losses) == tuple(policy.loss_titles) == ("l1", "kl", "loss")
    assert losses == pytest.approx({"l1": l1, "kl": kl, "loss": l1 + 10 * kl}, rel=1e-5)


@pytest.mark.slow
def test_cnnmlp_losses_by_hand() -> None:
    torch.manual_seed(0)
    model = CNNMLP(qpos_dim=5, action_dim=3, num_cameras=2, image_size=(385, 385))
    policy, batch = CNNMLPPolicy(model), tiny_batch((385, 385))
    losses = policy.losses(batch)
    a_hat = policy(batch.qpos, batch.image)
    assert a_hat.shape == (2, 3)
    mse = (a_hat - batch.action[:, 0]).square().sum().item() / 6
    assert tuple(losses) == tuple(policy.loss_titles) == ("mse", "loss")
    assert {k: v.item() for k, v in losses.items()} == pytest.approx({"mse": mse, "loss": mse})
    losses["loss"].backward()
    unused = [name for name, parameter in policy.named_parameters() if parameter.grad is None]
    assert unused == ["model.action_head.weight", "model.action_head.bias"]
    grouped = [p for group in policy.parameter_groups(1e-4, 1e-5) for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in policy.parameters() if p.requires_grad}


def test_normalised_is_imagenets_for_bytes_and_floats() -> None:
    policy, frames = tiny_policy(), tiny_batch().image
    image = policy.normalised(frames)
    assert image.shape == (2, 2, 3, 32, 64)
    assert image.dtype == torch.float32
    red, blue = frames[1, 0, 5, 9, 0].item(), frames[1, 0, 5, 9, 2].item()
    assert image[1, 0, 0, 5, 9].item() == pytest.approx((red / 255 - 0.485) / 0.229, abs=1e-6)
    assert image[1, 0, 2, 5, 9].item() == pytest.approx((blue / 255 - 0.406) / 0.225, abs=1e-6)
    floats = frames / 255
    kept = floats.clone()
    assert torch.equal(policy.normalised(floats), image)
    assert torch.equal(floats, kept)


def test_normalised_is_channels_last_without_a_copy() -> None:
    image = tiny_policy().normalised(tiny_batch().image)
    joined = image.flatten(0, 1)
    assert joined.data_ptr() == image.data_ptr()
    assert joined.is_contiguous(memory_format=torch.channels_last)


def test_channel_order_matters() -> None:
    policy, batch = tiny_policy(), tiny_batch()
    rgb, bgr = policy(batch.qpos, batch.image), policy(batch.qpos, batch.image.flip(-1))
    assert (rgb - bgr).abs().max() > 1e-4


@pytest.mark.parametrize("decoder_output", ["first", "last"])
def test_parameter_groups_by_name(decoder_output: str) -> None:
    policy = tiny_policy(decoder_output=decoder_output)
    rest, backbone = policy.parameter_groups(1e-4, 2e-5)
    assert (rest["lr"], backbone["lr"]) == (1e-4, 2e-5)
    names = {id(parameter): name for name, parameter in policy.named_parameters()}
    in_backbone = {names.pop(id(parameter)) for parameter in backbone["params"]}
    assert all(name.startswith("model.backbones.0.0.body.") for name in in_backbone)
    assert len(in_backbone) == 20  # convolutions; the norms have no parameters
    for parameter in rest["params"]:
        del names[id(parameter)]
    idle = range(1, 7) if decoder_output == "first" else range(0)
    prefixes = [f"model.transformer.decoder.layers.{layer}." for layer in idle]
    expected = {n for n, _ in policy.named_parameters() if n.startswith(tuple(prefixes))}
    unread = {"model.is_pad_head.weight", "model.is_pad_head.bias"}  # no loss reads it
    assert set(names.values()) == expected | unread


@pytest.mark.parametrize(
    ("lr", "moves"), [(1e-3, True), (4e-4, True), (1e-4, False), (1e-5, False)]
)
def test_decay_is_adamws_to_the_last_bit(lr: float, moves: bool) -> None:
    policy = tiny_policy()
    start = [parameter.detach().clone() for parameter in policy.uncomputed_parameters()]
    upstreams = [nn.Parameter(tensor.clone()) for tensor in start]
    optimizer = torch.optim.AdamW(upstreams, lr=lr, weight_decay=WEIGHT_DECAY)
    for _ in range(STEPS):
        for parameter in upstreams:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        policy.decay_uncomputed(lr, WEIGHT_DECAY)
    decayed = policy.uncomputed_parameters()
    assert all(torch.equal(a, b) for a, b in zip(decayed, upstreams, strict=True))
    assert moves == any(not torch.equal(a, b) for a, b in zip(decayed, start, strict=True))


def test_decay_leaves_computed_parameters_alone() -> None:
    policy = tiny_policy(decoder_output="last")
    start = [parameter.detach().clone() for parameter in policy.parameters()]
    policy.decay_uncomputed(1.0, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), start, strict=True))
