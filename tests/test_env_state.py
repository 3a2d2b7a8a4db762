"""The environment state, and the policy without cameras, part by part: flags, files, tokens.

tests/test_state_only.py has the whole jobs.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from act.imitate_episodes import parse as parse_upstream
from act.network.act import ACT
from act.network.position import image_position
from act.policies.statistics import norm_stats
from act.training.data import open_data
from convert.check.__main__ import main as check_command
from convert.check.dataset import check
from convert.episodes import Planned, convert_episodes
from convert.plan import make_plan
from episodes.episode_set import Episodes, open_episodes
from episodes.reading import NO_CAMERAS, Reading
from job.errors import DatasetError, JobError, UsageError
from tests.support.batches import batches
from tests.support.commands import make_config
from tests.support.episodes import CAMERAS, write_episodes
from tests.support.errors import raises_code
from tests.support.paths import SMALL
from tests.support.states import ENV_STATE, LENGTHS, add_env_state, write_states

SIZES: dict[str, Any] = {
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


def inputs(num_cameras: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """qpos (2, 5), image (2, C, 3, 32, 64), env_state (2, 6)."""
    random = torch.Generator().manual_seed(1)
    shapes = ((2, 5), (2, num_cameras, 3, 32, 64), (2, 6))
    qpos, image, env_state = (torch.randn(shape, generator=random) for shape in shapes)
    return qpos, image, env_state


def encoder_input(model: ACT, *given: Any, **named: Any) -> tuple[Tensor, Tensor]:
    """The tokens and positions that reach the transformer's encoder."""
    seen: list[tuple[Tensor, Tensor]] = []
    hook = model.transformer.encoder.register_forward_pre_hook(
        lambda _, passed: seen.append((passed[0], passed[1]))
    )
    model(*given, **named)
    hook.remove()
    return seen[0]


def by_hand(layer: nn.Linear, values: Tensor) -> Tensor:
    return (layer.weight @ values.T).T + layer.bias


@pytest.mark.parametrize("env_state_dim", [0, 6])
@pytest.mark.parametrize("has_images", [True, False])
def test_tokens_are_latent_state_environment_and_images_in_this_order(
    env_state_dim: int, has_images: bool
) -> None:
    torch.manual_seed(0)
    model = ACT(**SIZES, env_state_dim=env_state_dim, has_images=has_images)
    qpos, image, env_state = inputs()
    tokens, pos = encoder_input(
        model,
        qpos,
        image if has_images else None,
        env_state=env_state if env_state_dim else None,
    )
    expected = [model.latent_out_proj.bias.expand(2, -1)]  # the latent is zero
    expected.append(by_hand(model.input_proj_robot_state, qpos))
    if env_state_dim:
        expected.append(by_hand(model.input_proj_env_state, env_state))
    places = [model.additional_pos_embed.weight[row] for row in range(len(expected))]
    if has_images:
        features, _ = model.image_tokens(image)
        expected += features.unbind(1)
        places += image_position(1, 2, 16, torch.device("cpu")).repeat(1, 2, 1).flatten(0, 1)
    assert tokens.shape == (2, len(expected), 16)
    assert torch.allclose(tokens, torch.stack(expected, 1), atol=1e-6)
    assert torch.allclose(pos[: len(places)], torch.stack(places)[: len(pos)])
    assert model.additional_pos_embed.weight.shape[0] == 2 + bool(env_state_dim)


def test_each_vector_reaches_the_actions() -> None:
    torch.manual_seed(0)
    model = ACT(**SIZES, env_state_dim=6, has_images=False).eval()
    qpos, _, env_state = inputs()
    before = model(qpos, env_state=env_state)[0]
    for changed in ((qpos + 1, env_state), (qpos, env_state + 1)):
        assert (model(changed[0], env_state=changed[1])[0] - before).abs().max() > 1e-3
    # the posterior has not seen it, as in LeRobot's network
    model.zero_grad()
    actions, is_pad = torch.zeros(2, 4, 3), torch.zeros(2, 4, dtype=torch.bool)
    mu, logvar = model.posterior(qpos, actions, is_pad)
    (mu.sum() + logvar.sum()).backward()
    assert model.input_proj_env_state.weight.grad is None


