"""A policy as LeRobot's folder, and back: `export --format lerobot` and `import`.

Real LeRobot is asked where LEROBOT_PYTHON is a Python that has lerobot 0.4.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from act import load_policy
from act.export.command import EXPORT, IMPORT
from act.export.exporting import export
from act.export.importing import import_lerobot
from act.export.lerobot_import import read_lerobot
from act.export.lerobot_run import run_lerobot
from act.export.observations import random_observations
from act.load.source import find_source
from act.policies.statistics import load_stats
from act.policies.weights import load_weights
from job.errors import OutputError, UsageError
from tests.support.errors import raises_code
from tests.support.loading import DIMS, SIZE, STATE, frames, padded, write_policy

PYTHON = os.environ.get("LEROBOT_PYTHON")


def none(*_: Any) -> None:
    """The run's dataset is not there."""


def with_padding(content: dict[str, Any]) -> None:
    padded(content)
    for name in ("qpos", "action"):
        content["statistics"][f"{name}_mean"][len(DIMS) :] = [0.0, 0.0]
        content["statistics"][f"{name}_std"][len(DIMS) :] = [0.01, 0.01]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three dims, and two of padding; of two decoder layers the first one counts."""
    return write_policy(tmp_path_factory.mktemp("runs") / "run", with_padding, dims=5)


@pytest.fixture(scope="module")
def folder(run: Path) -> Path:
    """Its `pretrained_model`."""
    words = [str(run), "--format", "lerobot", "--observations", "3"]
    return export(EXPORT.parse(words), run, none) / "pretrained_model"


def imported(folder: Path, output: Path, **flags: Any) -> Path:
    pairs = {"run_name": "back", "output": output} | flags
    words = [word for name, value in pairs.items() for word in (f"--{name}", str(value))]
    command = IMPORT.parse([str(folder), *words])
    return import_lerobot(command, command.folder)


def test_the_folder_is_cut_to_what_the_dataset_and_the_heads_have(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    shapes = {name: one["shape"] for name, one in config["input_features"].items()}
    assert shapes == {
        "observation.state": [3],
        "observation.images.top": [3, *SIZE],
        "observation.images.wrist": [3, *SIZE],
    }
    assert config["output_features"]["action"]["shape"] == [3]
    assert (config["n_decoder_layers"], config["n_action_steps"]) == (1, 5)
    weights = load_file(folder / "model.safetensors")
    assert weights["model.action_head.weight"].shape == (3, 32)
    assert weights["model.vae_encoder_action_input_proj.weight"].shape == (32, 3)
    assert not [name for name in weights if "decoder.layers.1." in name or "is_pad" in name]
    manifest = json.loads((folder.parent / "manifest.json").read_text())
    assert (manifest["images"]["height"], manifest["images"]["width"]) == SIZE
    assert "area" in manifest["images"]["rule"]
    assert [one["name"] for one in manifest["outputs"]] == ["action"]


def test_a_folder_read_back_is_the_same_policy(run: Path, folder: Path, tmp_path: Path) -> None:
    back = imported(folder, tmp_path, fps=10)
    ours, theirs = load_policy(run, device="cpu"), load_policy(back, device="cpu")
    assert (theirs.cameras, theirs.image_size, theirs.fps) == (ours.cameras, SIZE, 10.0)
    chunk = theirs.predict(STATE, frames())
    np.testing.assert_allclose(chunk, ours.predict(STATE, frames()), atol=1e-4)
    dims = theirs.contract.action.dims
    assert [(dim.minimum, dim.maximum) for dim in dims] == [(-1.0, 3.0)] * 3
    # and upstream's: its strict loading wants every key, its evaluation these statistics
    weights, before = (load_weights(one / "policy_best.ckpt") for one in (back, run))
    assert weights.keys() == {name for name in before if "decoder.layers.1." not in name}
    stats = load_stats(back / "dataset_stats.pkl")
    assert {name: one.shape for name, one in stats.items()}["action_mean"] == (3,)
    with raises_code(UsageError, "output-foreign"):
        imported(folder, tmp_path)


@pytest.mark.slow
def test_an_import_that_failed_or_was_killed_is_in_no_later_ones_way(
    folder: Path, tmp_path: Path
) -> None:
    for python in ("/bin/false", "/bin/true"):
        with raises_code(UsageError, "lerobot-failed"):
            imported(folder, tmp_path, lerobot_python=python)
    run = imported(folder, tmp_path)
    assert {path.name for path in run.iterdir()} == {
        "files.jsonl",
        "policy.json",
        "policy_best.ckpt",
        "dataset_stats.json",
        "dataset_stats.pkl",
    }
    scratch = run / ".import.partial"  # as a kill leaves it, between the first name and the last
    scratch.mkdir()
    (run / "policy.json").rename(scratch / "policy.json")
    imported(folder, tmp_path)
    assert load_policy(run, device="cpu").chunk_size == 5
    assert not scratch.exists()


def test_several_layers_that_count_stay(tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["network"]["decoder_output"] = "last"

    run = write_policy(tmp_path / "run", edit)
    words = [str(run), "--format", "lerobot", "--observations", "2"]
    found = read_lerobot(export(EXPORT.parse(words), run, none) / "pretrained_model")
    network = found.contract.network
    assert (network.dec_layers, network.decoder_output) == (2, "last")


Change = Callable[[dict[str, Any]], object]


def config(**fields: Any) -> Change:
    return lambda content: content.update(fields)


REFUSED: dict[str, Change] = {
    "import-policy": config(type="diffusion"),
    "import-obs-steps": config(n_obs_steps=2),
    "import-backbone": config(vision_backbone="resnet34"),
    "import-dilation": config(replace_final_stride_with_dilation=True),
    "import-pre-norm": config(pre_norm=True),
    "import-activation": config(feedforward_activation="gelu"),
    "import-heads": config(n_heads=4),
    "import-latent": config(latent_dim=16),
    "import-peft": config(use_peft=True),
    "import-vae-layers": config(n_vae_encoder_layers=7),
    "import-normalisation": lambda c: c["normalization_mapping"].update(ACTION="MIN_MAX"),
    "import-features": lambda c: c["input_features"].pop("observation.state"),
    "import-weights": config(dim_model=64),
    "import-unreadable": lambda c: c.pop("chunk_size"),
}


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The folder, for changes; its files are links to what is not changed."""
    made = tmp_path / "pretrained_model"
    made.mkdir()
    for path in folder.iterdir():
        (made / path.name).hardlink_to(path)
    return made


