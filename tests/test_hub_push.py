"""A finished run is pushed to a repository of the Hub: what arrives, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from act import load_policy
from act.report.card import CARD, card, published
from act.report.report import report_of
from act.report.run_files import read_run
from job.errors import OutputError, UsageError
from job.output_names import CHECKPOINTS, CONTRACT, MANIFEST, RUN, STATE, STATUS
from job.remote.address import Address
from job.remote.hub import Repository
from job.remote.tries import reason
from job.sweep import OfJob, read_sweep
from lerobot_to_act import JobFlags, parse
from tests.support.commands import Ended, ended, run_job, start_job
from tests.support.errors import raises_code
from tests.support.hub import Hub
from tests.support.paths import SMALL

# of huggingface_hub 2.4 itself, by LFS
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "somebody/cube-policy"
TOKEN = "hf_secret"
SOURCE = SMALL / "v30_av1"
RUN_FLAGS: dict[str, Any] = {
    "camera_keys": "none",
    "backbone_weights": None,
    "num_epochs": 1,
    "report": "on",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    made.token = TOKEN
    for name, value in environment(made).items():
        monkeypatch.setenv(name, value)
    yield made
    made.shutdown()
    made.server_close()


def environment(hub: Hub) -> dict[str, str]:
    """What a job finds it by; Xet's servers are not there, so that it goes by LFS."""
    return hub.environment | {"HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}


def train(hub: Hub, folder: Path, output: str = f"hf://{NAME}", **flags: Any) -> Ended:
    """A job whose output is a repository; its output is what it has on this machine."""
    named = RUN_FLAGS | {"input": SOURCE, "work_dir": folder} | flags
    job = start_job(output, environment=environment(hub), **named)  # type: ignore[arg-type]
    return ended(job, folder / "hf" / NAME)


def pushed(hub: Hub, branch: str = "main") -> dict[str, bytes]:
    """The files of the repository."""
    found = hub.files(NAME, branch)
    assert found is not None
    return found[1]


@pytest.mark.slow
def test_a_finished_run_is_there_as_a_whole(hub: Hub, tmp_path: Path) -> None:
    hub.commit("somebody/cubes", SOURCE)
    address = "hf://datasets/somebody/cubes"
    kept: dict[str, Any] = {"extra": ("--keep_converted_hdf5",)}  # which are no part of it
    done = train(hub, tmp_path / "work", input=address, cache=tmp_path / "cache", **kept)
    assert done.code == 0, done.err
    assert f"{hub.environment['HF_ENDPOINT']}/{NAME}/commit/" in done.out + done.err
    files = pushed(hub)
    folder = done.output / CHECKPOINTS / "test"
    assert {CARD, CONTRACT, MANIFEST, "policy_best.ckpt", "policy_last.ckpt", "report.html"} <= {
        *files
    }
    assert not {STATE, STATUS} & {*files}
    for name in files.keys() - {CARD, ".gitattributes"}:
        assert files[name] == (folder / name).read_bytes(), name
    assert len(hub.commits[NAME]) == 2  # the empty one and the run: nothing is half there
    assert NAME in hub.private
    everything = b"".join(files.values()).decode(errors="replace") + done.out + done.err
    assert TOKEN not in everything
    metadata = yaml.safe_load(files[CARD].decode().split("---\n")[1])
    assert metadata["datasets"] == ["somebody/cubes"]
    assert metadata["pipeline_tag"] == "robotics"

    (folder / "simulation_point.json").write_text("{}")  # it is pushed as it is
    again = train(hub, tmp_path / "work", input=address, cache=tmp_path / "cache")
    assert again.code == 0, again.err
    assert pushed(hub).keys() == files.keys() | {"simulation_point.json"}
    assert len(hub.commits[NAME]) == 3

    started = run_job(
        tmp_path / "next",
        input=SOURCE,
        init_weights=f"hf://{NAME}",
        cache=tmp_path / "cache",
        environment=environment(hub),
        **RUN_FLAGS,
    )
    assert started.code == 0, started.err
    assert started.manifest["ancestor"]["sha256"] in json_digests(done)


def json_digests(done: Ended) -> set[str]:
    """Of the files that a run left."""
    return {one["sha256"] for one in done.manifest["artifacts"]}


@pytest.mark.slow
def test_the_card_can_be_followed(hub: Hub, tmp_path: Path) -> None:
    """What the card says of the policy loads what was pushed, as its download has it."""
    done = train(hub, tmp_path / "work")
    assert done.code == 0, done.err
    download = tmp_path / "policy"
    download.mkdir()
    for name, content in pushed(hub).items():
        (download / name).write_bytes(content)
    text = (download / CARD).read_text()
    assert f"hf download {NAME} --local-dir policy" in text
    snippet = text.split("```python\n")[1].split("```")[0]
    assert 'load_policy("./policy")' in snippet
    policy = load_policy(str(download), device="cpu")
    assert policy.contract.run_name == "test"
    assert "--num_epochs 1" in text


def test_an_interrupted_run_is_not_pushed(hub: Hub, tmp_path: Path) -> None:
    done = train(hub, tmp_path / "work", num_epochs=100_000, max_hours=0.0003)
    assert done.code == 75, done.err
    assert pushed(hub).keys() == {".gitattributes"}


def test_a_push_that_fails_is_tried_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Beyond the tries of the library, whose pauses are left out here."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    folder, there = own_run(tmp_path), the_run("test", "one") | {"notes.txt": b"mine"}
    hub.put(NAME, "main", there | {"policy_epoch_3_seed_0.ckpt": b""})
    hub.failing = 20
    files = {"policy_last.ckpt": bytes(20_000)}
    Repository(Address("hf", NAME), 30.0).push(files, "a run", folder)
    assert hub.failing == 0
    assert pushed(hub) == there | files


@pytest.mark.parametrize("other", [True, False])
def test_what_is_committed_during_a_push_is_looked_at(
    hub: Hub, tmp_path: Path, other: bool
) -> None:
    folder, files = own_run(tmp_path), {"policy.txt": b"new"}
    hub.put(NAME, "main", {".gitattributes": b""})
    hub.meanwhile = the_run("other", "two") if other else {"README.md": b"hello"}
    repository = Repository(Address("hf", NAME), 30.0)
    if other:
        with raises_code(OutputError, "output-other-run", "a run 'other'"):
            repository.push(files, "a run", folder)
        assert pushed(hub) == the_run("other", "two")
    else:
        repository.push(files, "a run", folder)
        assert pushed(hub) == {"README.md": b"hello"} | files


@pytest.mark.parametrize(("status", "text"), [(403, "credentials"), (400, "does not take it")])
def test_a_push_that_is_refused_ends_at_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, text: str
) -> None:
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    hub.put(NAME, "main", {})
    hub.failing, hub.status = 1000, status
    with raises_code(OutputError, "address-refused", text):
        files = {"policy_last.ckpt": bytes(20_000)}
        Repository(Address("hf", NAME), 30.0).push(files, "a run", tmp_path)
    assert not pushed(hub)