def test_every_trained_parameter_gets_a_gradient_without_images() -> None:
    """As several processes need it: none waits for a gradient that never comes."""
    torch.manual_seed(0)
    model = ACT(**SIZES, env_state_dim=6, has_images=False)
    qpos, _, env_state = inputs()
    actions, is_pad = torch.randn(2, 4, 3), torch.zeros(2, 4, dtype=torch.bool)
    a_hat, _, mu, logvar = model(
        qpos, None, actions, is_pad, torch.randn(2, 32), env_state=env_state
    )
    (a_hat.square().sum() + mu.sum() + logvar.sum()).backward()
    idle = set(model.uncomputed_parameters())
    without = [n for n, p in model.named_parameters() if p.grad is None and p not in idle]
    assert without == ["is_pad_head.weight", "is_pad_head.bias"]


@pytest.mark.slow
def test_it_compiles_to_one_graph_without_images() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.manual_seed(0)
    model = ACT(**SIZES, env_state_dim=6, has_images=False)
    qpos, _, env_state = inputs()
    compiled = torch.compile(model, backend=keep, fullgraph=True)
    a_hat = compiled(qpos, env_state=env_state)[0]
    assert torch.allclose(a_hat, model(qpos, env_state=env_state)[0], atol=1e-6)
    assert len(graphs) == 1


def test_images_and_no_environment_state_draw_what_they_drew() -> None:
    """The order of random draws is that of before: the golden tests have the numbers."""
    torch.manual_seed(0)
    usual = ACT(**SIZES)
    following = torch.rand(1)
    torch.manual_seed(0)
    named = ACT(**SIZES, env_state_dim=0, has_images=True)
    assert torch.equal(torch.rand(1), following)
    assert named.state_dict().keys() == usual.state_dict().keys()
    assert not [name for name in usual.state_dict() if "env_state" in name]


def with_env_state(paths: list[Path], width: int = 2) -> list[Path]:
    """Add an environment state to the small episodes: (100 episode + ts) in each dim."""
    for episode, path in enumerate(paths):
        with h5py.File(path, "r+") as file:
            length = len(file["action"])
            rows = 100 * episode + np.arange(length, dtype=np.float32)
            file["observations/env_state"] = np.repeat(rows[:, None], width, axis=1)
    return paths


def test_batches_have_the_environment_state_of_their_time_steps(tmp_path: Path) -> None:
    episodes = open_episodes(
        with_env_state(write_episodes(tmp_path, "raw")), NO_CAMERAS, Reading(env_state="if_there")
    )
    stats = norm_stats(episodes)
    everything = np.concatenate(episodes.env_state)
    assert np.allclose(stats["env_state_mean"], everything.mean(axis=0))
    assert np.allclose(stats["env_state_std"], everything.std(axis=0, ddof=1))
    for batch in batches(episodes):
        assert batch.image.shape == (len(batch.qpos), 0, 0, 0, 3)
        assert batch.env_state is not None
        expected = 100 * batch.order.episode + batch.order.start_ts
        found = batch.env_state.numpy() * stats["env_state_std"] + stats["env_state_mean"]
        assert np.allclose(found, np.stack([expected, expected], 1), atol=1e-3)


