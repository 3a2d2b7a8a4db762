"""`load_policy`: equal to the training network, and whatever an observation may be wrong in."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import act
from act import LoadedPolicy, UsageError, load_policy
from act.load.source import find_source
from act.load.torch_backend import TorchBackend
from act.policies.flags import PolicyFlags
from act.policies.statistics import load_stats
from act.policies.weights import Weights, load_weights, save_weights
from act.training.data import open_data
from act.training.setup import make_policy
from episodes.arrays import FloatArray, Frame
from episodes.resize import resize_area
from job.whole_files import sha256
from tests.support.commands import run_python
from tests.support.episodes import CAMERAS
from tests.support.errors import raises_code
from tests.support.loading import (
    CHUNK,
    DIMS,
    FPS,
    SIZE,
    STATE,
    camera,
    frames,
    padded,
    part,
    write_policy,
)
from tests.support.training import Short


def load(folder: Path, **options: Any) -> LoadedPolicy:
    return load_policy(folder, device="cpu", **options)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Short:
    """A run of one epoch."""
    short = Short(tmp_path_factory.mktemp("short"))
    short.run(num_epochs=1)
    return short


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that nobody trained."""
    return write_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def policy(folder: Path) -> LoadedPolicy:
    return load(folder)


@torch.no_grad()
def by_hand(
    training: Short, states: FloatArray, images: Frame, *, bf16: bool = False
) -> FloatArray:
    """What the training network gives: states (B, 3), images (B, 2, 32, 48, 3)."""
    network, _ = make_policy(training.config(), open_data(training.paths, ()).episodes)
    network.load_state_dict(load_weights(training.folder / "policy_best.ckpt"))
    stats = load_stats(training.folder / "dataset_stats.pkl")
    qpos = torch.from_numpy((states - stats["qpos_mean"]) / stats["qpos_std"])
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        a_hat = network.eval()(qpos, torch.from_numpy(images)).float().numpy()
    return a_hat * stats["action_std"] + stats["action_mean"]


def stacked(count: int) -> tuple[FloatArray, dict[str, Frame]]:
    """A batch of observations: states (B, 3), images (B, 32, 48, 3)."""
    states = (STATE + np.arange(count)[:, None] / 3).astype(np.float32)
    return states, {name: np.stack([frames(ts)[name] for ts in range(count)]) for name in CAMERAS}


def test_a_chunk_is_the_training_networks_to_the_last_bit(training: Short) -> None:
    loaded = load(training.folder)
    for count in (1, 3):
        states, images = stacked(count)
        expected = by_hand(training, states, np.stack(list(images.values()), axis=1))
        np.testing.assert_array_equal(loaded.predict(states, images), expected)
        one = loaded.predict(states[0], frames(0))
        assert one.shape == (5, 3)
        tolerance = 1e-5 * load_stats(training.folder / "dataset_stats.pkl")["action_std"]
        assert (abs(one - expected[0]) <= tolerance).all()


def test_each_checkpoint_of_a_run_is_loaded_by_its_name(training: Short) -> None:
    chunks = {}
    for name in (None, "best", "last", "epoch_0"):
        loaded = load(training.folder, checkpoint=name)
        chunks[name] = loaded.predict(STATE, frames())
    np.testing.assert_array_equal(chunks[None], chunks["best"])
    np.testing.assert_array_equal(chunks["best"], chunks["epoch_0"])  # validated before training
    assert (chunks["last"] != chunks["best"]).any()
    file = load(training.folder / "policy_last.ckpt").predict(STATE, frames())
    np.testing.assert_array_equal(file, chunks["last"])
    with raises_code(UsageError, "checkpoint-missing", "best, epoch_0, last; the nearest"):
        load(training.folder, checkpoint="lst")
    with raises_code(UsageError, "checkpoint-missing"):
        load(training.folder / "policy_epoch_7_seed_0.ckpt")
    with raises_code(UsageError, "flags-conflict"):
        load(training.folder / "policy_last.ckpt", checkpoint="last")


