"""The command `contract`: checkpoints that upstream wrote are loaded as our own."""

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act import UsageError, load_policy
from act.contract import CONTRACT_COMMAND, main, write_contract
from act.policies.contract_file import read_contract
from act.policies.flags import PolicyFlags
from act.policies.statistics import load_stats, save_stats
from act.policies.weights import load_weights, save_weights
from tests.support.commands import run_python
from tests.support.errors import raises_code
from tests.support.loading import CHUNK, STATE, frames, write_policy, write_weights
from tests.support.schema import CONTRACT_VALIDATOR


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights and statistics, as upstream leaves them."""
    return write_weights(tmp_path / "upstream")


def words(folder: Path, *more: str, cameras: str = "top,wrist") -> list[str]:
    size = () if "--image_size" in more else ("--image_size", "32x48")
    return [str(folder), "--camera_names", cameras, "--fps", "50", *size, *more]


def test_what_upstream_wrote_is_loaded_with_a_short_contract(folder: Path) -> None:
    with raises_code(UsageError, "contract-unreadable", "lerobot-to-act contract FOLDER"):
        load_policy(folder)
    assert main(words(folder)) == 0
    CONTRACT_VALIDATOR.validate(json.loads((folder / "policy.json").read_text()))
    loaded = load_policy(folder, device="cpu")
    assert (loaded.cameras, loaded.fps, loaded.image_size) == (("top", "wrist"), 50, (32, 48))
    assert (loaded.action_names, loaded.chunk_size) == (None, CHUNK)
    ours = load_policy(write_policy(folder.parent / "ours"), device="cpu")
    expected = ours.predict(STATE, frames())
    np.testing.assert_array_equal(loaded.predict(STATE, frames()), expected)
    np.testing.assert_array_equal(loaded.step(STATE, frames()), expected[0])


def test_the_sizes_are_those_of_the_weights(tmp_path: Path) -> None:
    flags = PolicyFlags(chunk_size=7, hidden_dim=64, dim_feedforward=48, enc_layers=2, dec_layers=3)
    folder = write_weights(tmp_path, flags, dims=14, cameras=1)
    write_contract(CONTRACT_COMMAND.parse(words(folder, cameras="top")))
    network = read_contract(folder).network
    assert (network.chunk_size, network.hidden_dim, network.dim_feedforward) == (7, 64, 48)
    assert (network.enc_layers, network.dec_layers, network.latent_dim) == (2, 3, 32)
    assert (network.qpos_dim, network.action_dim, network.num_heads) == (14, 14, 8)


@pytest.mark.parametrize(("sim", "offset"), [("true", 0), ("false", -1), ("unknown", None)])
def test_sim_says_which_action_is_the_first(folder: Path, sim: str, offset: int | None) -> None:
    write_contract(CONTRACT_COMMAND.parse(words(folder, "--sim", sim)))
    assert read_contract(folder).action.first_offset == offset


def test_every_checkpoint_of_the_folder_is_listed(folder: Path) -> None:
    weights = load_weights(folder / "policy_best.ckpt")
    save_weights(folder / "policy_epoch_100_seed_0.ckpt", weights)
    write_contract(CONTRACT_COMMAND.parse(words(folder)))
    assert load_policy(folder, checkpoint="epoch_100", device="cpu").fps == 50
    write_contract(CONTRACT_COMMAND.parse(words(folder, "--sim", "true")))  # its own is replaced


def test_the_contract_of_a_run_is_not_replaced(tmp_path: Path) -> None:
    recorded: dict[str, Any] = {
        "format": "aloha_hdf5",
        "version": None,
        "paths": [],
        "robot_type": None,
        "tasks": [],
        "fingerprint": "0" * 64,
    }
    folder = write_policy(tmp_path, lambda content: content.update(dataset=recorded))
    before = (folder / "policy.json").read_bytes()
    with raises_code(UsageError, "contract-there"):
        write_contract(CONTRACT_COMMAND.parse(words(folder)))
    assert (folder / "policy.json").read_bytes() == before


def test_cnnmlp_of_upstream_is_known_by_its_weights(tmp_path: Path) -> None:
    flags = PolicyFlags(policy_class="CNNMLP")
    folder = write_weights(tmp_path, flags, cameras=1, size=(385, 385))
    write_contract(CONTRACT_COMMAND.parse(words(folder, "--image_size", "385x385", cameras="top")))
    assert read_contract(folder).policy_class == "CNNMLP"
    with raises_code(UsageError, "weights-mismatch"):
        write_contract(CONTRACT_COMMAND.parse(words(folder, "--image_size", "385x385")))


def test_what_upstream_did_not_write_is_refused(folder: Path, tmp_path: Path) -> None:
    with raises_code(UsageError, "checkpoint-missing", "policy_best.ckpt"):
        write_contract(CONTRACT_COMMAND.parse(words(tmp_path)))
    stats = load_stats(folder / "dataset_stats.pkl")
    save_stats(folder, {"action_mean": stats["action_mean"]})
    with raises_code(UsageError, "weights-unreadable", "qpos_std"):
        write_contract(CONTRACT_COMMAND.parse(words(folder)))
    save_stats(folder, {name: one[:2] for name, one in stats.items()})
    with raises_code(UsageError, "weights-mismatch"):
        write_contract(CONTRACT_COMMAND.parse(words(folder)))
    save_stats(folder, stats)
    weights = load_weights(folder / "policy_best.ckpt")
    save_weights(folder / "policy_best.ckpt", {name: one.half() for name, one in weights.items()})
    with raises_code(UsageError, "weights-mismatch", "is float16, expected float32"):
        write_contract(CONTRACT_COMMAND.parse(words(folder)))
    del weights["model.latent_out_proj.weight"]
    save_weights(folder / "policy_best.ckpt", weights)
    with raises_code(UsageError, "weights-mismatch", "latent_out_proj"):
        write_contract(CONTRACT_COMMAND.parse(words(folder)))
    assert not (folder / "policy.json").exists()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("qpos_std", np.ones(2, np.float32)),
        ("qpos_mean", np.array([1, np.nan, 1], np.float32)),
        ("action_std", np.zeros(3, np.float32)),
        ("action_mean", np.array(["a", "b", "c"])),
        ("action_mean", np.ones(3, np.complex64)),
    ],
)
def test_statistics_that_are_no_numbers_for_each_dim_are_one_line(
    folder: Path, name: str, wrong: Any
) -> None:
    save_stats_of(folder, load_stats(folder / "dataset_stats.pkl") | {name: wrong})
    with raises_code(UsageError, "weights-unreadable", name):
        write_contract(CONTRACT_COMMAND.parse(words(folder)))
    assert not (folder / "policy.json").exists()


def save_stats_of(folder: Path, stats: dict[str, Any]) -> None:
    (folder / "dataset_stats.pkl").write_bytes(pickle.dumps(stats, protocol=4))


def test_a_broken_contract_is_to_be_removed(folder: Path) -> None:
    (folder / "policy.json").write_text("{")
    with raises_code(UsageError, "contract-unreadable", "remove it, and"):
        write_contract(CONTRACT_COMMAND.parse(words(folder)))
    (folder / "policy.json").unlink()
    os.mkfifo(folder / "policy_x.ckpt")
    with raises_code(UsageError, "weights-unreadable", "policy_x.ckpt"):
        write_contract(CONTRACT_COMMAND.parse(words(folder)))
    (folder / "policy_x.ckpt").unlink()
    write_contract(CONTRACT_COMMAND.parse(words(folder)))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (["--camera_names", "top", "--fps", "50"], "flag-missing"),
        (["folder", "--fps", "50"], "flag-missing"),
        (["folder", "--camera_names", "top"], "flag-missing"),
        (["folder", "--camera_names", "top,top", "--fps", "50"], "flag-value"),
        (["folder", "--camera_names", "auto", "--fps", "50"], "flag-value"),
        (["folder", "--camera_names", "top", "--fps", "0"], "flag-value"),
        (["folder", "--camera_names", "top", "--fps", "5", "--image_size", "own"], "flag-value"),
        (["folder", "--camera_names", "top", "--fps", "5", "--simm", "true"], "flag-unknown"),
    ],
)
def test_a_wrong_command_is_refused(given: list[str], code: str) -> None:
    with raises_code(UsageError, code):
        CONTRACT_COMMAND.parse(given)


@pytest.mark.parametrize("program", [["entrypoint.py", "contract"], ["-m", "act.contract"]])
def test_the_command_says_what_is_wrong_before_torch_is_imported(program: list[str]) -> None:
    done = run_python("-X", "importtime", *program, "/nowhere", "--camera_names", "a")
    assert done.returncode == 2
    assert "error: missing flags: --fps" in done.stderr
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)