def test_a_token_with_a_line_break_is_one_and_is_never_shown(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")
    Repository(Address("hf", NAME), 5.0).claim(tmp_path / "test")
    assert TOKEN not in reason(ValueError(f"header value b'Bearer {TOKEN}x' of {TOKEN}"))


def test_a_file_that_is_gone_is_no_fault_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    hub.put(NAME, "main", {})
    with raises_code(OutputError, "output-unwritable", "gone"):
        Repository(Address("hf", NAME), 5.0).push({"a": tmp_path / "gone"}, "a run", tmp_path)


def test_runs_of_a_sweep_do_not_share_a_repository(tmp_path: Path) -> None:
    sweep = {"flags": {"output": f"hf://{NAME}", "input": "d"}, "grid": {"seed": [0, 1]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    with raises_code(UsageError, "flags-conflict", "@BRANCH"):
        read_sweep(tmp_path / "sweep.yaml", OfJob(JobFlags, parse, lambda _: True, ["nothing"]))


@pytest.mark.parametrize("kind", ["token", "right"])
def test_a_repository_that_may_not_be_written_is_told_before_training(
    hub: Hub, tmp_path: Path, kind: str
) -> None:
    if kind == "token":
        hub.token = "another"
    else:
        hub.put(NAME, "main", {})
        hub.read_only.add(NAME)
    done = train(hub, tmp_path / "work")
    assert done.code == OutputError.exit_code, done.err
    assert "refused" in done.errors[0]
    assert not done.output.exists()


def the_run(name: str, dataset: str) -> dict[str, bytes]:
    """What a repository knows a run by."""
    return {
        CONTRACT: json.dumps({"run_name": name}).encode(),
        RUN: json.dumps({"dataset": dataset}).encode(),
    }


def own_run(folder: Path) -> Path:
    """The folder of a run on this machine."""
    (made := folder / "test").mkdir()
    (made / RUN).write_bytes(the_run("test", "one")[RUN])
    return made


@pytest.mark.parametrize(
    "there",
    [
        {"model.safetensors": b""},
        {CONTRACT: b"{"},
        the_run("other", "one"),
        the_run("test", "two"),
        {CONTRACT: b"[]", RUN: b"{}"},
    ],
)
def test_another_run_is_not_overwritten(hub: Hub, tmp_path: Path, there: dict[str, bytes]) -> None:
    folder = own_run(tmp_path)
    hub.put(NAME, "main", there)
    repository = Repository(Address("hf", NAME), 5.0)
    with raises_code(OutputError, "output-other-run", f"hf://{NAME}@test"):
        repository.claim(folder)
    hub.put(NAME, "main", the_run("test", "one") | {"notes.txt": b"mine"})
    repository.claim(folder)
    (folder / RUN).unlink()  # a machine that has nothing of it would train it anew
    with raises_code(OutputError, "output-other-run"):
        repository.claim(folder)


def test_a_branch_is_a_place_of_its_own(hub: Hub, tmp_path: Path) -> None:
    """Also where main holds another run: what the refusal there says to do."""
    hub.put(NAME, "main", {".gitattributes": b""})
    hub.put(NAME, "main", the_run("other", "one"))
    for _ in range(2):
        repository = Repository(Address("hf", f"{NAME}@fast"), 5.0)
        repository.claim(tmp_path / "test")
    repository.push({"a": b"1"}, "a run", tmp_path / "test")
    assert pushed(hub).keys() == {CONTRACT, RUN}
    assert pushed(hub, "fast").keys() == {".gitattributes", "a"}
    assert repository.download == f"{NAME} --revision fast"


@pytest.mark.parametrize(
    "path",
    [
        *("datasets/somebody/cubes", "somebody/a/b", "somebody/a@b/c", "somebody/a@"),
        *("somebody/a--b", "somebody/a b", "somebody/a@x y"),
    ],
)
def test_an_output_is_a_repository_of_models(path: str) -> None:
    with raises_code(UsageError, "address-unknown", "hf://USER/NAME"):
        Repository(Address("hf", path))


def test_a_dataset_as_output_is_a_wrong_command(hub: Hub, tmp_path: Path) -> None:
    done = train(hub, tmp_path / "work", output="hf://datasets/somebody/cubes")
    assert (done.code, len(done.errors)) == (UsageError.exit_code, 1)


def test_names_of_a_dataset_are_no_markup_in_the_card(tmp_path: Path) -> None:
    done = run_job(tmp_path / "out", input=SOURCE, **RUN_FLAGS)
    folder = done.output / CHECKPOINTS / "test"
    run = read_run(folder)
    report = report_of(run, {})
    assert report.dataset is not None
    hostile = "a | b\n# c\n---\nlicense: x\n[d](javascript:e) <script>`"
    dataset = report.dataset.model_copy(update={"tasks": [hostile]})
    command = ["lerobot-to-act", "--task_name", "```\n# x"]
    changed = report.model_copy(
        update={
            "dataset": dataset,
            "run_name": hostile,
            "reproducibility": report.reproducibility.model_copy(update={"command": command}),
        }
    )
    text = card(run, changed, NAME)
    body = text.split("---\n", 2)[2]
    lines = [line for line in body.splitlines() if not line.startswith("    ")]
    assert [line for line in lines if line.startswith(("# ", "license"))] == [
        r"# a \| b \# c \-\-\- license\: x \[d\]\(javascript\:e\) \<script\>\`"
    ]
    assert "<script>" not in body
    assert not [line for line in lines if line.startswith("```") and "x" in line]
    assert published(folder, {}, NAME).keys() >= {CARD, CONTRACT}
