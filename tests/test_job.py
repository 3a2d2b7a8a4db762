"""The real command, as a process: the whole job, its outputs, its errors and exit codes."""

import contextlib
import hashlib
import importlib
import json
import os
import pickle
import pickletools
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from act import load_policy
from act.network.act import ACT
from act.policies.act import ACTPolicy
from act.policies.contract_file import read_contract
from act.policies.weights import load_weights
from convert.check.dataset import check
from convert.flags import DataFlags
from job.command import log_to_terminal, run_recorded
from job.machine import processor_name
from lerobot_to_act import do_job, job_manifest
from tests.support.commands import (
    HANGS_S,
    Ended,
    arguments,
    command_environment,
    imitate,
    make_config,
    run_job,
    start_job,
)
from tests.support.episodes import write_official
from tests.support.files import snapshot
from tests.support.paths import DATA, ROOT, SMALL
from tests.support.peak_memory import foreseen_and_peak_gb
from tests.support.processes import wait_for
from tests.support.schema import CONTRACT_VALIDATOR, SCHEMA, VALIDATOR

pytestmark = pytest.mark.slow

Job = Callable[..., Ended]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """One whole job that many tests look at."""
    output = tmp_path_factory.mktemp("done")
    return run_job(output, input=SMALL / "v30_h264", num_epochs=3, state_dim=16)


def checked(ended: Ended) -> dict[str, Any]:
    """The manifest, valid, and true of the files that it lists."""
    VALIDATOR.validate(ended.manifest)
    for artifact in ended.manifest["artifacts"]:
        content = (ended.output / artifact["path"]).read_bytes()
        assert len(content) == artifact["size_bytes"]
        assert hashlib.sha256(content).hexdigest() == artifact["sha256"]
    if policy := ended.manifest["policy"]:
        listed = {one["path"]: one["sha256"] for one in ended.manifest["artifacts"]}
        assert listed[policy["path"]] == policy["sha256"]
    return ended.manifest


def test_a_run_leaves_what_the_readme_says(done: Ended) -> None:
    assert done.code == 0, done.err
    folder = done.output / "checkpoints/test"
    found = {path.name for path in folder.iterdir()}
    assert {"policy_best.ckpt", "policy_last.ckpt", "dataset_stats.pkl", "metrics.jsonl"} <= found
    assert {f"train_val_{name}_seed_0.png" for name in ("l1", "kl", "loss")} <= found
    assert not [name for name in found if name.startswith(".")]
    assert sorted(path.name for path in done.output.iterdir()) == ["checkpoints", "manifest.json"]


UNLISTED = ("manifest.json", "run.json", "status.json")  # of a run's folder: they change last


def test_manifest_is_valid_and_true(done: Ended) -> None:
    manifest = checked(done)
    assert (manifest["status"], manifest["exit_code"]) == ("completed", 0)
    listed = {artifact["path"] for artifact in manifest["artifacts"]}
    files = {p.relative_to(done.output).as_posix() for p in done.output.rglob("*") if p.is_file()}
    assert listed == files - {"manifest.json", *(f"checkpoints/test/{name}" for name in UNLISTED)}
    assert [episode["length"] for episode in manifest["dataset"]["episodes"]] == [12, 25, 7, 18]
    assert manifest["dataset"]["version"] == "v3.0"
    assert manifest["split"] == {"train": [3, 2, 0], "val": [1], "shares": []}
    assert manifest["training"]["epochs_done"] == 3
    assert manifest["training"]["steps"] == 6
    assert manifest["training"]["samples"] == 9
    assert manifest["policy"]["inputs"] == ["qpos", "image"]


def test_plan_and_manifest_have_what_the_check_says_of_the_training(done: Ended) -> None:
    """Though the episodes of the job are padded to 16 dims."""
    flags, root = done.manifest["flags"], SMALL / "v30_h264"
    report = check(root, DataFlags(chunk_size=flags["chunk_size"], sim=flags["sim"]))
    found = done.manifest["estimates"]
    assert found == {name: report.facts[name] for name in ("lag", "chunk", "jumps", "idle")}
    for sentence in report.sentences.values():
        assert sentence in done.out