def test_without_cameras_batches_are_those_with_them_but_for_the_images(tmp_path: Path) -> None:
    paths = write_episodes(tmp_path, "raw")
    seeing, blind = (open_episodes(paths, names) for names in (CAMERAS, NO_CAMERAS))
    for one, other in zip(batches(seeing), batches(blind), strict=True):
        for name in ("qpos", "action", "is_pad", "eps"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert one.env_state is other.env_state is None


def opened(paths: list[Path], *wanted: Any) -> Episodes:
    return open_episodes(paths, *wanted)


def test_images_that_nobody_sees_may_be_broken_or_missing(tmp_path: Path) -> None:
    paths = write_episodes(tmp_path, "raw")
    with h5py.File(paths[0], "r+") as file:
        del file["observations/images"], file.attrs["camera_names"]
    with h5py.File(paths[1], "r+") as file:
        del file["observations/images/top"]
        file["observations/images/top"] = np.zeros((2, 2), np.float64)
    assert opened(paths, NO_CAMERAS).camera_names == ()
    with raises_code(DatasetError, "camera-none", "--camera_names none"):
        opened([paths[0]])
    with raises_code(DatasetError, "episode-content"):
        opened(paths[1:])


def short_by_one(file: h5py.File) -> None:
    rows = file["observations/env_state"][:-1]
    del file["observations/env_state"]
    file["observations/env_state"] = rows


def not_a_number(file: h5py.File) -> None:
    file["observations/env_state"][2, 1] = np.nan


def flat(file: h5py.File) -> None:
    rows = file["observations/env_state"][:, 0]
    del file["observations/env_state"]
    file["observations/env_state"] = rows


def wider(file: h5py.File) -> None:
    rows = file["observations/env_state"][()]
    del file["observations/env_state"]
    file["observations/env_state"] = np.concatenate([rows, rows], axis=1)


def gone(file: h5py.File) -> None:
    del file["observations/env_state"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (short_by_one, "episode-content"),
        (not_a_number, "not-finite"),
        (flat, "episode-content"),
        (wider, "episodes-differ"),
        (gone, "episodes-differ"),
    ],
)
def test_an_environment_state_that_is_wrong_is_refused_where_it_is_used(
    tmp_path: Path, change: Callable[[h5py.File], None], code: str
) -> None:
    paths = with_env_state(write_episodes(tmp_path, "raw"))
    with h5py.File(paths[1], "r+") as file:
        change(file)
    with raises_code(DatasetError, code, "episode_1.hdf5"):
        opened(paths, CAMERAS, Reading(env_state="yes" if change is not gone else "if_there"))
    assert opened(paths, CAMERAS).env_state == ()  # nobody looks at it


def test_an_environment_state_that_no_file_has_is_refused_where_it_is_asked_for(
    tmp_path: Path,
) -> None:
    paths = write_episodes(tmp_path, "raw")
    assert opened(paths, CAMERAS, Reading(env_state="if_there")).env_state == ()
    with raises_code(DatasetError, "env-state-missing", "--env_state_key"):
        opened(paths, CAMERAS, Reading(env_state="yes"))


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ({"camera_keys": "none", "random_shift": 3}, "flag-unused"),
        ({"camera_keys": "none", "jitter_hue": 0.1}, "flag-unused"),
        ({"camera_keys": "none", "camera_dropout": 0.1}, "flag-unused"),
        ({"camera_keys": "none", "image_size": "24x32"}, "flag-unused"),
        ({"camera_keys": "none", "image_storage": "jpeg"}, "flag-unused"),
        ({"camera_keys": "none", "lr_backbone": 1e-4}, "flag-unused"),
        ({"camera_keys": "none", "data_cache": "gpu"}, "flag-unused"),
        ({"camera_names": "none", "backbone_weights": "none"}, "flag-unused"),
        ({"camera_keys": "none", "camera_names": "top"}, "flags-conflict"),
        ({"camera_keys": "a", "camera_names": "none"}, "flags-conflict"),
        ({"camera_keys": "none,a"}, "flag-value"),
        ({"camera_names": "a,none"}, "flag-value"),
        ({"env_state_key": "goal,none"}, "flag-value"),
    ],
)
def test_flags_that_need_a_camera_are_refused_without_one(
    tmp_path: Path, flags: dict[str, Any], code: str
) -> None:
    with raises_code(UsageError, code, "--(camera|env|random|jitter|image|lr|data|backbone)"):
        make_config(tmp_path, **{"backbone_weights": None} | flags)


def test_cnnmlp_sees_images_and_nothing_else(tmp_path: Path) -> None:
    none = dict.fromkeys(("chunk_size", "hidden_dim", "dim_feedforward", "backbone_weights"))
    for flags in ({"camera_keys": "none"}, {"env_state_key": ENV_STATE}):
        with raises_code(UsageError, "flags-conflict", "--policy_class CNNMLP .*ACT"):
            make_config(tmp_path, policy_class="CNNMLP", **none, **flags)


def test_no_camera_is_the_same_however_it_is_spelled(tmp_path: Path) -> None:
    ways = ({"camera_keys": "none"}, {"camera_names": "none"})
    by_key, by_name = (make_config(tmp_path, backbone_weights=None, **way) for way in ways)
    assert by_key.without_cameras
    assert by_key.shaping() == by_name.shaping()
    assert not make_config(tmp_path).without_cameras