def test_a_word_is_a_runs_name_below_the_output(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "checkpoints/pick_block")
    expected = load(folder).predict(STATE, frames())
    for source in ("pick_block", f"{tmp_path}/checkpoints/pick_block"):
        loaded = load_policy(source, device="cpu", output=tmp_path)
        np.testing.assert_array_equal(loaded.predict(STATE, frames()), expected)
    with raises_code(UsageError, "policy-missing", "the nearest run is pick_block"):
        load_policy("pick_blocks", output=tmp_path)
    monkeypatch.chdir(tmp_path / "checkpoints")
    with raises_code(UsageError, "policy-missing", "/data/output/.* write ./pick_block"):
        load_policy("pick_block")
    monkeypatch.chdir(tmp_path / "checkpoints/pick_block")
    with raises_code(UsageError, "policy-missing", "write ./policy_best.ckpt"):
        load_policy("policy_best.ckpt")
    np.testing.assert_array_equal(
        load_policy("./policy_best.ckpt", device="cpu").predict(STATE, frames()), expected
    )
    monkeypatch.chdir(tmp_path / "checkpoints")
    assert load_policy("./pick_block", device="cpu").cameras == CAMERAS


def test_what_a_robot_asks_a_policy_first(policy: LoadedPolicy) -> None:
    assert (policy.cameras, policy.image_size, policy.fps) == (CAMERAS, SIZE, FPS)
    assert policy.state_names == policy.action_names == DIMS
    assert policy.chunk_size == policy.contract.network.chunk_size == CHUNK


def test_numpy_torch_and_pil_are_the_same_observation(policy: LoadedPolicy) -> None:
    expected = policy.predict(STATE, frames())
    for state in (STATE.astype(np.float64), torch.from_numpy(STATE), STATE.tolist()):
        np.testing.assert_array_equal(policy.predict(state, frames()), expected)
    kinds: list[Any] = [torch.from_numpy, Image.fromarray, lambda one: one.astype(np.float32) / 255]
    kinds += [lambda one: torch.from_numpy(one) / 255, lambda one: one[::-1][::-1]]
    for kind in kinds:
        images = {name: kind(frame) for name, frame in frames().items()}
        np.testing.assert_array_equal(policy.predict(STATE, images), expected)


def test_a_batch_is_of_any_kind_too(policy: LoadedPolicy) -> None:
    states, images = stacked(2)
    expected = policy.predict(states, images)
    assert expected.shape == (2, CHUNK, 3)
    listed = {name: [Image.fromarray(one) for one in many] for name, many in images.items()}
    np.testing.assert_array_equal(policy.predict(list(states), listed), expected)


@pytest.mark.parametrize("factor", [(2, 2), (3, 3), (1.5, 1.5)])
def test_larger_images_are_reduced_as_the_conversion_does(
    policy: LoadedPolicy, factor: tuple[float, float]
) -> None:
    height, width = int(SIZE[0] * factor[0]), int(SIZE[1] * factor[1])
    large = {
        name: np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        for number, name in enumerate(CAMERAS)
    }
    small = {name: resize_area(frame, *SIZE) for name, frame in large.items()}
    found = policy.predict(STATE, large)
    np.testing.assert_array_equal(found, policy.predict(STATE, small))


def test_images_of_the_recorded_shape_or_the_trained_size_are_taken(tmp_path: Path) -> None:
    """Also where --image_size distorted them: what is refused is another distortion."""
    loaded = load(write_policy(tmp_path, camera(0, recorded_height=64, recorded_width=64)))
    images = frames()
    for size in ((64, 64), (128, 128), (32, 48)):
        loaded.predict(STATE, images | {"top": np.zeros((*size, 3), np.uint8)})
    for size in ((64, 96), (31, 31), (16, 16)):
        with raises_code(UsageError, "observation-image-size", "64x64 as recorded"):
            loaded.predict(STATE, images | {"top": np.zeros((*size, 3), np.uint8)})


