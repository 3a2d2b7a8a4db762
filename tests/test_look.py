"""Whether a policy looks: small policies of which it is known what they use."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from act.evaluate.attention import attended
from act.evaluate.distance import distance
from act.evaluate.errors import Scale
from act.evaluate.held_out import Recorded, Wanted, demonstration, recorded
from act.evaluate.look import look, observations
from act.evaluate.predictions import Asker, opened
from act.load.source import find_source
from act.load.torch_backend import TorchBackend
from act.network.act import ACT
from act.network.transformer import Attention
from act.policies.contract_file import read_contract
from act.processes.flags import MachineFlags
from episodes.arrays import FloatArray, Frame
from episodes.reading import AS_STORED
from episodes.writer import write_episode
from job.sections.contract import Contract
from job.sections.look import Ablation, Look
from tests.support.episodes import CAMERAS, LENGTHS, frame_of, write_episodes
from tests.support.loading import CHUNK, DIMS, SIZE, STATE, write_policy

HELD_OUT = Wanted((0, 2), (1,))
CPU = MachineFlags(device="cpu")
SCALE = Scale(np.ones(len(DIMS)), DIMS)
Infer = Callable[[FloatArray, Frame], FloatArray]  # (B, Q), (B, C, H, W, 3) -> (B, K, A)


@dataclass(frozen=True)
class Answers:
    """A backend that answers by a function."""

    function: Infer

    def infer(
        self, state: FloatArray, images: Frame | None, env_state: FloatArray | None
    ) -> FloatArray:
        assert images is not None
        assert env_state is None
        return self.function(state, images).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of random weights that fits the episodes."""
    return write_policy(tmp_path_factory.mktemp("policy") / "run")


@pytest.fixture(scope="module")
def seen(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Three episodes whose pictures say which one they are of, two of them held out."""
    return read(write_episodes(tmp_path_factory.mktemp("episodes"), "raw"), read_contract(folder))


def read(paths: list[Path], contract: Contract, needed: Wanted = HELD_OUT) -> Recorded:
    named = dict(enumerate(paths))
    sources = {number: number for number in named}
    return recorded(
        named, sources, needed, contract, reading=AS_STORED, is_of_run=True, source="here"
    )


def looked(seen: Recorded, contract: Contract, function: Infer) -> Look:
    with opened(seen) as frames:
        asker = Asker(seen, frames, contract, Answers(function))
        return look(asker, SCALE, observations(asker, 16), None)


def chunks(values: FloatArray) -> FloatArray:
    """(B, A) -> (B, K, A)."""
    return np.repeat(values[:, None], CHUNK, axis=1)


def brightness(images: Frame, camera: int) -> FloatArray:
    """(B, 1)."""
    return images[:, camera].mean(axis=(1, 2, 3), dtype=np.float32)[:, None] / 20


def by_name(found: Look) -> dict[str, Ablation]:
    return {one.name: one for one in found.ablations}


@pytest.mark.parametrize(
    ("function", "used"),
    [
        (lambda state, _: chunks(state), {"state"}),
        (lambda state, images: chunks(0 * state + brightness(images, 0)), {"top"}),
        (lambda state, images: chunks(state + brightness(images, 1)), {"state", "wrist"}),
        (lambda state, _: chunks(0 * state), set()),
    ],
)
def test_what_a_policy_does_not_use_is_ignored(
    seen: Recorded, folder: Path, function: Infer, used: set[str]
) -> None:
    found = by_name(looked(seen, read_contract(folder), function))
    assert {name for name, one in found.items() if not one.ignored} == used
    for name in {*CAMERAS, "state"} - used:
        assert found[name].change_in_std == 0
        assert {found[name].frozen, found[name].other_episode} == {1.0}


def test_an_output_that_is_constant_is_named(seen: Recorded, folder: Path) -> None:
    found = looked(seen, read_contract(folder), lambda state, _: chunks(0 * state + 0.1))
    assert found.spread_ratio < 1e-6
    assert found.constant_dims == list(DIMS)

    def one_dim(state: FloatArray, _: Frame) -> FloatArray:
        return chunks(state * np.array([1, 0, 1], np.float32))

    found = looked(seen, read_contract(folder), one_dim)
    assert found.constant_dims == [DIMS[1]]
    assert found.spread_ratio > 0.1


def truth(seen: Recorded, contract: Contract) -> Callable[[FloatArray], FloatArray]:
    """What was demonstrated after a recorded state: (B, Q) -> (B, K, A)."""
    table: dict[bytes, FloatArray] = {}
    for place, length in enumerate(LENGTHS):
        expected, _ = demonstration(seen.episodes, place, contract).chunks(np.arange(length), CHUNK)
        table |= {seen.episodes.qpos[place][t].tobytes(): expected[t] for t in range(length)}
    return lambda state: np.stack([table[one.tobytes()] for one in state])


@pytest.mark.parametrize("trained_exchanged", [True, False])
def test_cameras_that_were_exchanged_in_training_are_found(
    seen: Recorded, folder: Path, trained_exchanged: bool
) -> None:
    """Of a policy that tells its cameras apart: it is right where they come as it knows them."""
    contract = read_contract(folder)
    right = truth(seen, contract)

    def answer(state: FloatArray, images: Frame) -> FloatArray:
        green = images[..., 1].mean(axis=(2, 3))  # of each camera: `wrist` is greener
        as_recorded = green[:, 1] > green[:, 0]
        off = (as_recorded == trained_exchanged).astype(np.float32)
        return right(state) + off[:, None, None]

    found = looked(seen, contract, answer)
    [pair] = found.exchanged
    assert {pair.first, pair.second} == set(CAMERAS)
    assert (pair.error < 0.5) == trained_exchanged


def test_act_answers_alike_when_its_cameras_are_exchanged(seen: Recorded, folder: Path) -> None:
    """Its cameras share a backbone and positions: no evaluation can tell that they were swapped."""
    source = find_source(folder, "best")
    backend = TorchBackend(source, CPU)
    with opened(seen) as frames:
        asker = Asker(seen, frames, source.contract, backend)
        some = observations(asker, 8)
        found = look(asker, SCALE, some, None)
    [pair] = found.exchanged
    assert pair.error == pytest.approx(1, abs=1e-5)
    assert all(one.change_in_std > 1e-3 for one in found.ablations)


def test_attention_is_what_torch_computes(seen: Recorded, folder: Path) -> None:
    """Beside torch's own multi-head attention, of the same queries and keys."""
    backend = TorchBackend(find_source(folder, "best"), CPU)
    model = backend.policy.model
    assert isinstance(model, ACT)
    layer = model.transformer.decoder.layers[model.transformer.decoder.num_computed - 1]
    attention = layer.multihead_attn
    assert isinstance(attention, Attention)
    given: list[tuple[Tensor, ...]] = []
    handle = attention.register_forward_pre_hook(lambda _, inputs: given.append(inputs[:3]))
    images = np.stack([np.stack([frame_of(0, c, ts) for c in range(2)]) for ts in range(3)])
    found = attended(backend, seen.episodes.qpos[0][:3], images, None)
    handle.remove()
    assert found is not None
    q, k, v = (one.transpose(0, 1) for one in given[0])  # torch's comes with the batch second
    torchs = nn.MultiheadAttention(q.shape[-1], attention.num_heads).eval()
    torchs.load_state_dict(attention.state_dict())
    _, expected = torchs(q, k, v)
    assert np.allclose(found.weights, expected.detach().mean(dim=1), atol=1e-6)
    shares = found.shares()
    total = shares.latent + shares.state + sum(shares.cameras.values())
    assert total == pytest.approx(1, abs=1e-5)


def test_the_map_of_a_camera_is_where_its_picture_goes(seen: Recorded, folder: Path) -> None:
    """The tokens that change with a camera's picture are those of its map, in the same order."""
    backend = TorchBackend(find_source(folder, "best"), CPU)
    model = backend.policy.model
    assert isinstance(model, ACT)
    entering: list[Tensor] = []
    first = model.transformer.encoder.layers[0]
    handle = first.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0][0]))
    images = np.zeros((1, 2, *SIZE, 3), np.uint8)
    whole = attended(backend, STATE[None], images, None)
    assert whole is not None
    numbers = replace(whole, weights=np.arange(whole.weights.size, dtype=np.float32)[None])
    for camera in range(2):
        changed = images.copy()
        changed[:, camera] = 255
        attended(backend, STATE[None], changed, None)
        moved = (entering[-1] != entering[0]).any(dim=-1).nonzero()[:, 0]
        assert moved.tolist() == sorted(numbers.maps()[0, camera].flatten().astype(int).tolist())
    handle.remove()