@pytest.mark.parametrize(
    ("flags", "use"),
    [
        ({}, "no"),
        ({"camera_keys": "none"}, "if_there"),
        ({"camera_keys": "none", "env_state_key": "none"}, "no"),
        ({"camera_keys": "none", "env_state_key": "goal"}, "yes"),
        ({"env_state_key": "goal"}, "yes"),
        ({"env_state_key": "none"}, "no"),
    ],
)
def test_when_an_environment_state_is_used(tmp_path: Path, flags: dict[str, Any], use: str) -> None:
    assert make_config(tmp_path, **{"backbone_weights": None} | flags).env_state_use == use


def converted(folder: Path, root: Path, **flags: Any) -> Planned:
    """Convert in this process, as the workers would."""
    config = make_config(folder, **{"backbone_weights": None, "input": root} | flags)
    plan = make_plan(config, folder)
    folder.mkdir(parents=True, exist_ok=True)
    convert_episodes((plan, list(range(len(plan.sources)))), lambda _: None)
    return Planned(plan, "")


def env_states(done: Planned) -> list[np.ndarray[Any, Any] | None]:
    found = []
    for path in done.paths:
        with h5py.File(path) as file:
            there = "env_state" in file["observations"]
            found.append(file["observations/env_state"][()] if there else None)
    return found


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_conversion_without_cameras(tmp_path: Path, version: str) -> None:
    root = write_states(tmp_path / "dataset", env_state=True, version=version)
    done = converted(tmp_path / "a", root, camera_keys="none")
    assert [part.shape for part in env_states(done) if part is not None] == [
        (length, 3) for length in LENGTHS
    ]
    again = converted(tmp_path / "b", root, camera_keys="none", env_state_key="none")
    assert env_states(again) == [None] * len(LENGTHS)
    both = f"action,{ENV_STATE}"
    other = converted(tmp_path / "c", root, camera_keys="none", env_state_key=both)
    with h5py.File(other.paths[0]) as file:
        joined = file["observations/env_state"][()]
        assert np.array_equal(joined[:, :2], file["action"])
        assert joined.shape[1] == 5
        assert list(file.attrs["env_state_names"]) == ["x", "y", "goal_x", "goal_y", "size"]
    assert open_data(other.paths, NO_CAMERAS, Reading(env_state="yes")).episodes.env_state


def test_an_environment_state_is_converted_beside_cameras_when_asked_for(tmp_path: Path) -> None:
    root = shutil.copytree(SMALL / "v21_image", tmp_path / "dataset")
    add_env_state(root)
    before = converted(tmp_path / "before", SMALL / "v21_image", image_size="12x16")
    usual = converted(tmp_path / "usual", root, image_size="12x16")
    assert env_states(usual) == [None] * 4
    asked = converted(tmp_path / "asked", root, image_size="12x16", env_state_key=ENV_STATE)
    found = env_states(asked)
    assert [part.shape for part in found if part is not None] == [(t, 3) for t in (12, 25, 7, 18)]
    assert found[0] is not None
    assert found[0][1].tolist() == [3, 4, 5]
    for one, other in zip(before.paths, usual.paths, strict=True):
        with h5py.File(one) as first, h5py.File(other) as second:
            names = [list(file["observations"]) for file in (first, second)]
            assert names[0] == names[1] == ["images", "qpos", "qvel"]
            assert first.attrs.keys() == second.attrs.keys()
    assert usual.plan.fingerprint(0) != asked.plan.fingerprint(0)


def test_datasets_of_which_one_lacks_it_go_without_it(tmp_path: Path) -> None:
    roots = tuple(write_states(tmp_path / name, env_state=name == "a") for name in ("a", "b"))
    config = make_config(tmp_path, backbone_weights=None, camera_keys="none")
    config = type(config)(**(vars(config) | {"input": roots}))
    found: list[str] = []
    plan = make_plan(config, tmp_path, add=lambda finding: found.append(finding.code))
    assert plan.env_state is None
    assert "feature-left-out" in found
    asked = type(config)(**(vars(config) | {"env_state_key": (ENV_STATE,)}))
    with raises_code(DatasetError, "datasets-differ"):
        make_plan(asked, tmp_path)


