"""What is saved, when, and that nothing loaded is executed."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models import resnet18

from act.policies.backbone_file import IMAGENET_FILE
from act.policies.statistics import load_stats, save_stats
from act.policies.weights import copy_weights, load_weights, read_backbone, save_weights
from act.training.best import Best
from act.training.checkpoints import snapshot_epochs
from job.errors import UsageError
from job.whole_files import sha256
from tests.support.bomb import Bomb
from tests.support.errors import raises_code


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"model.a": torch.full((3,), value)}


def saved(path: Path) -> float:
    return float(load_weights(path)["model.a"][0])


def test_best_is_upstreams_rule_and_on_disk_at_once(tmp_path: Path) -> None:
    best = Best(tmp_path / "best", interval_s=0)
    for epoch, loss in enumerate([5.0, 6.0, 4.0, 4.0]):
        best.offer(epoch, loss, weights(epoch))
        best.write_in_turn()
        assert saved(tmp_path / "best") == best.epoch
    assert (best.epoch, best.loss) == (2, 4.0)


def test_best_waits_in_memory_between_writes(tmp_path: Path) -> None:
    best = Best(tmp_path / "best", interval_s=1000)
    live = weights(0)
    best.offer(0, 5.0, live)
    best.write_in_turn()
    best.offer(1, 4.0, weights(1))
    best.write_in_turn()
    live["model.a"] += 100  # training goes on; what was kept does not change
    assert saved(tmp_path / "best") == 0
    best.copy_to(tmp_path / "named")
    assert saved(tmp_path / "best") == saved(tmp_path / "named") == 1


def test_the_same_weights_give_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    strided = {"model.w": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)}
    plain = {"model.w": strided["model.w"].contiguous()}
    save_weights(tmp_path / "a.ckpt", copy_weights(strided))
    save_weights(tmp_path / "another_name.ckpt", copy_weights(plain))
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "another_name.ckpt").read_bytes()


@given(st.integers(1, 20000), st.integers(1, 40))
def test_snapshots_are_upstreams_thinned_evenly(epochs: int, keep: int) -> None:
    kept = snapshot_epochs(epochs, keep)
    assert 1 <= len(kept) <= keep
    assert set(kept) <= set(range(0, epochs, 100))
    assert kept[0] == 0
    if -(-epochs // 100) <= keep:
        assert list(kept) == list(range(0, epochs, 100))


def test_no_snapshots() -> None:
    assert list(snapshot_epochs(1000, 0)) == []


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "went_off")
    for name, content in (("torch", {"w": bomb}), ("pickle", bomb)):
        path = tmp_path / name
        if name == "torch":
            torch.save(content, path)
        else:
            path.write_bytes(pickle.dumps(content))
        with raises_code(UsageError, "weights-unreadable", name):
            load_weights(path)
    assert not (tmp_path / "went_off").exists()


def test_backbone_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pth"
    torch.save(resnet18().state_dict(), path)
    read, digest = read_backbone(str(path))
    assert read is not None
    assert "layer4.1.conv2.weight" in read
    assert digest == sha256(path)


def test_imagenet_is_read_from_the_image_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(resnet18().state_dict(), path)
    monkeypatch.setenv("BACKBONE_WEIGHTS_FILE", str(path))
    with raises_code(UsageError, "weights-damaged", r"resnet18\.pth"):
        read_backbone("imagenet")
    monkeypatch.setattr("act.policies.backbone_file.IMAGENET_SHA256", sha256(path))
    read, digest = read_backbone("imagenet")
    assert read is not None
    assert digest == sha256(path)
    assert read_backbone("none") == (None, None)


def test_imagenet_is_looked_for_where_torchvision_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKBONE_WEIGHTS_FILE", raising=False)
    for variables in ({"TORCH_HOME": "a"}, {"XDG_CACHE_HOME": "b"}, {}):
        with monkeypatch.context() as patch:
            patch.setenv("HOME", str(tmp_path / "home"))
            for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
                patch.delenv(name, raising=False)
            for name, folder in variables.items():
                patch.setenv(name, str(tmp_path / folder))
            with raises_code(UsageError, "weights-missing") as missing:
                read_backbone("imagenet")
            there = Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILE
            assert str(there) in str(missing.value)


def test_statistics_are_read_without_running_anything(tmp_path: Path) -> None:
    stats = {"action_mean": np.arange(3, dtype=np.float32), "qpos_std": np.ones(4, np.float32)}
    save_stats(tmp_path, stats)
    for protocol in (None, 2, 4, 5):
        if protocol is not None:  # as NumPy pickles itself, and so as upstream does
            (tmp_path / "dataset_stats.pkl").write_bytes(pickle.dumps(stats, protocol))
        found = load_stats(tmp_path / "dataset_stats.pkl")
        assert set(found) == set(stats)
        for name, value in stats.items():
            np.testing.assert_array_equal(found[name], value)
            assert found[name].dtype == value.dtype
            assert found[name].flags.writeable or protocol == 5  # numpy's own there are not


def test_bytes_that_a_pickle_only_claims_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "dataset_stats.pkl"
    table = b"\x80\x04Nr" + (500_000_000).to_bytes(4, "little") + b"."
    for content, reason in (
        (b"cbuiltins\nbytearray\n(I1000000000000\ntR.", "bytearray"),  # a terabyte
        (table, "LONG_BINPUT"),
        (table.replace(b"r", b"q").replace(b"N", b"N0N"), "POP"),
    ):
        path.write_bytes(content)
        with raises_code(UsageError, "weights-unreadable", reason):
            load_stats(path)


def test_a_pipe_in_the_place_of_weights_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "policy_last.ckpt"
    os.mkfifo(path)
    for load in (load_weights, load_stats):
        with raises_code(UsageError, "weights-unreadable", "regular"):
            load(path)


@pytest.mark.parametrize("name", ["code", "list", "number", "names", "objects"])
def test_other_pickles_are_refused(tmp_path: Path, name: str) -> None:
    objects = np.array([Path("x")], dtype=object)
    values: dict[str, object] = {
        "code": {"a": Bomb(tmp_path / "went_off")},
        "list": [1],
        "number": {"a": 1},
        "names": {1: np.ones(2)},
        "objects": {"a": objects},
    }
    path = tmp_path / "dataset_stats.pkl"
    path.write_bytes(pickle.dumps(values[name]))
    with raises_code(UsageError, "weights-unreadable", "dataset_stats.pkl"):
        load_stats(path)
    assert not (tmp_path / "went_off").exists()