@pytest.mark.parametrize("rotated", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_what_training_rotated_is_rotated_here(
    tmp_path: Path, rotated: int, mirrored: bool
) -> None:
    """The frames come as the camera gives them; tests/test_contract.py has the words' meaning."""
    size = SIZE if rotated % 180 == 0 else SIZE[::-1]
    plain = load(write_policy(tmp_path / "plain", size=size))
    edit = camera(0, rotated=rotated, mirrored=mirrored)
    turning = load(write_policy(tmp_path / "turning", edit, size=size))
    given = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    seen = np.rot90(given[:, ::-1] if mirrored else given, rotated // 90)
    wrist = np.zeros((*size, 3), np.uint8)
    expected = plain.predict(STATE, {"top": seen, "wrist": wrist})
    found = turning.predict(STATE, {"top": given, "wrist": wrist})
    np.testing.assert_array_equal(found, expected)
    large = np.repeat(np.repeat(given, 2, axis=0), 2, axis=1)
    found = turning.predict(STATE, {"top": large, "wrist": wrist})
    np.testing.assert_array_equal(found, expected)
    if rotated % 180:
        with raises_code(UsageError, "observation-image-size", "once rotated"):
            turning.predict(STATE, {"top": seen, "wrist": wrist})


def test_dims_that_padding_added_are_no_business_of_the_robot(tmp_path: Path) -> None:
    plain = load(write_policy(tmp_path / "plain", dims=5))
    loaded = load(write_policy(tmp_path / "padded", padded, dims=5))
    assert loaded.state_names == loaded.action_names == DIMS
    whole = plain.predict([*STATE, 0, 0], frames())
    assert whole.shape == (CHUNK, 5)
    np.testing.assert_array_equal(loaded.predict(STATE, frames()), whole[:, :3])
    with raises_code(UsageError, "observation-vector-width"):
        loaded.predict([*STATE, 0, 0], frames())


def test_a_policy_without_some_dims_is_loaded_on_purpose_only(tmp_path: Path) -> None:
    def cut(content: dict[str, Any]) -> None:
        content["state"]["cut"] = content["action"]["cut"] = ["base_x", "base_y"]

    folder = write_policy(tmp_path, cut)
    with raises_code(UsageError, "policy-dims-cut", "base_x, base_y"):
        load(folder)
    loaded = load(folder, allow_cut=True)
    expected = loaded.predict(STATE, frames())
    assert expected.shape == (CHUNK, 3)
    np.testing.assert_array_equal(loaded.predict([*STATE, 7, 8], frames()), expected)
    with raises_code(UsageError, "observation-vector-width", "3 dims, or 5"):
        loaded.predict([*STATE, 7], frames())


def test_an_environment_state_is_an_argument_of_its_own(tmp_path: Path) -> None:
    loaded = load(write_policy(tmp_path, env_state_dim=2))
    chunk = loaded.predict(STATE, frames(), env_state=[0.5, 1])
    assert (chunk != loaded.predict(STATE, frames(), env_state=[0.5, -1])).any()
    states, images = stacked(2)
    both = loaded.predict(states, images, env_state=[[0.5, 1], [0.5, -1]])
    assert both.shape == (2, CHUNK, 3)
    with raises_code(UsageError, "observation-env-state", "none is given"):
        loaded.predict(STATE, frames())
    with raises_code(UsageError, "observation-vector-width", "^env_state"):
        loaded.predict(STATE, frames(), env_state=[1.0])
    with raises_code(UsageError, "observation-batch"):
        loaded.predict(states, images, env_state=[0.5, 1])


def test_a_policy_without_cameras_takes_no_images(tmp_path: Path) -> None:
    loaded = load(write_policy(tmp_path, lambda c: c.update(images=None), cameras=0))
    assert (loaded.cameras, loaded.image_size) == ((), None)
    assert loaded.predict(STATE).shape == (CHUNK, 3)
    assert loaded.step(STATE, {}).shape == (3,)
    with raises_code(UsageError, "observation-camera-extra", "expected none"):
        loaded.predict(STATE, frames())


def test_cnnmlp_predicts_chunks_of_one(tmp_path: Path) -> None:
    size = (385, 385)
    flags = PolicyFlags(policy_class="CNNMLP")
    loaded = load(write_policy(tmp_path, flags=flags, cameras=1, size=size))
    image = {"top": np.zeros((*size, 3), np.uint8)}
    assert loaded.chunk_size == 1
    chunk = loaded.predict(STATE, image)
    assert chunk.shape == (1, 3)
    np.testing.assert_array_equal(loaded.step(STATE, image), chunk[0])


def shown(**changes: Any) -> dict[str, Any]:
    return frames() | changes


def endless() -> list[Any]:
    """A list that holds itself."""
    made: list[Any] = []
    made.append(made)
    return made


def sparse(values: Any) -> torch.Tensor:
    return torch.from_numpy(values).to_sparse()


ZEROS = np.zeros((*SIZE, 3), np.uint8)
BAD: dict[str, tuple[Any, Any, str, str]] = {
    "no images": (STATE, None, "observation-camera-missing", "'top'"),
    "images without names": (STATE, ZEROS, "observation-camera-missing", "is a ndarray"),
    "a missing camera": (STATE, {"top": ZEROS}, "observation-camera-missing", "'wrist'"),
    "a misspelt camera": (
        STATE,
        {"top": ZEROS, "wirst": ZEROS},
        "observation-camera-unknown",
        "'wirst'.* the nearest camera is wrist",
    ),
    "a camera more": (STATE, shown(front=ZEROS), "observation-camera-extra", "'front'"),
    "int64 pixels": (STATE, shown(top=ZEROS.astype(int)), "observation-image-type", "int64"),
    "boolean pixels": (STATE, shown(top=ZEROS > 0), "observation-image-type", "bool"),
    "floats to 255": (
        STATE,
        shown(top=ZEROS.astype(float) + 200),
        "observation-image-range",
        "200",
    ),
    "floats from -1": (STATE, shown(top=ZEROS - 1.0), "observation-image-range", "-1 to -1"),
    "NaN pixels": (STATE, shown(top=ZEROS * np.nan), "observation-not-finite", "top"),
    "channels first": (
        STATE,
        shown(top=np.moveaxis(ZEROS, -1, 0)),
        "observation-image-channels",
        r"transpose\(1, 2, 0\)",
    ),
    "alpha": (STATE, shown(top=np.zeros((*SIZE, 4))), "observation-image-channels", r":3\]"),
    "grey": (STATE, shown(top=ZEROS[..., 0]), "observation-image-channels", r"\(32, 48\)"),
    "a grey PIL image": (
        STATE,
        shown(top=Image.new("L", (48, 32))),
        "observation-image-channels",
        "mode L",
    ),
    "no image at all": (STATE, shown(top=None), "observation-image-channels", r"\(\)"),
    "empty": (STATE, shown(top=ZEROS[:0]), "observation-image-channels", r"\(0, 48, 3\)"),
    "too small": (STATE, shown(top=ZEROS[:31]), "observation-image-size", "31x48"),
    "another shape": (
        STATE,
        shown(top=np.zeros((64, 64, 3), np.uint8)),
        "observation-image-size",
        "'top' is 64x64 .* expected 32x48",
    ),
    "a dim less": (STATE[:2], frames(), "observation-vector-width", "shoulder, elbow, gripper"),
    "a number": (1.0, frames(), "observation-vector-width", r"\(\)"),
    "text": (["a", "b", "c"], frames(), "observation-vector-type", "state"),
    "no state": (None, frames(), "observation-vector-type", "a NoneType"),
    "a ragged state": ([[1, 2, 3], [1, 2]], frames(), "observation-vector-type", "a list"),
    "a list within itself": (endless(), frames(), "observation-vector-type", "a list"),
    "a mask": (np.ma.masked_less(STATE, 0), frames(), "observation-vector-type", "MaskedArray"),
    "a sparse state": (sparse(STATE), frames(), "observation-vector-type", "a Tensor"),
    "a sparse image": (STATE, shown(top=sparse(ZEROS)), "observation-image-type", "a Tensor"),
    "a masked image": (
        STATE,
        shown(top=np.ma.masked_equal(ZEROS, 0)),
        "observation-image-type",
        "MaskedArray",
    ),
    "masked images": (
        STATE,
        shown(top=[np.ma.masked_equal(ZEROS, 0)] * 2),
        "observation-image-type",
        "a list",
    ),
    "a memoryview": (
        STATE,
        shown(top=memoryview(ZEROS.data)),
        "observation-image-type",
        "memoryview",
    ),
    "an image within itself": (STATE, shown(top=endless()), "observation-image-type", "a list"),
    "NaN": ([0, np.nan, 0], frames(), "observation-not-finite", r"dim 1 \(elbow\) is nan"),
    "beyond float32": ([0, 0, 1e300], frames(), "observation-not-finite", "gripper"),
    "a batch of states": (STATE[None], frames(), "observation-batch", "the parts"),
    "two batches": (STATE[None], stacked(2)[1], "observation-batch", "the parts"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_training_did_not_have_is_refused_in_one_line(policy: LoadedPolicy, name: str) -> None:
    state, images, code, match = BAD[name]
    for ask in (policy.predict, policy.step):
        with raises_code(UsageError, code, match) as refused:
            ask(state, images)
        assert "\n" not in str(refused.value)
        assert "expected" in str(refused.value)


def test_an_environment_state_for_a_policy_without_one_is_refused(policy: LoadedPolicy) -> None:
    with raises_code(UsageError, "observation-env-state", "observes none"):
        policy.predict(STATE, frames(), env_state=[1.0])


def test_a_checkpoint_needs_its_own_contract(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    other = write_policy(tmp_path / "other", dims=4)
    shutil.copy(other / "policy_best.ckpt", tmp_path / "policy_best.ckpt")
    with raises_code(UsageError, "contract-other", "not in the policy.json"):
        load(tmp_path)
    (tmp_path / "policy.json").unlink()
    with raises_code(UsageError, "contract-unreadable", "lerobot-to-act contract"):
        load(tmp_path)
    with raises_code(UsageError, "contract-unreadable"):
        load(tmp_path / "policy_best.ckpt")


def test_a_checkpoint_under_another_name_is_known_by_its_digest(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "policy_best.ckpt").rename(tmp_path / "policy_average.ckpt")
    with raises_code(UsageError, "checkpoint-missing", "expected one of: average"):
        load(tmp_path)
    expected = load(folder).predict(STATE, frames())
    found = load(tmp_path, checkpoint="average").predict(STATE, frames())
    np.testing.assert_array_equal(found, expected)


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_known(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on: its contract lists the new digest before the file has its name."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    content = json.loads((folder / "policy.json").read_text())
    [listed] = content["checkpoints"].values()
    before = content | {"checkpoints": {"policy_best.ckpt": ["0" * 64]}}
    (tmp_path / "policy.json").write_text(json.dumps(before))

    def digest(path: Path) -> str:
        (tmp_path / "policy.json").write_text(json.dumps(content))
        return sha256(path)

    monkeypatch.setattr("act.load.source.sha256", digest)
    assert [find_source(tmp_path).sha256] == listed


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    write_policy(tmp_path)
    content = json.loads((tmp_path / "policy.json").read_text())
    content["network"]["hidden_dim"] = 64
    (tmp_path / "policy.json").write_text(json.dumps(content))
    with raises_code(UsageError, "weights-mismatch", "size mismatch"):
        load(tmp_path)
    content["network"] |= {"hidden_dim": 32, "num_heads": 4}
    (tmp_path / "policy.json").write_text(json.dumps(content))
    with raises_code(UsageError, "weights-mismatch", "4 attention heads"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (camera(1, name="top"), "names that differ"),
        *(
            (lambda content, file=file: content.update(file=file), "file: ")
            for file in (
                "../p1/policy_best.ckpt",
                "/policy_best.ckpt",
                "..",
                "",
                "a\\b.ckpt",
                "a\nb.ckpt",
            )
        ),
    ],
)
def test_a_contract_that_points_elsewhere_or_at_two_cameras_is_refused(
    tmp_path: Path, edit: Any, match: str
) -> None:
    write_policy(tmp_path, edit)
    with raises_code(UsageError, "contract-unreadable", match) as refused:
        load(tmp_path)
    assert "\n" not in str(refused.value)


def save_listed(folder: Path, weights: Weights) -> None:
    """Replace the weights of a folder, and list them."""
    save_weights(folder / "policy_best.ckpt", weights)
    content = json.loads((folder / "policy.json").read_text())
    content["checkpoints"]["policy_best.ckpt"].append(sha256(folder / "policy_best.ckpt"))
    (folder / "policy.json").write_text(json.dumps(content))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_weights_of_another_type_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = load_weights(write_policy(tmp_path) / "policy_best.ckpt")
    name = "model.action_head.bias"
    save_listed(tmp_path, weights | {name: weights[name].to(dtype)})
    with raises_code(UsageError, "weights-mismatch", f"{name} is {str(dtype)[6:]}"):
        load(tmp_path)


def test_nan_never_leaves(tmp_path: Path) -> None:
    write_policy(tmp_path)
    weights = load_weights(tmp_path / "policy_best.ckpt")
    weights["model.action_head.bias"][1] = torch.nan
    save_listed(tmp_path, weights)
    loaded = load(tmp_path)
    for ask in (loaded.predict, loaded.step):
        with raises_code(UsageError, "action-not-finite", "elbow"):
            ask(STATE, frames())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"device": "tpu"}, "flag-value"),
        ({"precision": "fp8"}, "flag-value"),
        ({"precision": "tf32"}, "precision-unsupported"),
        ({"compile": "yes"}, "flag-value"),
    ],
)
def test_a_wrong_option_is_refused(folder: Path, options: dict[str, Any], code: str) -> None:
    with raises_code(UsageError, code):
        load_policy(folder, **({"device": "cpu"} | options))


@pytest.mark.parametrize("source", [None, 3, "x" * 5000, "a/" * 5000, "a\0b", Path("x" * 300)])
def test_what_is_no_path_is_refused(source: Any) -> None:
    with raises_code(UsageError, "policy-missing") as refused:
        load_policy(source)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["**", "*", "[", "x" * 300, "a\0b", "", 3])
