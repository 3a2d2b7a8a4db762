"""`export`: ONNX, torch.export and LeRobot's folder against the checkpoint that they are of."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from act import load_policy
from act.export.command import EXPORT
from act.export.exporting import ReadEpisodes, export
from act.export.graph import Graph
from act.export.lerobot_folder import refuse_unrepresentable
from act.export.observations import random_observations, recorded_observations
from act.export.onnx_model import write_onnx
from act.export.parity import Reference, actions_of, compared, reference_actions
from act.export.publishing import publish
from act.export.torch_program import (
    PACKAGE,
    PROGRAM,
    compile_package,
    program_backend,
    program_of,
)
from act.load.loading import ComputeOptions
from act.load.onnx_backend import CONTRACT_KEY, LAYOUT_KEY, OnnxBackend
from act.load.packages import needed
from act.load.source import find_source, is_name
from act.load.torch_backend import TorchBackend
from act.policies.flags import PolicyFlags
from convert.of_run import episodes_of_run
from episodes.episode_set import open_episodes
from job.errors import UsageError
from job.sections.export import Export
from job.whole_files import sha256
from lerobot_to_act import recorded_episodes
from tests.support.episodes import write_episodes
from tests.support.errors import raises_code
from tests.support.loading import DIMS, SIZE, SMALL, STATE, frames, padded, write_policy
from tests.support.markdown import Page
from tests.support.paths import DATA, ROOT
from tests.support.schema import EXPORT_VALIDATOR

CPU = ComputeOptions(device="cpu", precision="fp32", compile="off")
ALOHA = 5  # dims, two of them padding


def none(*_: Any) -> None:
    """The run's dataset is not there."""


