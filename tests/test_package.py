"""The project as an installed package: what it brings, and what its command does first."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from act.trackers.kinds import TRACKERS
from job.version import COMMIT_VARIABLE, VERSION
from tests.support.commands import run_python
from tests.support.loading import write_policy
from tests.support.paths import DATA, ROOT

pytestmark = pytest.mark.slow

OURS = {"act", "convert", "episodes", "job", "lerobot_to_act.py"}
HEAVY = {"torch", "numpy", "pyarrow", "av", "h5py", "matplotlib", "PIL"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project as `pip install --no-deps .` leaves it."""
    folder = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source")  # a build leaves files beside what it builds
    for name in (*OURS, "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "--quiet",
            "--offline",
            "--no-deps",
            "--no-build-isolation",
            "--python",
            sys.executable,
            "--target",
            folder,
            source,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def run_installed(folder: Path, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, folder / "bin/lerobot-to-act", *words],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_else_is_installed_at_the_top_level(installed: Path) -> None:
    names = {path.name for path in installed.iterdir() if not path.name.startswith((".", "__"))}
    info = f"lerobot_to_act-{VERSION}.dist-info"
    assert names - {"bin", info} == OURS
    modules = {path.relative_to(ROOT) for room in OURS for path in (ROOT / room).rglob("*.py")}
    assert all((installed / module).is_file() for module in modules)
    templates = [*(ROOT / "act/report/templates").iterdir()]
    assert templates
    assert all((installed / one.relative_to(ROOT)).is_file() for one in templates)


def test_the_installed_command_answers_and_checks(installed: Path) -> None:
    version = run_installed(installed, "--version")
    assert (version.returncode, version.stdout) == (0, f"lerobot-to-act {VERSION}\n")
    check = run_installed(installed, "check", DATA / "lerobot/v30_av1")
    assert check.returncode == 0, check.stderr
    assert "verdict: FINE" in check.stdout


_LOADED = """
import sys
for name in ("h5py", "pyarrow", "av"):
    sys.modules[name] = None  # as if it were not installed
import numpy as np
import act
policy = act.load_policy(sys.argv[1], device="cpu")
images = {name: np.zeros((*policy.image_size, 3), np.uint8) for name in policy.cameras}
print(act.__file__, policy.predict(np.zeros(3), images).shape)
"""


def test_a_policy_is_loaded_with_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, write_policy(tmp_path)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{installed}/act/__init__.py (5, 3)\n"


def test_version_names_the_commit_and_imports_nothing_heavy() -> None:
    done = run_python("-X", "importtime", "entrypoint.py", "--version")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    known = f" (commit {head.stdout[:12]})" if head.returncode == 0 else ""
    assert done.stdout == f"lerobot-to-act {VERSION}{known}\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported & HEAVY == set()


def test_the_commit_of_an_image_is_what_its_build_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, "0123456789abcdef")
    shown = run_python("entrypoint.py", "--version").stdout
    assert shown == f"lerobot-to-act {VERSION} (commit 0123456789ab)\n"


WHOLE = ["--input", str(DATA / "aloha_sim_v30")]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--input", "/nowhere"], 3),
        ([*WHOLE, "--camera_keys", "observation.images.nowhere"], 3),
        ([*WHOLE, "--backbone_weights", "/nowhere.pth"], 2),
    ],
)
def test_what_is_missing_is_reported_without_importing_torch(
    tmp_path: Path, words: list[str], code: int
) -> None:
    names = ["--run_name", "a", "--task_name", "sim_a", "--output", str(tmp_path / "output")]
    done = run_python("-X", "importtime", "entrypoint.py", *words, *names)
    assert done.returncode == code
    assert re.search(r"^error: .*nowhere", done.stderr, re.MULTILINE)
    assert done.stdout.startswith(f"lerobot-to-act {VERSION}")
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


def test_the_lock_pins_a_version_within_the_range_of_each_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^([\w-]+)==([\w.]+)", lock, re.MULTILINE)  # several where Pythons differ
    # the image has all but the trackers, and the simulator, which has an image of its own
    extras = project["optional-dependencies"].items()
    in_image = [one for name, needs in extras if name not in {*TRACKERS, "sim"} for one in needs]
    wanted = [*project["dependencies"], *in_image]
    needs = {need.name: need.specifier for need in map(Requirement, wanted)}
    assert needs.keys() <= {name for name, _ in pins}
    assert [pin for pin in pins if pin[0] in needs and pin[1] not in needs[pin[0]]] == []
    assert "mujoco" not in lock
    assert "2.6.0" in needs["torch"]  # what the README promises to those who bring their own


@pytest.mark.parametrize("name", ["requirements-sim.lock", "requirements-test.lock"])
def test_the_simulator_is_locked_where_it_has_wheels(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for need in map(Requirement, project["optional-dependencies"]["sim"]):
        pin, marker = re.findall(
            rf"^{need.name}==([\w.]+) ; ([^\\]+) \\$", (ROOT / name).read_text(), re.MULTILINE
        )[0]
        assert pin in need.specifier
        assert marker == "python_full_version < '3.13'"