def test_a_checkpoints_name_is_no_pattern(folder: Path, name: Any) -> None:
    with raises_code(UsageError, "checkpoint-missing"):
        load(folder, checkpoint=name)


def test_bf16_is_the_training_networks_too(training: Short) -> None:
    found = load(training.folder, precision="bf16").predict(STATE, frames())
    assert found.dtype == np.float32
    images = np.stack(list(frames().values()))[None]
    exact = by_hand(training, STATE[None], images)[0]
    np.testing.assert_array_equal(found, by_hand(training, STATE[None], images, bf16=True)[0])
    assert 0 < abs(found - exact).max() < 0.1


def test_threads_get_what_each_asked_for(policy: LoadedPolicy) -> None:
    states = [STATE + np.float32(one) for one in range(24)]
    expected = [policy.predict(state, frames()) for state in states]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda state: policy.predict(state, frames()), states))
    np.testing.assert_array_equal(found, expected)


def test_what_only_training_needs_is_not_kept(policy: LoadedPolicy, folder: Path) -> None:
    assert isinstance(policy.backend, TorchBackend)
    kept = set(policy.backend.policy.state_dict())
    dropped = set(load_weights(folder / "policy_best.ckpt")) - kept
    rooms = {name.split(".")[1] for name in dropped}
    assert rooms == {
        *("encoder", "encoder_joint_proj", "encoder_action_proj", "cls_embed", "pos_table"),
        *("latent_proj", "is_pad_head", "transformer"),
    }
    layers = {name.split(".")[4] for name in dropped if ".transformer." in name}
    assert layers == {"1"}  # of two; the first feeds the heads
    assert not any(one.requires_grad for one in policy.backend.policy.parameters())