def test_a_loader_needs_no_more_than_the_contract(done: Ended) -> None:
    """The network is built from it, takes the checkpoint, and images as it says."""
    folder = done.output / "checkpoints/test"
    text = (folder / "policy.json").read_text()
    CONTRACT_VALIDATOR.validate(json.loads(text))
    contract = read_contract(folder)
    weights = load_weights(folder / contract.file)
    assert contract.checkpoints.keys() == {path.name for path in folder.glob("*.ckpt")}
    network = contract.network
    assert network.hidden_dim
    assert network.dim_feedforward
    assert contract.images
    model = ACT(
        qpos_dim=network.qpos_dim,
        action_dim=network.action_dim,
        chunk_size=network.chunk_size,
        hidden_dim=network.hidden_dim,
        dim_feedforward=network.dim_feedforward,
        num_heads=network.num_heads or 0,
        enc_layers=network.enc_layers or 0,
        dec_layers=network.dec_layers or 0,
        latent_dim=network.latent_dim,
        decoder_output=network.decoder_output or "first",
    )
    policy = ACTPolicy(model, kl_weight=0).eval()
    policy.load_state_dict(weights)
    camera = contract.cameras[0]
    sizes = {"batch": 1, "camera": len(contract.cameras), "channel": 3}
    sizes |= {"height": camera.height, "width": camera.width}
    shape = [sizes[axis] for axis in contract.images.layout.split(", ")]
    a_hat = policy(torch.zeros(1, network.qpos_dim), torch.zeros(shape, dtype=torch.uint8))
    assert a_hat.shape == (1, contract.action.chunk_size, len(contract.statistics.action_std))


def test_the_contract_says_what_the_robot_has_to_know(done: Ended) -> None:
    contract = read_contract(done.output / "checkpoints/test")
    assert (contract.run_name, contract.file, contract.fps) == ("test", "policy_best.ckpt", 30)
    assert contract.state.features == ["observation.state"]
    assert [dim.name for dim in contract.action.dims][5:8] == [
        "gripper.pos",
        "base.vel",
        "padding[0]",
    ]
    assert [dim.padding for dim in contract.state.dims] == [False] * 6 + [True] * 10
    assert contract.action.first_offset == 0
    assert [camera.name for camera in contract.cameras] == ["front", "wrist"]
    assert contract.cameras[1].key == "observation.images.wrist"
    assert (contract.cameras[1].recorded_height, contract.cameras[1].storage) == (96, "raw")
    table = pq.read_table(SMALL / "v30_h264/data")
    state = np.array(table["observation.state"].to_pylist(), np.float32)
    for dim, values in zip(contract.state.dims, state.T, strict=False):
        assert (dim.minimum, dim.maximum) == (values.min(), values.max())
    assert contract.statistics.model_dump(exclude_none=True) == json.loads(
        (done.output / "checkpoints/test/dataset_stats.json").read_text()
    )
    assert contract.dataset is not None
    assert contract.versions is not None
    assert contract.dataset.fingerprint == done.manifest["dataset"]["fingerprint"]
    assert contract.versions.torch == done.manifest["versions"]["torch"]


def test_the_runs_policy_takes_and_gives_the_datasets_own_dims(done: Ended) -> None:
    """Six and seven of them, where --state_dim made 16 of both."""
    policy = load_policy("test", output=done.output, device="cpu")
    assert (policy.cameras, policy.image_size, policy.fps) == (("front", "wrist"), (96, 128), 30)
    assert (len(policy.state_names or ()), len(policy.action_names or ())) == (6, 7)
    [state, *_] = pq.read_table(SMALL / "v30_h264/data")["observation.state"].to_pylist()
    images = {name: np.zeros((192, 256, 3), np.uint8) for name in policy.cameras}
    chunk = policy.predict(state, images)
    assert chunk.shape == (policy.chunk_size, 7)
    np.testing.assert_array_equal(policy.step(state, images), chunk[0])


def test_a_changed_manifest_would_not_be_valid(done: Ended) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"status": "fine"},
        {"started_at": "yesterday"},
        {"policy": None},
        {"artifacts": []},
        {"exit_code": 4},
        {"unknown": 1},
    )
    for change in changes:
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(done.manifest | change)


def test_every_field_of_the_schema_is_described() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for section in (SCHEMA, *SCHEMA["$defs"].values()):
        for name, field in section["properties"].items():
            assert field.get("description"), f"{section['title']}: {name}"


