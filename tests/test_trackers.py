"""--tracker: the real packages' own files, and packages that fail or hang.

The real ones are asked where TRACKER_PYTHON is a Python that has them and what this project needs.
"""

import io
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from act.report.drawing import Drawings, PngDrawings
from act.report.evaluation_figures import by_position
from act.report.templating import template_text
from act.trackers.kinds import TRACKERS
from act.trackers.trackers import Trackers
from job.errors import UsageError
from lerobot_to_act import JobFlags
from tests.support.commands import HANGS_S, arguments, command_environment, make_config, run_job
from tests.support.errors import raises_code
from tests.support.good_evaluation import evaluation
from tests.support.paths import ROOT, SMALL
from tests.support.processes import wait_for

PYTHON = os.environ.get("TRACKER_PYTHON")
ABOUT: dict[str, Any] = {"run_name": "cube", "task_name": "t", "flags": {}, "step": None}

# In the place of a package: one that does at its start what FAULTY_TRACKER says.
FAULTY = """
import os, time
def init(**_):
    open(os.environ["FAULTY_STARTED"], "w").write(str(os.getpid()))
    what = os.environ["FAULTY_TRACKER"]
    if what == "raises":
        raise RuntimeError("no such project\\nsecond line")
    if what == "dies":
        os._exit(3)
    while what == "hangs":
        time.sleep(60)
    return Run()
class Run:
    def log(self, *_, **__):
        pass
    def finish(self):
        open(os.environ["FAULTY_STARTED"], "w").write("finished")
"""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for trackio in the way of the processes; the file that it writes its id to."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/trackio.py").write_text(FAULTY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv("FAULTY_STARTED", str(tmp_path / "started"))
    return tmp_path / "started"


@pytest.mark.parametrize(
    ("what", "said"), [("raises", "RuntimeError: no such project;"), ("dies", "code 3;")]
)
def test_one_that_fails_is_one_warning(
    started: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
    said: str,
) -> None:
    monkeypatch.setenv("FAULTY_TRACKER", what)
    with Trackers(("trackio",), started.parent, ABOUT) as trackers:
        wait_for(started.exists)
        for step in range(100):
            trackers.numbers(step, {"loss": 1.0})
            time.sleep(0.001)
    (warning,) = caplog.messages
    assert warning.startswith("tracker-failed: --tracker trackio: ")
    assert said in warning


def test_one_that_hangs_stops_nothing_and_is_ended(
    started: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAULTY_TRACKER", "hangs")
    monkeypatch.setattr("act.trackers.trackers._END_S", 0.1)
    with Trackers(("trackio",), started.parent, ABOUT) as trackers:
        wait_for(lambda: started.exists() and bool(started.read_text()))
        pid = int(started.read_text())
        for step in range(30_000):  # more than the pipe takes
            trackers.numbers(step, {"train/loss": 1.0, "val/loss": 2.0})
    (warning,) = caplog.messages
    assert "too slow or hangs" in warning
    assert not Path(f"/proc/{pid}").exists()


def test_it_finishes_where_the_job_was_killed(
    started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTY_TRACKER", "works")
    child = os.fork()
    if child == 0:
        Trackers(("trackio",), started.parent, ABOUT).__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    wait_for(lambda: started.exists() and started.read_text() == "finished")


def test_a_run_keeps_its_name(started: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTY_TRACKER", "works")
    found = []
    for folder in (started.parent, started.parent, started.parent / "other"):
        with Trackers(("trackio",), folder, ABOUT):
            found.append(json.loads((folder / "trackers/id.json").read_text())["id"])
    assert found[0] == found[1] != found[2]


def test_a_folder_that_refuses_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "trackers").write_text("")
    with Trackers(("trackio",), tmp_path, ABOUT) as trackers:
        trackers.numbers(0, {"loss": 1.0})
    (warning,) = caplog.messages
    assert warning.startswith("tracker-failed: --tracker: ")


def test_a_message_that_is_too_long_is_left_out_with_a_warning(
    started: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAULTY_TRACKER", "works")
    with Trackers(("trackio",), started.parent, ABOUT) as trackers:
        trackers.numbers(1, {"very long name " * 400: 1.0})
        trackers.numbers(2, {"loss": 1.0})
    (warning,) = caplog.messages
    assert "is too long, and left out" in warning
    assert started.read_text() == "finished"


def test_what_is_not_known_or_not_installed_is_refused(tmp_path: Path) -> None:
    for value in ("neptune", "wandb,wandb"):
        with raises_code(UsageError, "flag-value", "--tracker"):
            make_config(tmp_path, tracker=value)
    flags: JobFlags = make_config(tmp_path, tracker="wandb,trackio")
    assert flags.tracker == ("wandb", "trackio")
    assert "tracker" not in flags.shaping()
    missing = run_job(tmp_path / "output", input=SMALL / "v21_h264", tracker="trackio")
    assert missing.code == 2
    assert "pip install trackio" in missing.errors[0]
    assert not (tmp_path / "output/converted_hdf5").exists()


@pytest.mark.slow
def test_a_job_with_one_that_fails_ends_as_without(started: Path) -> None:
    environment = {"FAULTY_TRACKER": "raises", "FAULTY_STARTED": str(started)}
    environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    flags: dict[str, Any] = {"input": SMALL / "v21_h264", "num_epochs": 2}
    looked_at = {"eval_after_train": "on", "report": "on"}
    with_it = run_job(
        started.parent / "with", tracker="trackio", environment=environment, **flags, **looked_at
    )
    without = run_job(started.parent / "without", **flags)
    assert with_it.code == without.code == 0, with_it.err
    weights = "checkpoints/test/policy_last.ckpt"
    assert (with_it.output / weights).read_bytes() == (without.output / weights).read_bytes()
    (warning,) = [one for one in with_it.manifest["warnings"] if "tracker" in one]
    assert "no such project" in warning
    shown = {path.name for path in with_it.output.glob("checkpoints/test/trackers/report/*.png")}
    assert shown >= {"error_by_position.png", "error_by_dim.png", "checkpoints.png"}
    assert "actions_0.png" in shown


# What each package itself reads back of its files: the steps of a number, in order, and the images.
READERS = {
    "tensorboard": """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1] + "/tensorboard")
found.Reload()
points = [(one.step, one.value) for one in found.Scalars("train/loss")]
images = [one.step for one in found.Images(sys.argv[2])]
""",
    "wandb": """
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record
def records(content):  # LevelDB's log, which the package reads in Go: blocks of 32 kB
    place, data = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield data
            data = b""
points, images, ids = [], [], set()
for path in sorted(Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb")):
    for data in records(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            ids.add(record.run.run_id)
        row = {(i.key or "/".join(i.nested_key)): i.value_json for i in record.history.item}
        if "train/loss" in row:
            points.append((int(row["step"]), float(row["train/loss"])))
        images += [int(row["step"]) for name in row if name.startswith(sys.argv[2])][:1]
assert len(ids) == 1, ids
""",
    "mlflow": """
import os
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
from mlflow.tracking import MlflowClient
client = MlflowClient("file://" + sys.argv[1] + "/mlflow")
experiment = client.get_experiment_by_name("lerobot-to-act")
(run,) = client.search_runs([experiment.experiment_id])
assert run.info.status == "FINISHED", run.info.status
assert run.data.params["chunk_size"] == "10"
history = client.get_metric_history(run.info.run_id, "train/loss")
points = [(one.step, one.value) for one in history]
images = [one.path for one in client.list_artifacts(run.info.run_id, "pictures")]
images = [path for path in images if path == f"pictures/{sys.argv[2]}.png"]
""",
    "trackio": """
import os
os.environ["TRACKIO_DIR"] = sys.argv[1] + "/trackio"
import trackio
(run,) = trackio.Api().runs("lerobot-to-act")
from trackio.sqlite_storage import SQLiteStorage
rows = SQLiteStorage.get_logs("lerobot-to-act", run.name)
points = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
images = [row["step"] for row in rows if sys.argv[2] in row]
""",
}


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="TRACKER_PYTHON names no Python that has the trackers")
def test_the_real_packages_read_back_what_a_resumed_run_left(tmp_path: Path) -> None:
    """All at once, in a job and in the one that resumes it: one run, each point once, offline."""
    assert PYTHON is not None
    names = ",".join(TRACKERS)
    for epochs in (2, 3):
        flags = {"num_epochs": epochs, "tracker": names, "keep_state": True}
        flags |= {"eval_after_train": "on", "report": "on"}
        words = arguments(tmp_path, input=SMALL / "v21_h264", **flags)
        command = ["unshare", "--net", PYTHON, "entrypoint.py", *words]
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env=command_environment(),
            capture_output=True,
            text=True,
            timeout=HANGS_S,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert "tracker" not in ended.stderr
    folder = tmp_path / "checkpoints/test"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    expected = [(row["step"], row["train"]["loss"]) for row in rows]
    for reader in READERS.values():
        _read_back(reader, folder / "trackers", "train_val_loss_seed_0", expected)
        _read_back(reader, folder / "trackers", "error_by_position", expected)


def _read_back(reader: str, trackers: Path, image: str, expected: list[tuple[int, float]]) -> None:
    """The package finds each point once, and the picture."""
    code = f"import sys, json\n{reader}\nprint(json.dumps([points, len(images)]))"
    read = subprocess.run(
        [str(PYTHON), "-c", code, str(trackers), image],
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    points, images = json.loads(read.stdout.splitlines()[-1])
    assert points == [[step, pytest.approx(loss)] for step, loss in expected]
    assert images >= 1, reader


def test_a_picture_is_drawn_in_the_colours_of_the_page() -> None:
    """As the SVG beside it: red, green and blue of the policy's line, on white."""
    kept = PngDrawings(template_text("style.css"))
    by_position(kept, evaluation(("x",), "top"))
    [content] = kept.taken()
    assert not kept.taken()
    with Image.open(io.BytesIO(content)) as image:
        seen = {count[1] for count in image.convert("RGB").getcolors(1 << 20) or ()}
    accent = re.findall(r"--accent: #(\w+);", template_text("style.css"))[0]
    assert tuple(bytes.fromhex(accent)) in seen
    assert (255, 255, 255) in seen
    drawn = by_position(Drawings(), evaluation(("x",), "top")).svg
    assert "var(--accent)" in drawn
    assert "#060606" not in drawn
