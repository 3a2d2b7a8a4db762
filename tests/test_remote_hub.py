"""Datasets on the Hub, of a server that is like it: commits, digests, and what a token opens."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job.errors import DatasetError, OutputError
from job.remote.address import Address, read_place
from job.remote.download import Download
from job.remote.store import Store
from tests.support.commands import run_job
from tests.support.errors import raises_code
from tests.support.hub import Hub
from tests.support.paths import SMALL

SOURCE = SMALL / "v30_av1"
NAME = "somebody/cubes"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    made.commit(NAME, SOURCE)
    monkeypatch.setenv("HF_ENDPOINT", made.environment["HF_ENDPOINT"])
    yield made
    made.shutdown()
    made.server_close()


def store_of(text: str) -> Store:
    address = read_place(text)
    assert isinstance(address, Address)
    return Store(address, 5.0)


def test_a_branch_is_pinned_to_its_commit_and_files_are_verified(hub: Hub, tmp_path: Path) -> None:
    store = store_of(f"hf://datasets/{NAME}").pinned()
    assert store.revision == next(iter(hub.commits[NAME]))
    listed = store.files()
    assert {one.digest.partition(":")[0] for one in listed.values()} == {"sha256", "git"}
    fetched = Download(store, tmp_path).fetch(listed, "test")
    for one in fetched:
        assert (tmp_path / one.name).read_bytes() == (SOURCE / one.name).read_bytes()
    for name in ("info.json", ".mp4"):  # Git's digest and that of LFS
        hub.corrupt = name
        with raises_code(DatasetError, "fetch-digest"):
            Download(store, tmp_path / name).fetch(listed, "test")


def test_an_older_commit_is_read_as_it_was(hub: Hub, tmp_path: Path) -> None:
    [first] = hub.commits[NAME]
    changed = shutil.copytree(SOURCE, tmp_path / "changed")
    (changed / "meta/tasks.parquet").write_bytes(b"other")
    second = hub.commit(NAME, changed)
    assert store_of(f"hf://datasets/{NAME}").pinned().revision == second
    assert store_of(f"hf://datasets/{NAME}@{first}").pinned().revision == first


@pytest.mark.parametrize("text", ["hf://datasets/nobody/none", f"hf://datasets/{NAME}@nowhere"])
def test_what_is_not_there_is_told(hub: Hub, text: str) -> None:
    with raises_code(DatasetError, "input-missing", "is not there"):
        store_of(text).pinned()


def test_a_mistyped_dataset_is_none_of_the_credentials(hub: Hub) -> None:
    """The Hub answers 401 there, without a token."""
    hub.token, hub.refusal = "hf_secret", "RepoNotFound"
    with raises_code(DatasetError, "input-missing", "look at the address"):
        store_of("hf://datasets/somebody/typo").pinned()


def test_a_closed_dataset_needs_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_secret"
    with raises_code(OutputError, "address-refused", "credentials"):
        store_of(f"hf://datasets/{NAME}").pinned()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert store_of(f"hf://datasets/{NAME}").pinned().revision


@pytest.mark.slow
def test_a_job_trains_on_a_dataset_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    flags: dict[str, Any] = {"camera_keys": "none", "backbone_weights": None, "num_epochs": 1}
    local = run_job(tmp_path / "local", input=SOURCE, **flags)
    hub.token = "hf_secret"
    environment = hub.environment | {"HF_TOKEN": "hf_secret"}
    done = run_job(
        tmp_path / "out",
        input=f"hf://datasets/{NAME}",
        cache=tmp_path / "cache",
        environment=environment,
        **flags,
    )
    assert done.code == 0, done.err
    last = "checkpoints/test/policy_last.ckpt"
    assert (done.output / last).read_bytes() == (local.output / last).read_bytes()
    [record] = done.manifest["fetched"]
    assert record["revision"] == next(iter(hub.commits[NAME]))
    assert "hf_secret" not in json.dumps(done.manifest) + done.out + done.err
    assert not [one for one in hub.seen if one.endswith(".mp4")]