def exported(run: Path, read: ReadEpisodes = none, **flags: Any) -> tuple[Path, dict[str, Any]]:
    """The folder of an export of few observations, and its manifest."""
    pairs = {"format": "torch_export", "observations": 3} | flags
    words = [word for name, value in pairs.items() for word in (f"--{name}", str(value))]
    folder = export(EXPORT.parse([str(run), *words]), run, read)
    manifest = json.loads((folder / "manifest.json").read_text())
    EXPORT_VALIDATOR.validate(manifest)
    for one in manifest["artifacts"]:
        assert sha256(folder / one["path"]) == one["sha256"]
    return folder, manifest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with padding, as --state_dim makes it: three dims of the dataset, and two."""

    def edit(content: dict[str, Any]) -> None:
        padded(content)
        for name in ("qpos", "action"):  # 0 throughout
            content["statistics"][f"{name}_mean"][len(DIMS) :] = [0.0, 0.0]
            content["statistics"][f"{name}_std"][len(DIMS) :] = [0.01, 0.01]

    return write_policy(tmp_path_factory.mktemp("runs") / "padded", edit, dims=ALOHA)


@pytest.fixture(scope="module")
def onnx(run: Path) -> tuple[Path, dict[str, Any]]:
    """Its export as ONNX: making one takes seconds."""
    return exported(run, format="onnx")


def test_onnx_gives_the_checkpoints_actions(run: Path, onnx: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = onnx
    [parity] = manifest["parity"]
    assert parity["largest_in_std"] <= 1e-4
    assert parity["seed"] == 0
    assert [dim["name"] for dim in parity["dims"]] == list(DIMS)
    assert manifest["opset"] == 18
    assert [one["name"] for one in manifest["inputs"]] == ["state", "images/top", "images/wrist"]
    assert manifest["inputs"][1]["shape"] == ["batch", *SIZE, 3]
    assert manifest["outputs"][0]["shape"] == ["batch", 5, 3]
    graph = needed("onnx").load(folder / "policy.onnx").graph
    axes = [one.type.tensor_type.shape.dim[0].dim_param for one in (*graph.input, *graph.output)]
    assert axes == ["batch"] * 4
    ours, theirs = load_policy(run, device="cpu"), load_policy(folder)
    assert theirs.action_names == DIMS
    chunk = ours.predict(STATE, frames())
    np.testing.assert_allclose(theirs.predict(STATE, frames()), chunk, atol=1e-4)
    batch = {name: np.stack([image, frames(3)[name]]) for name, image in frames().items()}
    both = theirs.predict(np.stack([STATE, 2 * STATE]), batch)
    np.testing.assert_allclose(both[0], chunk, atol=1e-4)
    assert abs(both[1] - both[0]).max() > 0.01  # what would be wrong by a swapped row


def test_an_onnx_file_that_was_changed_is_refused(
    onnx: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(onnx[0], tmp_path / "a")
    file = tmp_path / "a/policy.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    with raises_code(UsageError, "contract-other"):
        load_policy(tmp_path / "a")
    (tmp_path / "a/manifest.json").unlink()  # the file alone, which is none then
    with raises_code(UsageError, "weights-unreadable"):
        load_policy(file)
    with raises_code(UsageError, "flag-unused", "cuda"):
        load_policy(onnx[0], device="cuda")


@pytest.mark.parametrize("changed", ["chunk_size", "layout", "no layout"])
def test_an_onnx_file_whose_metadata_are_anothers_is_refused(
    onnx: tuple[Path, dict[str, Any]], tmp_path: Path, changed: str
) -> None:
    package = needed("onnx")
    model = package.load(onnx[0] / "policy.onnx")
    said = {one.key: one.value for one in model.metadata_props}
    if changed == "chunk_size":
        said[CONTRACT_KEY] = said[CONTRACT_KEY].replace('"chunk_size":5', '"chunk_size":4')
    else:
        said[LAYOUT_KEY] = "chw" if changed == "layout" else "diagonal"
    package.helper.set_model_props(model, said)
    package.save(model, tmp_path / "policy.onnx")
    with raises_code(UsageError, "weights-unreadable", "by its metadata"):
        OnnxBackend(tmp_path / "policy.onnx")


@pytest.mark.slow
def test_an_opset_that_the_exporter_does_not_know_is_one_line(run: Path, tmp_path: Path) -> None:
    source = find_source(run)
    program = program_of(Graph(source, "hwc"), source.contract, "hwc", 0)
    with raises_code(UsageError, "export-unrepresentable", "--opset 99"):
        write_onnx(program, tmp_path / "a.onnx", source.contract, layout="hwc", opset=99)


def test_the_page_runs(onnx: tuple[Path, dict[str, Any]]) -> None:
    page = Page(ROOT / "docs/export.md")
    blocks = [one.text for one in page.blocks if one.language == "python"]
    names: dict[str, Any] = {"state": STATE, "images": frames()}
    for text in blocks:
        shown = text.replace("/data/output/checkpoints/cube/export/onnx", str(onnx[0]))
        assert shown != text
        exec(compile(shown, "export.md", "exec"), names)
    np.testing.assert_array_equal(names["actions"][0], names["chunk"])


@pytest.mark.slow
@pytest.mark.parametrize(("number_format", "bound"), [("fp16", 0.01), ("int8", 0.05)])
def test_fewer_bits_have_their_error_beside_that_of_fp32(
    run: Path, tmp_path: Path, number_format: str, bound: float
) -> None:
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("export"))
    flags: dict[str, Any] = {
        "format": "onnx",
        "number_format": number_format,
        "layout": "chw",
        "batch": 2,
    }
    folder, manifest = exported(copy, **flags)
    fp32, less = manifest["parity"]
    assert (fp32["number_format"], less["number_format"]) == ("fp32", number_format)
    assert fp32["largest_in_std"] < less["largest_in_std"] < bound
    assert less["bound_in_std"] == 0.05
    assert manifest["inputs"][1]["shape"] == [2, 3, *SIZE]
    if number_format == "fp16":  # a second export takes as long as the first
        before = sha256(folder / "policy.onnx")
        with raises_code(UsageError, "export-inexact", "--max_error"):
            exported(copy, **flags, max_error=less["largest_in_std"] / 2)
        assert sha256(folder / "policy.onnx") == before
        assert not list(copy.glob("export/.*"))
    chunk = load_policy(folder).predict(STATE, frames())  # a batch of one, where two are taken
    expected = load_policy(copy, device="cpu").predict(STATE, frames())
    np.testing.assert_allclose(chunk, expected, atol=2 * bound)


def test_errors_are_in_real_units_and_bounded(run: Path) -> None:
    contract = find_source(run).contract
    observations = random_observations(contract, 2)
    actions = [np.zeros((5, 3), np.float32)] * 2
    reference = Reference(observations, actions, "nothing")
    off = np.zeros((5, 3), np.float32)
    off[2, 1] = 0.25
    std = contract.statistics.action_std[1]
    found = compared(contract, reference, [actions[0], off], "a test", bound=0.26 / std)
    assert (found.largest, found.dims[1].largest) == (0.25, 0.25)
    assert found.dims[1].mean == pytest.approx(0.25 / 10)
    assert found.mean == pytest.approx(0.25 / 30)
    assert found.largest_in_std == pytest.approx(0.25 / std)
    for wrong, bound in ((off, 0.24 / std), (off * np.nan, 1.0)):
        with raises_code(UsageError, "export-inexact", "elbow|shoulder"):
            compared(contract, reference, [actions[0], wrong], "a test", bound=bound)


@pytest.mark.slow
def test_a_program_gives_the_checkpoints_actions(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "act")
    folder, manifest = exported(run, layout="chw")
    assert f"{SIZE[0]}x{SIZE[1]} (height x width)" in caplog.text
    assert [one["path"] for one in manifest["artifacts"]] == ["policy.pt2"]
    assert manifest["parity"][0]["largest_in_std"] <= 1e-4
    contract = find_source(run).contract
    backend = program_backend(folder / "policy.pt2", contract, "chw", 0, compiled=False)
    observations = random_observations(contract, 2)
    theirs = actions_of(contract, observations, backend)
    ours = reference_actions(contract, observations, TorchBackend(find_source(run), CPU), "")
    np.testing.assert_allclose(theirs, ours.actions, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch_export"])
def test_cnnmlp_is_exported(tmp_path: Path, format: str) -> None:
    size = (385, 385)  # it takes no smaller ones
    flags = PolicyFlags(policy_class="CNNMLP")
    run = write_policy(tmp_path / "run", flags=flags, cameras=1, size=size)
    folder, manifest = exported(run, format=format, observations=2)
    assert manifest["parity"][0]["largest_in_std"] <= 1e-4
    assert manifest["outputs"][0]["shape"] == ["batch", 1, 3]
    if format == "onnx":
        images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
        states = np.stack([STATE, 2 * STATE])
        both = load_policy(folder).predict(states, {"top": images})
        expected = load_policy(run, device="cpu").predict(states, {"top": images})
        np.testing.assert_allclose(both, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_a_package_is_compiled(tmp_path: Path) -> None:
    """Of a policy without images: the backbone's kernels take minutes."""
    flags = replace(SMALL, dec_layers=1)  # each layer has kernels of its own
    run = write_policy(tmp_path / "run", flags=flags, cameras=0, env_state_dim=2)
    words = [str(run), "--format", "torch_export", "--aot_inductor", "--observations", "2"]
    folder = export(EXPORT.parse(words), run, none)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [one["ran_in"].split()[0] for one in manifest["parity"]] == [
        "torch.export.load,",
        "AOTInductor,",
    ]
    assert [one["path"] for one in manifest["artifacts"]] == [PROGRAM, PACKAGE]
    assert all(one["largest_in_std"] <= 1e-4 for one in manifest["parity"])