def agree(root: Path, tmp_path: Path, **flags: Any) -> set[str]:
    """The check's errors, after seeing that the conversion succeeds exactly where there is none."""
    config = make_config(tmp_path, **{"backbone_weights": None, "input": root} | flags)
    errors = {finding.code for finding in check(root, config, deep=True).errors}
    refusals: set[str] = set()
    try:
        converted(tmp_path / "agree", root, **flags)
    except JobError as problem:
        refusals = {problem.code}
    assert bool(refusals) == bool(errors)
    assert refusals <= errors
    return errors


def test_check_and_conversion_agree_without_cameras(tmp_path: Path) -> None:
    """Nobody looks whether there are videos, nor at what the metadata say of them."""
    for name in ("v21_h264", "v30_h264", "v30_image"):
        root = shutil.copytree(SMALL / name, tmp_path / name)
        shutil.rmtree(root / "videos", ignore_errors=True)
        info = json.loads((root / "meta/info.json").read_text())
        (root / "meta/info.json").write_text(json.dumps(info | {"video_path": 7}))
        if name == "v30_h264":
            path = root / "meta/episodes/chunk-000/file-000.parquet"
            table = pq.read_table(path)
            kept = [column for column in table.column_names if not column.startswith("videos/")]
            pq.write_table(table.select(kept), path)
        assert agree(root, tmp_path / f"{name}-to", camera_keys="none") == set()
        if name != "v30_image":
            assert agree(root, tmp_path / f"{name}-with")


def test_an_environment_state_that_is_not_finite_is_refused_by_both(tmp_path: Path) -> None:
    root = write_states(tmp_path / "dataset", env_state=True)
    path = root / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    rows = np.array(table[ENV_STATE].to_pylist(), np.float32)
    rows[3, 1] = np.inf
    at = table.column_names.index(ENV_STATE)
    pq.write_table(table.set_column(at, ENV_STATE, pa.array(list(rows))), path)
    assert agree(root, tmp_path / "a", camera_keys="none") == {"not-finite"}
    assert agree(root, tmp_path / "b", camera_keys="none", env_state_key="none") == set()


def test_check_reports_the_environment_state_and_no_camera(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_states(tmp_path / "dataset", env_state=True)
    assert check_command([str(root), "--camera_keys", "none", "--state_dim", "0"]) == 0
    report = capsys.readouterr().out
    assert f"{ENV_STATE}, 3 dims" in report
    assert "cameras    none" in report
    assert "episode-still" not in report  # a goal may stay where it is
    assert check_command([str(root), "--json"]) == 3
    assert "camera-none" in json.loads(capsys.readouterr().out)["counts"]
    asked = ["--camera_keys", "none", "--env_state_key", "goal", "--json"]
    assert check_command([str(root), *asked]) == 3
    assert "env-state-missing" in json.loads(capsys.readouterr().out)["counts"]


def test_check_of_episode_files_without_cameras(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = with_env_state(write_episodes(tmp_path / "files", "raw"))
    words = [str(tmp_path / "files"), "--json", "--chunk_size", "3"]
    assert check_command(words) == 0
    beside = json.loads(capsys.readouterr().out)
    assert "env_state" not in beside["facts"]
    [unused] = [one for one in beside["findings"] if one["code"] == "parts-unused"]
    assert "--env_state_key env_state" in unused["message"]
    with h5py.File(paths[1], "r+") as file:
        del file["observations/images"]
    assert check_command(words) == 3
    capsys.readouterr()
    assert check_command([*words, "--camera_keys", "none"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["facts"]["env_state"] == "env_state, 2 dims"
    assert alone["facts"]["cameras"] == {}
    assert "parts-unused" not in alone["counts"]
    with h5py.File(paths[2], "r+") as file:
        file["observations/env_state"][1, 1] = np.nan
    assert check_command([*words, "--camera_names", "none"]) == 3
    assert "not-finite" in json.loads(capsys.readouterr().out)["counts"]
    assert check_command([*words, "--camera_names", "none", "--env_state_key", "none"]) == 0


def test_upstreams_command_takes_both_flags() -> None:
    words = "--dataset_dir a --ckpt_dir b --policy_class ACT --task_name t --batch_size 8 --seed 0"
    words += " --num_epochs 2 --lr 1e-5 --camera_names none"
    assert parse_upstream([*words.split(), "--env_state_key", "none"]).env_state_use == "no"
    assert parse_upstream(words.split()).env_state_use == "if_there"
    assert replace(parse_upstream(words.split()), camera_names=()).env_state_use == "no"