def test_warming_up_changes_nothing(tmp_path: Path) -> None:
    given: list[dict[str, Any]] = [{}, {"env_state_dim": 2}]
    for shapes in given:
        loaded = load(write_policy(tmp_path / f"{len(shapes)}", **shapes))
        env_state = [0.0, 0.0] if shapes else None
        before = loaded.step(STATE, frames(), env_state)
        loaded.reset()
        loaded.warm_up()
        np.testing.assert_array_equal(loaded.step(STATE, frames(), env_state), before)


def test_loading_leaves_the_programs_random_numbers_alone(folder: Path) -> None:
    before = torch.get_rng_state()
    load(folder)
    assert torch.equal(torch.get_rng_state(), before)


_WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("h5py", "pyarrow", "av"):
            raise ModuleNotFoundError(f"{name} is not here")

sys.meta_path.insert(0, Blocked())
import act
assert "torch" not in sys.modules
import numpy as np
policy = act.load_policy(sys.argv[1], device="cpu", limits=act.Limits(action_range="data"))
images = {name: np.zeros((64, 96, 3), np.uint8) for name in policy.cameras}
print(policy.predict(np.zeros(3), images).shape, policy.step([0, 0, 0], images).shape)
"""


@pytest.mark.slow
def test_a_robot_needs_no_h5py_pyarrow_or_pyav(folder: Path) -> None:
    done = run_python("-c", _WITHOUT, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(5, 3) (3,)\n"


def test_the_package_has_what_it_names_and_nothing_else() -> None:
    assert {name: getattr(act, name).__name__ for name in act.__all__} == {
        name: name for name in act.__all__
    }
    with pytest.raises(AttributeError, match="load_polcy"):
        act.load_polcy  # noqa: B018


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_contract_of_before_is_read(tmp_path: Path, version: str) -> None:
    loaded = load(write_policy(tmp_path, lambda content: content.update(schema_version=version)))
    assert loaded.predict(STATE, frames()).shape == (CHUNK, 3)


def test_what_is_executed_by_default_is_the_contracts(tmp_path: Path) -> None:
    loaded = load(write_policy(tmp_path, part("execution", {"horizon": 2})))
    first, second = loaded.predict(STATE, frames(0)), loaded.predict(STATE, frames(3))
    found = [loaded.step(STATE, frames(ts)) for ts in range(4)]
    np.testing.assert_array_equal(found[:2], first[:2])
    assert (found[3] != second[1]).any()  # it was predicted at tick 2
    np.testing.assert_array_equal(found[2:], loaded.predict(STATE, frames(2))[:2])
