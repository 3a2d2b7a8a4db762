"""Recipes: which flags they set, from what, and that nothing else changes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from act.training.flags import NEWEST_RECIPES
from act.training.recipes import RECIPES, with_recipe
from convert.flags import RunConversionFlags
from convert.input_numbers import input_numbers
from episodes.input_numbers import InputNumbers
from episodes.reader import read_info
from job.errors import DatasetError, UsageError
from lerobot_to_act import JobFlags, parse
from tests.support.commands import Ended
from tests.support.errors import raises_code
from tests.support.files import snapshot
from tests.support.paths import DATA, ROOT, SMALL

NUMBERS = InputNumbers(50, 20_000, (480, 640))
FAST = ("--recipe", "fast")
FLAGS = ("--run_name", "r", "--task_name", "t")


def asked(*words: str, numbers: InputNumbers = NUMBERS) -> JobFlags:
    """A job's flags, for an input of that size."""
    return with_recipe(parse([*FLAGS, *words], {}), lambda: numbers)


def test_upstreams_is_the_default_and_changes_nothing() -> None:
    def read() -> InputNumbers:
        raise AssertionError("nothing is read for it")

    plain = parse([*FLAGS], {})
    assert plain.recipe == "upstream"
    assert with_recipe(plain, read) is plain


def test_a_recipe_sets_what_it_names_and_nothing_else() -> None:
    plain, fast = asked().resolved(), asked(*FAST).resolved()
    by_input = {"num_epochs": 120, "image_size": "120x160"}
    sets = {**RECIPES["fast-1"].flags, **by_input, "recipe": "fast-1"}
    assert {name: fast[name] for name in fast if fast[name] != plain[name]} == sets
    assert asked("--recipe", "fast-1").resolved() == fast
    assert set(NEWEST_RECIPES.values()) <= set(RECIPES)


def test_what_is_given_counts_more() -> None:
    flags = asked(*FAST, "--batch_size", "64", "--num_epochs", "7", "--ema", "off")
    assert (flags.batch_size, flags.num_epochs, flags.ema, flags.vae) == (64, 7, "off", "off")
    assert asked(*FAST, "--num_epochs", "0", "--steps", "5").epochs == 5
    assert asked(*FAST, "--samples_per_episode", "1").epochs == 1200  # of a tenth as many samples
    with raises_code(UsageError, "flag-unused", "with --recipe fast-1: --kl_weight .* --vae off"):
        asked(*FAST, "--kl_weight", "5")
    assert asked(*FAST, "--kl_weight", "5", "--vae", "on").kl_weight == 5


def test_what_does_not_apply_is_not_set() -> None:
    blind = asked(*FAST, "--camera_keys", "none", numbers=InputNumbers(50, 20_000, None))
    assert (blind.lr_backbone, blind.image_size) == (JobFlags.lr_backbone, "own")
    assert blind.vae == "off"
    with raises_code(UsageError, "flags-conflict", "is for --policy_class ACT, found CNNMLP"):
        asked(*FAST, "--policy_class", "CNNMLP")


@pytest.mark.parametrize(
    ("episodes", "frames", "epochs"),
    [(50, 20_000, 120), (10, 4000, 600), (500, 300_000, 180), (1, 100, 4800)],
)
def test_epochs_follow_from_the_frames(episodes: int, frames: int, epochs: int) -> None:
    """Three passes over those trained on, 48,000 samples at least; ten of each episode an epoch."""
    assert asked(*FAST, numbers=InputNumbers(episodes, frames, None)).epochs == epochs


def test_epochs_are_asked_for_where_the_frames_are_not_known() -> None:
    unknown = InputNumbers(0, 0, None)
    with raises_code(UsageError, "flag-missing", "no total_episodes .* give --num_epochs"):
        asked(*FAST, numbers=unknown)
    assert asked(*FAST, "--num_epochs", "7", numbers=unknown).epochs == 7


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), "120x160"),
        ((720, 1280), "120x213"),
        ((240, 424), "120x212"),
        ((96, 96), "96x96"),
        (None, "own"),
    ],
)
def test_images_follow_from_the_cameras(size: tuple[int, int] | None, expected: str) -> None:
    assert asked(*FAST, numbers=InputNumbers(50, 20_000, size)).image_size == expected