def test_without_a_compiler_no_package_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program: Any = None  # it is not looked at
    with raises_code(UsageError, "compilation-unavailable", "there is no g\\+\\+"):
        compile_package(program, tmp_path / PACKAGE)


@pytest.mark.parametrize(("cameras", "env_state_dim"), [(0, 0), (0, 2), (1, 2)])
def test_a_graph_of_other_inputs(tmp_path: Path, cameras: int, env_state_dim: int) -> None:
    shapes: dict[str, Any] = {"cameras": cameras, "env_state_dim": env_state_dim}
    source = find_source(write_policy(tmp_path / "run", **shapes))
    graph = Graph(source, "hwc").eval()
    backend = TorchBackend(source, CPU)
    for one in random_observations(source.contract, 2).make():
        inputs = [one.state]
        inputs += [] if one.images is None else list(one.images.swapaxes(0, 1))
        inputs += [] if one.env_state is None else [one.env_state]
        with torch.no_grad():
            found = graph(*map(torch.from_numpy, inputs)).numpy()
        np.testing.assert_allclose(found, one.actions_of(backend), atol=1e-5)


def test_observations_are_those_of_the_episodes(tmp_path: Path) -> None:
    """Evenly spaced, each with its own frames."""
    contract = find_source(write_policy(tmp_path / "run")).contract
    episodes = open_episodes(write_episodes(tmp_path / "episodes", "raw"))
    found = recorded_observations(episodes, contract, 3, "a test")
    first, middle, last = found.make()
    np.testing.assert_array_equal(first.state[0], episodes.qpos[0][0])
    np.testing.assert_array_equal(middle.state[0], episodes.qpos[1][3])  # 10 of 0 to 19
    np.testing.assert_array_equal(last.state[0], episodes.qpos[2][-1])
    assert last.images is not None
    assert last.images.shape == (1, 2, *SIZE, 3)
    assert last.images[0, 1, 0, 0].tolist() == [2 * 40 + 30, 100 + 40, 8 * 20 + 30]
    assert recorded_observations(episodes, contract, 100, "a test").count == 20
    other = find_source(write_policy(tmp_path / "other", cameras=1)).contract
    with raises_code(UsageError, "export-input", "cameras"):
        recorded_observations(episodes, other, 3, "a test")