def rewrite(path: Path, change: Change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.unlink()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("code", REFUSED)
def test_what_cannot_be_ours_is_refused_by_name(copy: Path, code: str) -> None:
    rewrite(copy / "config.json", REFUSED[code])
    with raises_code(UsageError, code) as refused:
        read_lerobot(copy)
    assert "\n" not in str(refused.value)


REFUSED_TOO: tuple[tuple[Change, str], ...] = (
    (lambda c: c["normalization_mapping"].pop("STATE"), "import-normalisation"),
    (config(normalization_mapping=[1]), "import-normalisation"),
    (config(n_action_steps=None), "import-unreadable"),
    (config(n_action_steps=0), "import-unreadable"),
    (config(n_action_steps=6), "import-unreadable"),
    (config(temporal_ensemble_coeff=float("nan")), "import-unreadable"),
    (config(temporal_ensemble_coeff=[]), "import-unreadable"),
    (config(dim_model=10**30), "import-unreadable"),
    (config(n_encoder_layers=300000, n_vae_encoder_layers=300000), "import-weights"),
    (config(chunk_size=10**9), "import-weights"),
    (lambda c: c["input_features"]["observation.state"].update(shape=[10**9]), "import-weights"),
    (lambda c: c["input_features"]["observation.state"].update(shape=[3.5]), "import-features"),
    (lambda c: c["input_features"]["observation.state"].update(type="ENV"), "import-features"),
)


@pytest.mark.parametrize(("change", "code"), REFUSED_TOO)
def test_a_configuration_that_is_not_that_of_the_weights_is_one_line(
    copy: Path, change: Change, code: str
) -> None:
    rewrite(copy / "config.json", change)
    with raises_code(UsageError, code):
        read_lerobot(copy)


def normaliser(**fields: Any) -> Change:
    return lambda content: content["steps"][3]["config"].update(fields)


RELATIVE = {"registry_name": "relative_actions_processor", "config": {}}
SWAPPED = {"observation.images.top": "observation.images.wrist"}
PROCESSORS: tuple[tuple[Change, str, str], ...] = (
    (
        lambda c: c["steps"][0]["config"].update(rename_map=SWAPPED),
        "import-normalisation",
        "rename_map",
    ),
    (lambda c: c["steps"].append(RELATIVE), "import-normalisation", "relative_actions"),
    (lambda c: c["steps"][3]["config"]["norm_map"].pop("VISUAL"), "import-normalisation", "VISUAL"),
    (normaliser(features={}), "import-normalisation", "features"),
    (normaliser(normalize_observation_keys=[]), "import-normalisation", "observation_keys"),
    (normaliser(eps=0.1), "import-normalisation", "eps"),
    (
        lambda c: c["steps"][2]["config"].update(float_dtype="float16"),
        "import-normalisation",
        "float",
    ),
    (lambda c: c["steps"][3].update(state_file=None), "import-unreadable", "state_file"),
    (lambda c: c["steps"].append(c["steps"][3]), "import-unreadable", "twice"),
)


@pytest.mark.parametrize(("change", "code", "named"), PROCESSORS)
def test_a_processor_that_changes_actions_is_refused_by_name(
    copy: Path, change: Change, code: str, named: str
) -> None:
    rewrite(copy / "policy_preprocessor.json", change)
    with raises_code(UsageError, code, named):
        read_lerobot(copy)


@pytest.fixture(scope="module")
def with_env_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `pretrained_model` of a policy that observes the environment, and no images."""
    run = write_policy(tmp_path_factory.mktemp("runs") / "run", cameras=0, env_state_dim=2)
    words = [str(run), "--format", "lerobot", "--observations", "3"]
    return export(EXPORT.parse(words), run, none) / "pretrained_model"


@pytest.mark.parametrize("mode", [None, "IDENTITY", "MIN_MAX"])
def test_an_environment_state_that_lerobot_leaves_as_it_is_stays_so(
    with_env_state: Path, tmp_path: Path, mode: str | None
) -> None:
    """LeRobot's own ACT names no mode for it, and so does not normalise it."""
    folder = shutil.copytree(with_env_state, tmp_path / "pretrained_model")
    before = read_lerobot(folder).contract
    assert before.statistics.env_state_std == pytest.approx([2.0, 2.0])

    def change(modes: dict[str, Any]) -> None:
        modes.pop("ENV")
        modes.update({} if mode is None else {"ENV": mode})

    rewrite(folder / "config.json", lambda c: change(c["normalization_mapping"]))
    for name, step in (("policy_preprocessor", 3), ("policy_postprocessor", 0)):
        at = partial(lambda step, c: change(c["steps"][step]["config"]["norm_map"]), step)
        rewrite(folder / f"{name}.json", at)
    if mode == "MIN_MAX":
        with raises_code(UsageError, "import-normalisation", "ENV is 'MIN_MAX', .* 'IDENTITY'"):
            read_lerobot(folder)
        return
    found = read_lerobot(folder).contract
    assert (found.statistics.env_state_mean, found.statistics.env_state_std) == ([0, 0], [1, 1])
    assert found.env_state is not None
    assert [(dim.minimum, dim.maximum) for dim in found.env_state.dims] == [(0, 1)] * 2
    back, ours = (load_policy(one, device="cpu") for one in _runs(folder, with_env_state, tmp_path))
    env_state = np.array([0.25, -3.0], np.float32)
    normalised = (env_state - 0.5) / 2
    chunk = back.predict(STATE, env_state=normalised)
    np.testing.assert_allclose(chunk, ours.predict(STATE, env_state=env_state), atol=1e-5)


def _runs(changed: Path, whole: Path, output: Path) -> tuple[Path, Path]:
    """What is imported of a folder that was changed, and the run that was exported."""
    return imported(changed, output), whole.parents[2]


def test_what_is_no_regular_file_is_not_waited_for(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    os.mkfifo(copy / "model.safetensors")
    with raises_code(UsageError, "import-unreadable", "regular"):
        read_lerobot(copy)


def test_statistics_that_cannot_be_ours_are_refused(copy: Path) -> None:
    path = copy / "policy_preprocessor_step_3_normalizer_processor.safetensors"
    stats = load_file(path)
    path.unlink()
    wrong = stats | {"observation.images.top.mean": torch.full((3, 1, 1), 0.5)}
    save_file(wrong, path)
    with raises_code(UsageError, "import-image-statistics", "observation.images.top"):
        read_lerobot(copy)
    lacking = {name: one for name, one in stats.items() if name != "observation.state.std"}
    save_file(lacking, path)
    with raises_code(UsageError, "import-statistics", "observation.state.std"):
        read_lerobot(copy)
    path.write_bytes(b"no tensors")
    with raises_code(UsageError, "import-unreadable"):
        read_lerobot(copy)


def test_a_processor_that_normalises_otherwise_is_refused(copy: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["steps"][3]["config"]["norm_map"]["STATE"] = "MIN_MAX"

    rewrite(copy / "policy_preprocessor.json", change)
    with raises_code(UsageError, "import-normalisation", "MIN_MAX"):
        read_lerobot(copy)


def test_a_folder_of_before_there_were_processors_is_read(copy: Path) -> None:
    stats = load_file(copy / "policy_preprocessor_step_3_normalizer_processor.safetensors")
    expected = read_lerobot(copy).contract.statistics
    weights = load_file(copy / "model.safetensors")
    for name, one in stats.items():
        feature, _, what = name.rpartition(".")
        side = "unnormalize_outputs" if feature == "action" else "normalize_inputs"
        weights[f"{side}.buffer_{feature.replace('.', '_')}.{what}"] = one
    for path in (*copy.glob("policy_*"), copy / "model.safetensors"):
        path.unlink()
    save_file(weights, copy / "model.safetensors")
    assert read_lerobot(copy).contract.statistics == expected


def test_without_a_vae_the_actions_are_the_same(copy: Path, tmp_path: Path) -> None:
    """Its encoder is not computed there; in the checkpoint it stands, as 0."""
    expected = load_policy(imported(copy, tmp_path / "a"), device="cpu").predict(STATE, frames())
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    kept = {name: one.clone() for name, one in weights.items() if "vae_encoder" not in name}
    save_file(kept, copy / "model.safetensors")
    rewrite(copy / "config.json", config(use_vae=False, n_vae_encoder_layers=7))
    found = load_policy(imported(copy, tmp_path / "b"), device="cpu").predict(STATE, frames())
    np.testing.assert_array_equal(found, expected)


def test_ensembling_is_kept(copy: Path) -> None:
    rewrite(copy / "config.json", config(n_action_steps=1, temporal_ensemble_coeff=0.1))
    execution = read_lerobot(copy).contract.execution
    assert (execution.mode, execution.ensembling_weight) == ("temporal_ensembling", 0.1)
    assert execution.horizon == 5


@pytest.mark.parametrize("cameras", [2, 0])
def test_ensembling_is_written_as_it_was_read(tmp_path: Path, cameras: int) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["execution"].update(mode="temporal_ensembling", ensembling_weight=0.1)

    run = write_policy(tmp_path / "run", edit, cameras=cameras, env_state_dim=2)
    words = [str(run), "--format", "lerobot", "--observations", "1"]
    folder = export(EXPORT.parse(words), run, none)
    written = json.loads((folder / "pretrained_model/config.json").read_text())
    assert (written["n_action_steps"], written["temporal_ensemble_coeff"]) == (1, 0.1)
    found = read_lerobot(folder / "pretrained_model").contract.execution
    assert found == find_source(run).contract.execution
    notes = " ".join(json.loads((folder / "manifest.json").read_text())["notes"])
    assert ("resize" in notes) == bool(cameras)


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="LEROBOT_PYTHON names no Python that has lerobot")
@pytest.mark.parametrize("env_state_dim", [0, 2])
def test_real_lerobot_gives_the_same_actions(tmp_path: Path, env_state_dim: int) -> None:
    """Through its own processors, for the export and for what is imported of it."""
    run = write_policy(tmp_path / "run", with_padding, dims=5, env_state_dim=env_state_dim)
    words = [str(run), "--format", "lerobot", "--lerobot_python", str(PYTHON)]
    left = export(EXPORT.parse(words), run, none)
    _, parity = json.loads((left / "manifest.json").read_text())["parity"]
    print(f"\n{parity['ran_in']}: {parity['largest_in_std']:.2g} standard deviations")  # noqa: T201
    assert parity["ran_in"].startswith("lerobot 0.4")
    assert parity["observations"] == 100
    assert parity["largest_in_std"] <= 1e-4
    imported(left / "pretrained_model", tmp_path, lerobot_python=PYTHON)


STOCK = """
import sys, torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors

def feature(kind, *shape):
    return PolicyFeature(type=FeatureType[kind], shape=shape)

torch.manual_seed(0)
config = ACTConfig(
    input_features={
        "observation.state": feature("STATE", 3),
        "observation.environment_state": feature("ENV", 2),
    },
    output_features={"action": feature("ACTION", 3)},
    device="cpu", chunk_size=5, n_action_steps=5, dim_model=32, dim_feedforward=32,
    n_encoder_layers=1, n_vae_encoder_layers=1, pretrained_backbone_weights=None,
)
stats = {
    name: {"mean": torch.randn(n), "std": torch.rand(n) + 1, "min": -torch.ones(n) * 5,
           "max": torch.ones(n) * 5}
    for name, n in (("observation.state", 3), ("observation.environment_state", 2), ("action", 3))
}
ACTPolicy(config).save_pretrained(sys.argv[1])
for one in make_pre_post_processors(config, dataset_stats=stats):
    one.save_pretrained(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="LEROBOT_PYTHON names no Python that has lerobot")
def test_what_real_lerobot_saves_of_an_environment_state_is_imported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With LeRobot's own defaults, which leave the environment state as it is."""
    folder = tmp_path / "pretrained_model"
    subprocess.run([str(PYTHON), "-c", STOCK, str(folder)], check=True, cwd=tmp_path)
    assert "ENV" not in json.loads((folder / "config.json").read_text())["normalization_mapping"]
    caplog.set_level("INFO", "act")
    run = imported(folder, tmp_path, lerobot_python=PYTHON)
    assert find_source(run).contract.statistics.env_state_std == [1, 1]
    (said,) = [line for line in caplog.messages if line.startswith("parity")]
    (in_std,) = re.findall(r"(\S+) of a dim's", said)
    assert float(in_std) <= 1e-4


def test_a_lerobot_gets_each_observation_of_the_datasets_own_dims(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in of LeRobot's Python gives back what it gets, by a path that is relative too."""
    code = f"""#!{sys.executable}
import sys, numpy as np
from pathlib import Path
assert Path(sys.argv[2]).is_dir(), sys.argv
files = [np.load(path) for path in sorted(Path(sys.argv[3]).iterdir())]
assert {{one["observation.images.wrist"].shape for one in files}} == {{(3, 32, 48)}}
np.savez(sys.argv[4], actions=[one["observation.state"] for one in files], version="of a test")
"""
    python = tmp_path / "python"
    python.write_text(code)
    python.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    contract = find_source(run).contract
    observations = random_observations(contract, 3)
    found, ran_in = run_lerobot(python, Path(), contract, observations, Path("scratch"))
    expected = [one.state[0, : len(DIMS)] for one in observations.make()]
    np.testing.assert_array_equal(found, expected)
    assert ran_in == "lerobot of a test"
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


def test_a_disk_that_does_not_take_the_observations_is_one_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    contract = find_source(run).contract
    observations = random_observations(contract, 1)
    scratch = tmp_path / "file/scratch"
    with raises_code(OutputError, "output-unwritable", "scratch"):
        run_lerobot(Path(sys.executable), tmp_path, contract, observations, scratch)


def test_a_python_without_lerobot_is_one_line(folder: Path, run: Path, tmp_path: Path) -> None:
    before = (folder.parent / "manifest.json").read_bytes()
    for python in ("/nowhere/python", "/bin/false", "/bin/true"):
        words = [str(run), "--format", "lerobot", "--observations", "1"]
        with raises_code(UsageError, "lerobot-failed"):
            export(EXPORT.parse([*words, "--lerobot_python", python]), run, none)
    assert (folder.parent / "manifest.json").read_bytes() == before
    assert find_source(run).contract.policy_class == "ACT"