def numbers_of(*inputs: Path, words: tuple[str, ...] = ()) -> InputNumbers:
    """What the job looks at."""
    given = [word for path in inputs for word in ("--input", str(path))]
    return input_numbers(parse([*FLAGS, *given, *words], {}).part(RunConversionFlags))


def test_the_size_of_an_input_is_what_it_says() -> None:
    v21, v30 = DATA / "aloha_sim_v21", DATA / "aloha_sim_v30"
    infos = [json.loads((one / "meta/info.json").read_text()) for one in (v21, v30)]
    episodes = sum(info["total_episodes"] for info in infos)
    frames = sum(info["total_frames"] for info in infos)
    assert numbers_of(v21, v30) == InputNumbers(episodes, frames, (480, 640))
    for words, count in (
        (("--max_episodes", "1"), 1),
        (("--episodes", "1:3"), 2),
        (("--episodes", "100:200"), episodes),  # of numbers with gaps, which nobody counts here
    ):
        few = numbers_of(v21, v30, words=words)
        assert (few.episodes, few.frames) == (count, round(frames * count / episodes))
    for flag in ("--camera_keys=none", "--apply_rotation"):
        assert numbers_of(v21, words=(flag,)).image_size is None


def test_an_info_that_is_wrong_or_says_no_totals(tmp_path: Path) -> None:
    with raises_code(DatasetError, "info-missing"):
        numbers_of(tmp_path)
    info = json.loads((SMALL / "v21_h264/meta/info.json").read_text())
    (tmp_path / "meta").mkdir()
    for total, episodes in ((None, 0), (10**12, 10**12)):
        info["total_episodes"] = total
        (tmp_path / "meta/info.json").write_text(json.dumps(info))
        assert numbers_of(tmp_path, words=("--episodes", "0:2")).episodes == episodes


@pytest.mark.slow
def test_a_run_of_a_recipe_is_the_run_of_its_flags(
    job: Callable[..., Ended], tmp_path: Path
) -> None:
    """The same bytes; it resumes by either name, and its episode files have a size too."""
    tiny: dict[str, Any] = {"num_epochs": 1, "hidden_dim": 32, "dim_feedforward": 32}
    given = tiny | {"input": SMALL / "v21_h264", "recipe": "fast"}
    first = job(**given, extra=("--keep_converted_hdf5",))
    assert first.code == 0, first.err
    flags = first.manifest["flags"]
    assert (flags["recipe"], flags["image_size"]) == ("fast-1", "96x128")
    [line] = [one for one in first.out.splitlines() if one.startswith("recipe ")]
    assert line.startswith("recipe     fast-1: --")
    assert "--image_size 96x128" in line
    before = snapshot(first.output / "checkpoints")
    for again in (given, given | {"recipe": "fast-1"}):
        assert job(**again, extra=("--keep_converted_hdf5",)).code == 0
    assert snapshot(first.output / "checkpoints") == before
    spelled = {name: flags[name] for name in RECIPES["fast-1"].flags}
    named = job(tmp_path / "named", input=given["input"], image_size="96x128", **spelled | tiny)
    assert named.code == 0, named.err
    for name in ("policy_average.ckpt", "policy_last.ckpt", "policy_best.ckpt"):
        one, other = (ended.output / "checkpoints/test" / name for ended in (first, named))
        assert one.read_bytes() == other.read_bytes()
    files = first.output / "converted_hdf5/test"
    first_length = read_info(files / "episode_0.hdf5").length
    assert numbers_of(files) == InputNumbers(4, 4 * first_length, (96, 128))
    (files / "episode_0.hdf5").write_bytes(b"none")
    with pytest.raises(DatasetError):
        numbers_of(files)


def test_the_page_has_what_a_recipe_sets() -> None:
    page = (ROOT / "docs/recipes.md").read_text()
    for recipe in RECIPES.values():
        for name, value in recipe.flags.items():
            assert f"`--{name} {value}`" in page
    for number in ("three passes", "48,000", "120x160"):
        assert number in page