def test_random_observations_are_the_same_each_time(run: Path) -> None:
    contract = find_source(run).contract
    observations = random_observations(contract, 2)
    for one, other in zip(observations.make(), observations.make(), strict=True):
        np.testing.assert_array_equal(one.state, other.state)
        np.testing.assert_array_equal(one.images, other.images)
        assert (one.state[0, len(DIMS) :] == 0).all()
        assert ((one.state >= -1) & (one.state <= 3)).all()


def test_episodes_are_read_as_the_run_read_them(tmp_path: Path) -> None:
    """A dataset is converted with the run's own flags, as many episodes as are needed."""
    record = tmp_path / "run.json"
    own = {"image_size": "24x32", "state_dim": 16, "sim": True, "camera_names": ["a", "b"]}
    cameras = {"camera_keys": ["observation.images.top", "observation.images.angle"]}
    lengths = json.dumps({"flags": own | cameras, "dataset": {"lengths": [200, 200, 200]}})
    record.write_text(lengths)
    folders = (DATA / "aloha_sim_v30",)
    flags, paths = episodes_of_run(record, folders, tmp_path / "scratch", 3)
    episodes = open_episodes(paths, flags.camera_names, flags.reading)
    assert len(paths) == 1
    assert (episodes.camera_names, episodes.image_size) == (("a", "b"), (24, 32))
    assert episodes.qpos[0].shape[1] == 16


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"flags": [], "dataset": {"lengths": []}}'])
def test_a_record_that_cannot_be_understood_is_no_run_of_defaults(
    tmp_path: Path, content: str
) -> None:
    record = tmp_path / "run.json"
    write_episodes(tmp_path / "episodes", "raw")
    folders = (tmp_path / "episodes",)
    assert len(episodes_of_run(record, folders, tmp_path, 3)[1]) == 1  # there is none
    record.write_text(content)
    with raises_code(UsageError, "run-unreadable", "run.json"):
        episodes_of_run(record, folders, tmp_path, 3)