def test_metrics_have_a_line_per_epoch(done: Ended) -> None:
    lines = (done.output / "checkpoints/test/metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["step"] for row in rows] == [2, 4, 6]
    for row in rows:
        assert set(row["train"]) == set(row["val"]) == {"l1", "kl", "loss"}
        assert row["train"]["loss"] == pytest.approx(row["train"]["l1"] + 10 * row["train"]["kl"])
        assert row["grad_norm"] > 0
        assert row["wait_s"] >= 0


def test_best_is_the_lowest_validation_and_kept_twice(done: Ended) -> None:
    folder, training = done.output / "checkpoints/test", done.manifest["training"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row["val"]["loss"] for row in rows]
    assert training["best_val_loss"] == min(losses)
    assert training["best_epoch"] == losses.index(min(losses))
    named = folder / f"policy_epoch_{training['best_epoch']}_seed_0.ckpt"
    assert named.read_bytes() == (folder / "policy_best.ckpt").read_bytes()


def test_checkpoints_have_upstreams_keys_and_load_without_code(done: Ended) -> None:
    expected = json.loads((DATA.parent / "golden/state_dict_shapes.json").read_text())["small"]
    for name in ("policy_best", "policy_last"):
        path = done.output / f"checkpoints/test/{name}.ckpt"
        weights = torch.load(path, weights_only=True)
        assert set(weights) == set(expected)
        assert weights["model.action_head.weight"].shape == (16, 32)
        assert all(tensor.is_contiguous() for tensor in weights.values())


def test_statistics_load_where_numpy_is_old(done: Ended) -> None:
    path = done.output / "checkpoints/test/dataset_stats.pkl"
    operations = pickletools.genops(path.read_bytes())
    strings = [str(arg) for op, arg, _ in operations if op.name == "SHORT_BINUNICODE"]
    assert "numpy" in strings
    assert not [text for text in strings if "_core" in text]
    stats = pickle.loads(path.read_bytes())
    assert set(stats) == {"action_mean", "action_std", "qpos_mean", "qpos_std", "example_qpos"}
    assert stats["example_qpos"].shape == (18, 16)
    assert stats["action_mean"].dtype == np.float32
    plain = json.loads(path.with_suffix(".json").read_text())
    np.testing.assert_array_equal(np.float32(plain["qpos_std"]), stats["qpos_std"])


def test_the_same_command_twice_gives_the_same_bytes(done: Ended, tmp_path: Path) -> None:
    again = run_job(
        tmp_path, input=SMALL / "v30_h264", num_epochs=3, state_dim=16, convert_workers=2
    )
    for name in ("policy_best.ckpt", "policy_last.ckpt", "dataset_stats.pkl"):
        first, second = (e.output / "checkpoints/test" / name for e in (done, again))
        assert first.read_bytes() == second.read_bytes()
    refused = run_job(tmp_path, input=SMALL / "v30_h264", num_epochs=3, state_dim=16, seed=1)
    assert refused.code == 2
    assert all(value in refused.errors[0] for value in ("--seed", "0", "1"))
    assert refused.manifest["status"] == "completed"  # that of the run that is there
    assert refused.manifest["policy"]
    other = run_job(
        tmp_path, run_name="other", input=SMALL / "v30_h264", num_epochs=3, state_dim=16, seed=1
    )
    last = other.output / "checkpoints/other/policy_last.ckpt"
    assert last.read_bytes() != (done.output / "checkpoints/test/policy_last.ckpt").read_bytes()


def test_plan_is_printed_before_training(done: Ended) -> None:
    for text in (
        "LeRobot v3.0",
        "4 of 4 episodes, 0 of them already",
        "4 of 7 to 25 frames, 62 in all",
        "3 to train on, 1 to validate on",
        "front, wrist; 96x128",
        "qpos 16, action 16",
        "2 samples a step",
        "3 epochs of 2 steps, 6 steps, 9 samples",
        "M parameters",
        f"cpu, {processor_name()}",
        "checkpoints will take",
        "sim        True",
    ):
        assert text in done.out


@pytest.mark.parametrize(("frames", "expected"), [("auto", "--frames jpeg"), ("jpeg", "a GPU")])
def test_a_decoder_that_cannot_be_is_refused_before_the_conversion(
    tmp_path: Path, frames: str, expected: str
) -> None:
    refused = run_job(tmp_path / "out", input=SMALL / "v30_h264", jpeg_decoder="gpu", frames=frames)
    assert refused.code == 2, refused.err
    assert expected in refused.errors[0]
    assert [path.name for path in refused.output.iterdir()] == ["manifest.json"]


def test_memory_of_a_step_is_foreseen(tmp_path: Path) -> None:
    """Beside what the kernel saw of the whole process: four samples of two cameras, 480x640."""
    words = arguments(
        tmp_path, input=DATA / "aloha_sim_v21", num_epochs=1, batch_size=8, frames="video"
    )
    foreseen, peak = foreseen_and_peak_gb(*words, "--input", str(DATA / "aloha_sim_v30"))
    assert 0.7 < foreseen / peak < 1.3


def test_kept_episodes_train_again_without_conversion(tmp_path: Path, job: Job) -> None:
    first = run_job(
        tmp_path / "a", ["--keep_converted_hdf5"], input=SMALL / "v30_h264", num_epochs=1
    )
    assert first.code == 0, first.err
    episodes = tmp_path / "a/converted_hdf5/test"
    assert len(list(episodes.iterdir())) == 4
    listed = {artifact["path"] for artifact in checked(first)["artifacts"]}
    assert {f"converted_hdf5/test/{path.name}" for path in episodes.iterdir()} < listed
    direct = job(input=episodes, num_epochs=1)
    assert direct.code == 0, direct.err
    manifest = checked(direct)
    assert manifest["dataset"]["format"] == "aloha_hdf5"
    assert manifest["conversion"] is None
    assert [camera.name for camera in direct.contract.cameras] == ["front", "wrist"]
    last = "checkpoints/test/policy_last.ckpt"
    assert (direct.output / last).read_bytes() == (first.output / last).read_bytes()

    for flag in ("--keep_converted_hdf5", "--camera_keys=front"):
        refused = job(input=episodes, num_epochs=1, run_name="refused", extra=(flag,))
        assert refused.code == 2
        assert flag.partition("=")[0] in refused.errors[0]


def test_upstreams_command_on_official_episodes_of_any_length(tmp_path: Path) -> None:
    write_official(tmp_path / "episodes", [1, 9, 10, 30])
    ended = imitate(tmp_path)
    assert ended.code == 0, ended.err
    checked(ended)
    weights = torch.load(tmp_path / "run/policy_last.ckpt", weights_only=True)
    assert weights["model.action_head.weight"].shape == (14, 32)
    contract = read_contract(tmp_path / "run")  # its manifest is in the run's folder anyway
    assert contract.run_name is None
    assert {dim.name for dim in (*contract.state.dims, *contract.action.dims)} == {None}
    assert contract.cameras[0].key is None
    refused = imitate(tmp_path, "--eval")
    assert refused.code == 2
    assert "--eval" in refused.errors[0]


def test_cnnmlp(tmp_path: Path, job: Job) -> None:
    ended = job(
        input=DATA / "aloha_sim_v30",
        max_episodes=2,
        num_epochs=1,
        policy_class="CNNMLP",
        camera_keys="observation.images.top",
        **dict.fromkeys(("chunk_size", "hidden_dim", "dim_feedforward")),
    )
    assert ended.code == 0, ended.err
    assert set(checked(ended)["training"]["last_val"]) == {"mse", "loss"}
    contract = read_contract(ended.output / "checkpoints/test")
    assert (contract.network.hidden_dim, contract.network.latent_dim) == (None, 0)
    assert (contract.action.chunk_size, contract.execution.horizon) == (1, 1)


def test_one_episode_trains_loudly(job: Job) -> None:
    """And without weights, with norms of its own frames."""
    ended = job(input=SMALL / "v30_h264", max_episodes=1, num_epochs=1, backbone_weights="none")
    assert ended.code == 0, ended.err
    network = ended.contract.network
    assert (network.backbone_weights, network.batch_norm) == ("none", "frames")
    assert "There is one episode" in ended.err
    assert checked(ended)["split"] == {"train": [0], "val": [0], "shares": []}
    assert any("There is one episode" in warning for warning in ended.manifest["warnings"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_while_training_ends_with_75(tmp_path: Path, number: signal.Signals) -> None:
    ended = interrupt(tmp_path, "train:", number, input=SMALL / "v30_h264", num_epochs=100000)
    assert ended.code == 75
    manifest = checked(ended)
    assert (manifest["status"], manifest["exit_code"]) == ("interrupted", 75)
    assert manifest["reason"].startswith(number.name)
    rows = (tmp_path / "checkpoints/test/metrics.jsonl").read_text().splitlines()
    losses = [json.loads(row)["val"]["loss"] for row in rows]
    assert manifest["training"]["epochs_done"] == len(rows)
    if rows:
        assert manifest["training"]["best_val_loss"] <= min(losses)
        assert "policy_best.ckpt" in {Path(a["path"]).name for a in manifest["artifacts"]}


def test_a_signal_while_converting_ends_with_75(tmp_path: Path) -> None:
    ended = interrupt(
        tmp_path, "convert:", signal.SIGTERM, input=DATA / "aloha_sim_v21", convert_workers=1
    )
    assert ended.code == 75
    assert checked(ended)["status"] == "interrupted"
    episodes = list((tmp_path / "converted_hdf5/test").iterdir())
    assert not [path for path in episodes if not path.name.startswith("episode_")]


def test_training_on_the_kept_episodes_of_the_same_output_keeps_them(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"num_epochs": 1, "camera_keys": "none", "backbone_weights": None}
    first = run_job(tmp_path, ["--keep_converted_hdf5"], input=SMALL / "v30_h264", **flags)
    assert first.code == 0, first.err
    episodes = tmp_path / "converted_hdf5/test"
    before = snapshot(episodes)
    again = run_job(tmp_path, run_name="again", input=episodes.parent, **flags)
    assert again.code == 0, again.err
    assert snapshot(episodes) == before
    shutil.copytree(episodes, episodes.parent / "other", copy_function=os.link)
    twice = run_job(tmp_path, run_name="twice", input=episodes.parent, **flags)
    assert twice.code == 2
    assert str(episodes) in twice.errors[0]
    assert str(episodes.parent / "other") in twice.errors[0]
    inside = run_job(episodes / "run", input=episodes, **flags)
    assert inside.code == 2
    assert str(episodes) in inside.errors[0]
    assert not (episodes / "run/manifest.json").exists()


@pytest.mark.parametrize(
    "place", ["converted_hdf5", "converted_hdf5/deep", "checkpoints/test", "checkpoints/test/deep"]
)
def test_an_input_where_the_job_writes_is_refused(tmp_path: Path, place: str) -> None:
    root = Path(shutil.copytree(SMALL / "v21_h264", tmp_path / place))
    before = snapshot(root)
    ended = run_job(tmp_path, input=root, num_epochs=1)
    assert_refused(ended, 2, "output-inside-input", [str(root)])
    assert snapshot(root) == before


def test_an_output_whose_runs_would_lie_in_the_input_is_refused(tmp_path: Path) -> None:
    root = Path(shutil.copytree(SMALL / "v21_h264", tmp_path / "checkpoints"))
    before = snapshot(root)
    ended = run_job(tmp_path, input=root, num_epochs=1)
    assert_refused(ended, 2, "output-inside-input", [str(root)])
    assert snapshot(root) == before


def interrupt(output: Path, phase: str, number: signal.Signals, **flags: Any) -> Ended:
    """Start a job, signal it as soon as `phase` shows in what it prints, wait for its end."""
    log = output / "stderr"
    with log.open("w") as err:
        process = start_job(output, streams=(subprocess.DEVNULL, err.fileno()), **flags)

        def is_in_phase() -> bool:
            assert process.poll() is None, log.read_text()
            return phase in log.read_text()

        wait_for(is_in_phase)
        process.send_signal(number)
        code = process.wait(timeout=HANGS_S)
    text = log.read_text()
    log.unlink()
    return Ended(code, "", text, output)


def copy(tmp_path: Path, name: str) -> Path:
    return Path(shutil.copytree(SMALL / name, tmp_path / "dataset"))


def edit_info(root: Path, **changes: Any) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def drop_column(root: Path) -> None:
    path = next((root / "data").rglob("*.parquet"))
    pq.write_table(pq.read_table(path).drop_columns(["action"]), path)


def fewer_rows(root: Path) -> None:
    path = root / "data/chunk-000/episode_000001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 20), path)


VIDEO = "videos/chunk-000/observation.images.wrist/episode_000001.mp4"
BREAKS: dict[str, tuple[Callable[[Path], Any], str, list[str]]] = {
    "no input": (shutil.rmtree, "input-missing", ["dataset"]),
    "empty input": (empty, "info-missing", ["dataset"]),
    "no info": (lambda root: (root / "meta/info.json").unlink(), "info-missing", ["info.json"]),
    "bad json": (
        lambda root: (root / "meta/info.json").write_text("{"),
        "info-unreadable",
        ["info.json"],
    ),
    "version": (
        lambda root: edit_info(root, codebase_version="v4.0"),
        "version",
        ["'v4.0'", "v2.1, v3.0"],
    ),
    "v1": (lambda root: (root / "meta").rename(root / "meta_data"), "version", ["v1.x"]),
    "fps": (lambda root: edit_info(root, fps=0), "fps", ["fps is 0", "from 0.001"]),
    "counts": (
        lambda root: edit_info(root, total_episodes=9),
        "episode-count",
        ["total_episodes is 9", "4"],
    ),
    "missing column": (drop_column, "column-missing", ["'action'", "parquet"]),
    "missing table": (
        lambda root: (root / "data/chunk-000/episode_000002.parquet").unlink(),
        "table-missing",
        ["episode_000002.parquet"],
    ),
    "missing video": (
        lambda root: (root / VIDEO).unlink(),
        "video-missing",
        ["episode_000001.mp4", "wrist"],
    ),
    "cut video": (
        lambda root: (root / VIDEO).write_bytes((root / VIDEO).read_bytes()[:2000]),
        "video-unreadable",
        ["episode_000001.mp4"],
    ),
    "lfs video": (
        lambda root: (root / VIDEO).write_text("version https://git-lfs.github.com/spec/v1\n"),
        "lfs-pointer",
        ["episode_000001.mp4"],
    ),
    "short video": (
        lambda root: shutil.copy((root / VIDEO).with_name("episode_000002.mp4"), root / VIDEO),
        "video-short",
        ["episode_000001.mp4", "7 frames", "25 rows"],
    ),
    "rows": (fewer_rows, "table-rows", ["20 rows", "25"]),
    "template": (
        lambda root: edit_info(root, data_path="../../{episode_index}.parquet"),
        "template",
        ["data_path", "../../"],
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_dataset_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    breaking, code, values = BREAKS[name]
    root = copy(tmp_path, "v21_h264")
    breaking(root)
    before = snapshot(root)
    ended = job_here(capsys, tmp_path / "output", input=root, num_epochs=1)
    assert_refused(ended, 3, code, values)
    assert checked(ended)["status"] == "failed"
    assert snapshot(root) == before


def test_the_id_of_a_dataset_on_the_hub_gets_the_command_that_downloads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = job_here(capsys, tmp_path / "output", input="lerobot/pusht")
    assert_refused(ended, 3, "input-missing", ["hf download lerobot/pusht --repo-type dataset"])


def assert_refused(ended: Ended, exit_code: int, code: str, values: Sequence[str] = ()) -> None:
    """It ended with one line, which the manifest repeats; `values` is what that names."""
    assert ended.code == exit_code, ended.err
    assert "Traceback" not in ended.err
    assert ended.errors == [f"error: {ended.manifest['reason']}"]
    assert ended.manifest["code"] == code, ended.err
    assert [value for value in values if value not in ended.errors[0]] == []


def job_here(capsys: pytest.CaptureFixture[str], output: Path, **flags: Any) -> Ended:
    """The job in this process, which has torch already: for what needs no process of its own."""
    log_to_terminal()
    config = make_config(output, **flags)
    code = run_recorded(job_manifest(config), partial(do_job, config))
    out, err = capsys.readouterr()
    return Ended(code, out, err, output)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Files are opened as a user who owns none of them."""
    for module in (
        "act.training.loop",
        "convert.input",
    ):  # this user may not read the interpreter's files
        importlib.import_module(module)
    was = os.geteuid()
    if was == 0:
        os.seteuid(12345)
    try:
        yield
    finally:
        os.seteuid(was)


def test_an_output_that_may_not_be_written_is_4(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    basetemp = tmp_path_factory.getbasetemp()
    for folder in (tmp_path, *basetemp.parents[:2], basetemp):  # xdist has a folder in between
        if "pytest-" in str(folder):
            folder.chmod(0o755)
    output = tmp_path / "output"
    output.mkdir(mode=0o555)
    with as_nobody():
        ended = job_here(capsys, output, input=SMALL / "v30_h264", num_epochs=1)
    assert ended.code == 4  # no manifest can say more
    assert len(ended.errors) == 1
    assert str(output) in ended.errors[0]
    assert "--user" in ended.errors[0]
    assert list(output.iterdir()) == []


def test_an_input_that_may_not_be_read_is_3(tmp_path: Path) -> None:
    root = copy(tmp_path, "v21_h264")
    (root / VIDEO).chmod(0)  # lerobot itself leaves mode 0600
    output = tmp_path / "output"
    output.mkdir()
    command = [sys.executable, "entrypoint.py", *arguments(output, input=root, num_epochs=1)]
    if os.geteuid() == 0:  # root without its capabilities is a user like others
        command = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *command]
    done = subprocess.run(
        command, cwd=ROOT, env=command_environment(), capture_output=True, text=True, check=False
    )
    ended = Ended(done.returncode, done.stdout, done.stderr, output)
    assert_refused(ended, 3, "file-permission", ["episode_000001.mp4"])
    assert checked(ended)["status"] == "failed"


FLAGS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "unknown": ({"num_epoch": 3}, "flag-unknown", ["--num_epoch", "--num_epochs"]),
    "value": ({"batch_size": "many"}, "flag-value", ["--batch_size", "'many'"]),
    "range": ({"chunk_size": 0}, "flag-value", ["--chunk_size is 0"]),
    "choice": ({"batch_mode": "auto"}, "flag-value", ["--batch_mode", "fixed_global"]),
    "run name": ({"run_name": "../up"}, "flag-value", ["--run_name", "'../up'"]),
    "long name": ({"run_name": "x" * 300}, "flag-value", ["--run_name", "200"]),
    "huge": ({"dist_timeout_s": 10**15}, "flag-value", ["--dist_timeout_s", "1000000000"]),
    "endless": ({"num_epochs": "9" * 400}, "flag-value", ["--num_epochs"]),
    "alias": ({"steps": 5, "num_epochs": 3}, "flags-conflict", ["--steps 5"]),
    "nothing": ({"num_epochs": 0}, "flags-conflict", ["--num_epochs"]),
    "camera counts": (
        {"camera_keys": "a,b", "camera_names": "a"},
        "camera-names",
        ["--camera_names", "1", "2"],
    ),
    "not for CNNMLP": ({"policy_class": "CNNMLP"}, "flag-unused", ["--policy_class CNNMLP"]),
    "no GPU": ({"device": "cuda"}, "device-missing", ["--device cuda"]),
    "no weights": ({"backbone_weights": "/nowhere.pth"}, "weights-missing", ["/nowhere.pth"]),
    "imagenet": ({"backbone_weights": "imagenet"}, "weights-missing", ["--backbone_weights"]),
}


@pytest.mark.parametrize("name", FLAGS)
def test_a_bad_flag_is_one_line_and_2(
    tmp_path: Path, job: Job, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags, code, values = FLAGS[name]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no weights that somebody fetched before
    if name == "no GPU" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    ended = job(input=SMALL / "v30_h264", **flags)
    assert_refused(ended, 2, code, values)
    assert checked(ended)["exit_code"] == 2
    assert [path.name for path in ended.output.iterdir()] == ["manifest.json"]


def test_a_bad_flag_keeps_the_manifest_of_an_earlier_run(job: Job, tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output/manifest.json").write_text("earlier")
    assert job(input=SMALL / "v30_h264", seed=-1).code == 2
    assert (tmp_path / "output/manifest.json").read_text() == "earlier"


def test_an_output_that_is_in_the_way(tmp_path: Path, job: Job) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output/checkpoints").write_text("")
    ended = job(input=SMALL / "v30_h264", num_epochs=1)
    assert_refused(ended, 4, "output-unwritable", ["output/checkpoints"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
@pytest.mark.parametrize(
    ("size", "frames", "code"),
    [
        ("1m", "raw", "disk-room"),
        ("1m", "auto", "output-unwritable"),
        ("6m", "auto", "output-unwritable"),
    ],
)
def test_a_full_disk_is_one_line_and_4(
    tmp_path: Path, job: Job, size: str, frames: str, code: str
) -> None:
    disk = tmp_path / "output"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    try:
        ended = job(input=SMALL / "v30_h264", num_epochs=1, frames=frames)
        assert_refused(ended, 4, code)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_episodes(job: Job) -> None:
    ended = job(input=SMALL / "v30_h264", num_epochs=50, learning_rate=1e30)
    assert_refused(ended, 5, "diverged", ["episode_"])
    best = torch.load(ended.output / "checkpoints/test/policy_best.ckpt", weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in best.values())
    assert checked(ended)["exit_code"] == 5
