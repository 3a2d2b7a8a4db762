"""docs/robot.md: every block of Python runs, in order, on a run and a robot that replays it."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from act import load_policy
from episodes.arrays import FloatArray, Frame
from tests.support.episodes import CAMERAS
from tests.support.loading import DIMS, FPS, STATE, frames, write_policy
from tests.support.markdown import Page
from tests.support.paths import ROOT
from tests.support.training import Short

BLOCKS = [one.text for one in Page(ROOT / "docs/robot.md").blocks if one.language == "python"]
RUN = "/data/output/checkpoints/cube"


class Robot:
    """Shows what an episode recorded, and remembers what it was told."""

    def __init__(self, episode: Path) -> None:
        with h5py.File(episode) as file:
            self.states = file["observations/qpos"][()]
            images = file["observations/images"]
            self.images = {camera: images[camera][()] for camera in CAMERAS}
        self.sent: list[FloatArray] = []
        self.waited: list[float] = []

    def is_running(self) -> bool:
        return len(self.sent) < len(self.states)

    def read(self) -> tuple[FloatArray, dict[str, Frame]]:
        now = len(self.sent)
        return self.states[now], {name: frames[now] for name, frames in self.images.items()}

    def send(self, action: FloatArray) -> None:
        self.sent.append(action)

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Short:
    """A run on episodes that name their dims and their rate, as our converter's do."""
    short = Short(tmp_path_factory.mktemp("short"))
    for path in short.paths:
        with h5py.File(path, "r+") as file:
            file.attrs["fps"] = FPS
            file.attrs["qpos_names"] = file.attrs["action_names"] = DIMS
    short.run(num_epochs=1)
    return short


def test_the_page_runs_from_top_to_bottom(
    training: Short, capsys: pytest.CaptureFixture[str]
) -> None:
    robot = Robot(training.paths[2])
    names: dict[str, Any] = {"robot": robot}
    for text in BLOCKS:
        exec(compile(text.replace(RUN, str(training.folder)), "robot.md", "exec"), names)
    policy = load_policy(training.folder)
    first = policy.predict(*Robot(training.paths[2]).read())
    np.testing.assert_array_equal(robot.sent[: len(first)], first)
    assert robot.waited == [1 / FPS] * len(robot.states)
    out = capsys.readouterr().out
    assert f"{CAMERAS} (32, 48) {FPS} 5\n{DIMS} {DIMS}\n(5, 3)\n" in out
    assert "observation-camera-unknown images" in out
    assert "the nearest camera is wrist" in out
    assert "the first action is away by" in out


def test_the_readmes_lines_give_an_action(tmp_path: Path) -> None:
    run = write_policy(tmp_path / "cube", cameras=1)
    (text,) = (one.text for one in Page(ROOT / "README.md").blocks if one.language == "python")
    assert "output/checkpoints/cube" in text
    names: dict[str, Any] = {"state": STATE, "rgb": frames()["top"]}
    exec(compile(text.replace("output/checkpoints/cube", str(run)), "README.md", "exec"), names)
    assert names["action"].shape == (len(DIMS),)


def test_the_first_loop_has_eight_lines() -> None:
    """As the page's reader will count."""
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 8
    assert RUN in BLOCKS[0]
