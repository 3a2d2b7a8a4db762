"""Recipes: which flags they set, from what, and that nothing else changes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from act.training.recipes import RECIPES, with_recipe
from convert.flags import RunConversionFlags
from convert.input_numbers import input_numbers
from episodes.input_numbers import InputNumbers
from job.errors import UsageError
from lerobot_to_act import JobFlags, parse
from tests.support.commands import Ended
from tests.support.errors import raises_code
from tests.support.paths import DATA, ROOT, SMALL

NUMBERS = InputNumbers(50, 20_000, (480, 640))
FLAGS = ("--run_name", "r", "--task_name", "t")


def asked(*words: str, numbers: InputNumbers | None = NUMBERS) -> JobFlags:
    """A job's flags, for an input of that size."""
    return with_recipe(parse([*FLAGS, *words], {}), lambda: numbers)


def test_upstreams_is_the_default_and_changes_nothing() -> None:
    def look() -> InputNumbers | None:
        raise AssertionError("nothing is read for it")

    plain = parse([*FLAGS], {})
    assert plain.recipe == "upstream"
    assert with_recipe(plain, look) is plain


def test_a_recipe_sets_what_it_names_and_nothing_else() -> None:
    plain, fast = asked().resolved(), asked("--recipe", "fast").resolved()
    named = set(RECIPES["fast-1"].flags) | {"num_epochs", "image_size", "recipe"}
    assert {name for name in plain if plain[name] != fast[name]} <= named
    assert fast["recipe"] == "fast-1"
    assert {name: fast[name] for name in RECIPES["fast-1"].flags} == dict(RECIPES["fast-1"].flags)
    assert asked("--recipe", "fast-1").resolved() == fast


def test_what_is_given_counts_more() -> None:
    flags = asked("--recipe", "fast", "--batch_size", "16", "--num_epochs", "7", "--ema", "off")
    assert (flags.batch_size, flags.num_epochs, flags.ema, flags.vae) == (16, 7, "off", "off")
    steps = asked("--recipe", "fast", "--num_epochs", "0", "--steps", "5")
    assert steps.epochs == 5
    with raises_code(UsageError, "flag-unused", "kl_weight"):
        asked("--recipe", "fast", "--kl_weight", "5")


@pytest.mark.parametrize(
    ("episodes", "frames", "epochs"),
    [(50, 20_000, 120), (10, 4000, 600), (500, 300_000, 180), (1, 100, 4800), (0, 0, 4800)],
)
def test_epochs_follow_from_the_frames(episodes: int, frames: int, epochs: int) -> None:
    """Three passes over them, and 48,000 samples at least; ten of each training episode."""
    assert asked("--recipe", "fast", numbers=InputNumbers(episodes, frames, None)).epochs == epochs


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
    flags = asked("--recipe", "fast", numbers=InputNumbers(50, 20_000, size))
    assert flags.image_size == expected


def numbers_of(*inputs: Path, words: tuple[str, ...] = ()) -> InputNumbers | None:
    """What the job looks at."""
    given = [word for path in inputs for word in ("--input", str(path))]
    return input_numbers(parse([*FLAGS, *given, *words], {}).part(RunConversionFlags))


def test_the_size_of_an_input_is_what_it_says(tmp_path: Path) -> None:
    v21, v30 = DATA / "aloha_sim_v21", DATA / "aloha_sim_v30"
    infos = [json.loads((one / "meta/info.json").read_text()) for one in (v21, v30)]
    episodes, frames = (
        sum(info[f"total_{what}"] for info in infos) for what in ("episodes", "frames")
    )
    assert numbers_of(v21, v30) == InputNumbers(episodes, frames, (480, 640))
    few = numbers_of(v21, v30, words=("--max_episodes", "1"))
    assert few is not None
    assert (few.episodes, few.frames) == (1, round(frames / episodes))
    blind = numbers_of(v21, words=("--camera_keys", "none"))
    assert blind is not None
    assert blind.image_size is None
    assert numbers_of(tmp_path) is None
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("{")
    assert numbers_of(tmp_path) is None


@pytest.mark.slow
def test_a_run_of_a_recipe_is_the_run_of_its_flags(job: Callable[..., Ended]) -> None:
    """The same bytes; it resumes by either name, and episode files have a size too."""
    tiny = {"num_epochs": 1, "hidden_dim": 32, "dim_feedforward": 32, "image_size": "32x32"}
    first = job(input=SMALL / "v21_h264", recipe="fast", **tiny, extra=("--keep_converted_hdf5",))
    assert first.code == 0, first.err
    assert "recipe     fast-1: --ema power" in first.out
    flags = first.manifest["flags"]
    assert flags["recipe"] == "fast-1"
    assert (first.output / "checkpoints/test/policy_average.ckpt").exists()
    spelled = {name: flags[name] for name in RECIPES["fast-1"].flags}
    again = job(input=SMALL / "v21_h264", **spelled | tiny)
    assert again.code == 0, again.err
    assert "holds the policy of this very run" in again.out
    files = first.output / "converted_hdf5/test"
    assert numbers_of(files) == InputNumbers(4, 62, (32, 32))
    (files / "episode_0.hdf5").write_bytes(b"none")
    assert numbers_of(files) is None


def test_the_page_has_what_a_recipe_sets() -> None:
    page = (ROOT / "docs/recipes.md").read_text()
    for recipe in RECIPES.values():
        for name, value in recipe.flags.items():
            assert f"`--{name} {value}`" in page