def still(path: Path, state: float, colour: int) -> Path:
    """An episode of ten steps whose state and pictures do not change, but for the last camera."""
    vectors = {name: np.full((10, 3), state, np.float32) for name in ("action", "qpos", "qvel")}
    shapes = dict.fromkeys(CAMERAS, (10, *SIZE))
    with write_episode(path, vectors, shapes, {"sim": True}) as writer:
        for camera, shown in zip(CAMERAS, (7, colour), strict=True):
            for ts in range(10):
                writer.write_frame(camera, ts, np.full((*SIZE, 3), shown, np.uint8))
    return path


def test_distance_is_that_of_the_nearest_frames(tmp_path: Path) -> None:
    """By hand: training at 0 and 1, held out at 4: three from the nearest, which lie one apart.

    The first camera never changes: nothing of it is far; the second is the same in training only.
    """
    folder = write_policy(tmp_path / "run")
    contract = read_contract(folder)
    std = contract.statistics.qpos_std
    assert len(std) == 3
    places = ((0.0, 10), (1.0, 10), (4.0, 30))
    paths = [
        still(tmp_path / f"episode_{number}.hdf5", state, colour)
        for number, (state, colour) in enumerate(places)
    ]
    far = read(paths, contract, Wanted((2,), (0, 1)))
    with opened(far) as frames:
        found = distance(Asker(far, frames, contract, Answers(lambda s, _: chunks(s))))
    assert found is not None
    assert found.state == pytest.approx(3, rel=1e-5)
    assert [one.ratio for one in found.cameras] == [1.0, 1000.0]
    alone = read(paths, contract, Wanted((2,), (0,)))
    with opened(alone) as frames:
        assert distance(Asker(alone, frames, contract, Answers(lambda s, _: chunks(s)))) is None
