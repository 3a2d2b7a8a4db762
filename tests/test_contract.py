"""What a run remembers of the episodes that it was given; its contract, through kills."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from act.policies.contract_file import ContractFile, listed_digests, read_contract
from act.policies.dataset_section import dataset_section_of_files
from act.policies.weights import save_weights
from episodes.video.display import Display
from job.errors import UsageError
from job.whole_files import sha256, whole_copy
from tests.support.commands import make_config, run_python
from tests.support.episodes import write_episodes
from tests.support.errors import raises_code
from tests.support.schema import CONTRACT_VALIDATOR
from tests.support.training import prepared


def test_a_vector_that_changed_in_place_is_noticed(tmp_path: Path) -> None:
    paths = write_episodes(tmp_path, "raw")
    before = dataset_section_of_files(make_config(tmp_path), paths).fingerprint
    assert dataset_section_of_files(make_config(tmp_path), paths).fingerprint == before
    size = paths[1].stat().st_size
    with h5py.File(paths[1], "r+") as file:
        file["observations/qpos"][2, 1] += 0.1
    assert paths[1].stat().st_size == size
    assert dataset_section_of_files(make_config(tmp_path), paths).fingerprint != before


@pytest.mark.parametrize("entries", [(1, 0), (0, 1), (-1, 0), (0, -1)])
@pytest.mark.parametrize("hand", [1, -1])
def test_a_loader_turns_frames_as_training_did(entries: tuple[int, int], hand: int) -> None:
    """What the contract says of a camera is what the conversion has done."""
    a, b = entries
    display = Display(a, b, -hand * b, hand * a)
    frame = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    turn = display.turn
    turned = np.rot90(frame[:, ::-1] if turn.mirrored else frame, round(turn.degrees) // 90)
    np.testing.assert_array_equal(turned, display.apply(frame))


WEIGHTS = {"a": torch.zeros(3)}


@pytest.fixture
def contract(tmp_path: Path) -> ContractFile:
    """That of a run which has just been put together."""
    return prepared(tmp_path).contract


def test_the_contract_is_there_before_the_first_checkpoint(contract: ContractFile) -> None:
    assert contract.folder is not None
    assert not list(contract.folder.glob("*.ckpt"))
    found = read_contract(contract.folder)
    assert found == contract.content
    assert found.checkpoints == {}
    CONTRACT_VALIDATOR.validate(json.loads((contract.folder / "policy.json").read_text()))


def test_a_digest_is_listed_before_the_checkpoint_has_its_name(contract: ContractFile) -> None:
    """And stays: what was copied to a robot before is as valid."""
    folder = contract.folder
    assert folder is not None
    path, seen = folder / "policy_best.ckpt", []

    def note(name: str, digest: str) -> None:
        contract.add(name, digest)
        there = sha256(path) if path.exists() else None
        seen.append((read_contract(folder).checkpoints[name], there))

    for value in range(3):
        save_weights(path, {"a": torch.full((3,), value)}, note)
        assert seen[-1][0][-1] == sha256(path)
    listed = [digests for digests, _ in seen]
    assert [len(digests) for digests in listed] == [1, 2, 3]
    assert [before for _, before in seen] == [None, *listed[-1][:2]]
    whole_copy(path, folder / "policy_epoch_1_seed_0.ckpt", contract.add)
    assert read_contract(folder).checkpoints["policy_epoch_1_seed_0.ckpt"] == listed[-1][-1:]


# The writer of a run that is killed just after its n-th rename, of the contract or of a checkpoint,
# for each n until it comes to its end: which checkpoints are in no contract then.
_KILLED = """
import os, signal, sys
from itertools import count
from pathlib import Path
import torch
from act.policies.contract_file import ContractFile, read_contract
from act.policies.weights import save_weights
from job.whole_files import sha256, whole_copy

folder, replace = Path(sys.argv[1]), Path.replace

def write(number):
    calls = count(1)

    def killing(self, target):
        replace(self, target)
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    Path.replace = killing
    contract, best = ContractFile(folder, read_contract(folder)), folder / "policy_best.ckpt"
    save_weights(best, {"a": torch.full((3,), number)}, contract.add)
    save_weights(best, {"a": torch.full((3,), -number)}, contract.add)
    whole_copy(best, folder / "policy_epoch_1_seed_0.ckpt", contract.add)
    os._exit(0)

for number in count(1):
    pid = os.fork() or write(number)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    listed = read_contract(folder).checkpoints
    found = [path for path in folder.glob("*.ckpt") if sha256(path) not in listed[path.name]]
    print(number, killed, len(listed), found, flush=True)
    if not killed:
        break
"""


@pytest.mark.slow
def test_a_kill_between_the_steps_leaves_no_checkpoint_without_its_contract(
    contract: ContractFile,
) -> None:
    assert contract.folder is not None
    done = run_python("-c", _KILLED, contract.folder)
    assert done.returncode == 0, done.stderr
    names = [1, 1, 1, 1, 2, 2, 2]  # in the contract: the second one's digest comes before its name
    assert done.stdout.splitlines() == [
        f"{number} {number < 7} {count} []" for number, count in enumerate(names, start=1)
    ]


def test_a_run_of_before_there_were_contracts_gets_one(contract: ContractFile) -> None:
    """With the digests of the checkpoints that it has written."""
    folder = contract.folder
    assert folder is not None
    (folder / "policy.json").unlink()
    for value in range(2):
        save_weights(folder / "policy_best.ckpt", {"a": torch.full((3,), value)})
    save_weights(folder / "state.ckpt", WEIGHTS)
    ContractFile(folder, contract.content).write()
    [(name, digests)] = read_contract(folder).checkpoints.items()
    assert (name, len(digests)) == ("policy_best.ckpt", 2)
    assert digests[-1] == sha256(folder / "policy_best.ckpt")


BROKEN: dict[str, tuple[dict[str, Any] | str | None, str]] = {
    "missing": (None, "there is none"),
    "no JSON": ("{", "JSON"),
    "a list": ("[]", "object"),
    "newer": ({"schema_version": "3.0"}, "schema_version"),
    "unknown field": ({"color": 1}, "color"),
    "no camera": ({"cameras": []}, "0 cameras, and elsewhere 2"),
    "a dim less": ({"statistics": {"qpos_mean": [0.0]}}, "the state has 3 dims"),
    "no dims": ({"statistics": {"qpos_mean": []}}, "the state has 3 dims"),
    "no digest": ({"checkpoints": {"policy_best.ckpt": ["12"]}}, "checkpoints.policy_best.ckpt.0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_contract_that_is_broken_or_not_ours_is_one_line(
    contract: ContractFile, name: str
) -> None:
    folder, (change, reason) = contract.folder, BROKEN[name]
    assert folder is not None
    path = folder / "policy.json"
    content = json.loads(path.read_text())
    path.unlink()
    if isinstance(change, str):
        path.write_text(change)
    elif change is not None:
        for field, value in change.items():
            merged = content.get(field, {}) | value if isinstance(value, dict) else value
            content[field] = merged
        path.write_text(json.dumps(content))
    with raises_code(UsageError, "contract-unreadable", reason) as refused:
        read_contract(folder)
    assert "\n" not in str(refused.value)
    if change is not None:
        with raises_code(UsageError, "contract-unreadable", "move it away"):
            listed_digests(folder)