def test_the_runs_own_dataset_is_taken_where_it_is(tmp_path: Path) -> None:
    write_episodes(tmp_path / "episodes", "raw")
    source = find_source(write_policy(tmp_path / "run"))
    words = [str(source.checkpoint.parent), "--format", "onnx"]
    assert recorded_episodes(EXPORT.parse(words), source, tmp_path) is None
    given = EXPORT.parse([*words, "--input", str(tmp_path / "episodes")])
    found = recorded_episodes(given, source, tmp_path / "scratch")
    assert found is not None
    assert found[0].lengths == [7]
    assert str(tmp_path / "episodes") in found[1]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "flag-missing"),
        (["a", "b", "--format", "onnx"], "flag-missing"),
        (["a"], "flag-missing"),
        (["a", "--format", "tflite"], "flag-value"),
        (["a", "--format", "lerobot", "--layout", "chw"], "flag-unused"),
        (["a", "--format", "torch_export", "--number_format", "int8"], "flag-unused"),
        (["a", "--format", "onnx", "--max_error", "1"], "flag-unused"),
        (["a", "--format", "onnx", "--lerobot_python", "/python"], "flag-unused"),
        (["a", "--format", "onnx", "--opset", "11"], "flag-value"),
        (["a", "--format", "onnx", "--opset", "99"], "flag-value"),
        (["a", "--format", "onnx", "--batch", "1000000"], "flag-value"),
    ],
)
def test_what_cannot_be_asked_for(words: list[str], code: str) -> None:
    with raises_code(UsageError, code):
        EXPORT.parse(words)


def test_a_name_and_a_path_are_told_apart() -> None:
    assert EXPORT.parse(["./cube", "--format", "onnx"]).run == "./cube"
    assert is_name("cube")
    assert not any(is_name(one) for one in ("./cube", "cube/", Path("cube")))


def test_a_package_that_is_not_there_is_one_line_with_its_extra() -> None:
    extras: tuple[Literal["export"], Literal["serve"]] = ("export", "serve")
    for extra in extras:
        with raises_code(UsageError, "package-missing", rf"\[{extra}\]; pip install no_such_one,"):
            needed("no_such_one.part", extra)


def test_what_lerobots_act_cannot_be_is_refused(tmp_path: Path) -> None:
    contract = find_source(write_policy(tmp_path / "run")).contract
    changes: tuple[dict[str, Any], ...] = ({"policy_class": "CNNMLP"}, {"cameras": []})
    for change in changes:
        with raises_code(UsageError, "export-unrepresentable"):
            refuse_unrepresentable(contract.model_copy(update=change))


@pytest.mark.slow
def test_only_files_of_an_export_are_replaced_or_removed(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("export"))
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("mine")
    (copy / "export").mkdir()
    place = copy / "export/torch_export"
    place.symlink_to(precious)
    with raises_code(UsageError, "output-foreign", "link"):
        exported(copy)
    assert (precious / "data").read_text() == "mine"
    place.unlink()
    place.mkdir()
    (place / "policy.pt2").write_text("mine")
    with raises_code(UsageError, "output-foreign", "policy.pt2"):
        exported(copy)
    assert (place / "policy.pt2").read_text() == "mine"


def test_publishing_removes_what_the_former_export_left(tmp_path: Path) -> None:
    folder, scratch = tmp_path / "onnx", tmp_path / "scratch"
    manifest = Export.model_construct()
    for name in ("first", "second"):
        scratch.mkdir(exist_ok=True)
        (scratch / name).write_text(name)
        publish(folder, scratch, [scratch / name], manifest)
        (folder / "notes.md").write_text("mine")
        listed = [{"path": name}, {"path": "../outside"}]
        (folder / "manifest.json").write_text(json.dumps({"artifacts": listed}))
        (tmp_path / "outside").write_text("mine")
    assert {path.name for path in folder.iterdir()} == {"second", "notes.md", "manifest.json"}
    assert (tmp_path / "outside").read_text() == "mine"
    # a kill has left the names in the place of the manifest
    (folder / "manifest.json").rename(folder / ".publishing.json")
    (scratch / "second").write_text("new")
    publish(folder, scratch, [scratch / "second"], manifest)
    assert (folder / "second").read_text() == "new"
    (folder / "manifest.json").write_text("{")
    with raises_code(UsageError, "output-foreign", "manifest.json"):
        publish(folder, scratch, [scratch / "second"], manifest)
