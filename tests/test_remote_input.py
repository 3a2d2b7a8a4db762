"""Inputs at addresses: what is fetched, verified and resumed, from a real S3 server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from job.errors import DatasetError, Interrupted, OutputError, UsageError
from job.remote.address import Address, read_place
from job.remote.cache import Cache
from job.remote.download import RECORD, Download, digest_of
from job.remote.store import Store
from tests.support.buckets import Buckets
from tests.support.commands import run_job, run_module, start_job
from tests.support.errors import raises_code
from tests.support.paths import ROOT, SMALL

SOURCE = SMALL / "v30_av1"
STATE_ONLY: dict[str, Any] = {"camera_keys": "none", "backbone_weights": None, "num_epochs": 1}


@pytest.fixture
def dataset(s3: Buckets, bucket: str) -> str:
    s3.put(SOURCE, f"{bucket}/sets/one")
    return f"{bucket}/sets/one"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def store_of(address: str, patience_s: float = 5.0) -> Store:
    found = read_place(address)
    assert isinstance(found, Address)
    return Store(found, patience_s)


@pytest.mark.parametrize(
    ("text", "path"),
    [("s3://a/b/", "a/b"), ("hf://datasets/u/n@main", "datasets/u/n@main"), ("gs://a", "a")],
)
def test_addresses_are_read(text: str, path: str) -> None:
    found = read_place(text)
    assert isinstance(found, Address)
    assert found.path == path
    assert read_place(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["ftp://a/b", "s3://", "hf://datasets/u", "s3://key:x@bucket/a", "S3://a", "s3://a/../b"],
)
def test_addresses_of_another_kind_are_refused(text: str) -> None:
    with raises_code(UsageError, "address-unknown"):
        read_place(text)
    assert read_place("/a/b") == Path("/a/b")


@pytest.mark.slow
def test_a_job_fetches_what_it_needs_and_has_the_bytes_of_a_local_one(
    s3: Buckets, dataset: str, tmp_path: Path
) -> None:
    flags: dict[str, Any] = {
        "episodes": "0,2",
        "camera_keys": "observation.images.front",
        "camera_names": "front",
        "num_epochs": 1,
    }
    local = run_job(tmp_path / "local", input=SOURCE, **flags)
    assert local.code == 0, local.err
    cache = tmp_path / "cache"
    done = run_job(
        tmp_path / "out", input=dataset, cache=cache, environment=s3.environment, **flags
    )
    assert done.code == 0, done.err
    for name in ("policy_last.ckpt", "policy_best.ckpt"):
        path = Path("checkpoints/test") / name
        assert (done.output / path).read_bytes() == (local.output / path).read_bytes()
    fetched = list(cache.rglob("*.mp4"))
    assert [path.parts[-3] for path in fetched] == ["observation.images.front"]
    [record] = done.manifest["fetched"]
    assert record["address"] == dataset == done.manifest["flags"]["input"][0]
    assert record["revision"] is None
    files = [path for path in cache.rglob("[!.]*") if path.is_file()]
    assert record["files"] == len(files)
    everything = json.dumps(done.manifest) + done.out + done.err
    assert s3.secret not in everything

    s3.switch.seen.clear()
    again = run_job(
        tmp_path / "again", input=dataset, cache=cache, environment=s3.environment, **flags
    )
    assert again.code == 0, again.err
    assert again.manifest["fetched"] == done.manifest["fetched"]
    assert not [path for _, path in s3.switch.seen if path.endswith((".mp4", ".parquet"))]


@pytest.mark.slow
def test_processes_of_a_run_fetch_once(s3: Buckets, dataset: str, tmp_path: Path) -> None:
    flags: dict[str, Any] = STATE_ONLY | {"processes": 2, "cache": tmp_path / "cache"}
    s3.switch.seen.clear()
    done = run_job(tmp_path / "out", input=dataset, environment=s3.environment, **flags)
    assert done.code == 0, done.err
    assert done.manifest["fetched"][0]["address"] == dataset
    assert sum("list-type" in path for _, path in s3.switch.seen) == 1


def test_the_check_fetches_too_and_reports_broken_metadata(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    broken = shutil.copytree(SOURCE, tmp_path / "broken")
    info = json.loads((broken / "meta/info.json").read_text())
    (broken / "meta/info.json").write_text(json.dumps(info | {"total_frames": 1}))
    s3.put(broken, f"{bucket}/broken")
    s3.put(SOURCE, f"{bucket}/fine")
    for name, code in (("fine", 0), ("broken", 3)):
        words = [f"{bucket}/{name}", "--cache", str(tmp_path / "cache"), "--chunk_size", "10"]
        done = run_module("convert.check", *words, output=tmp_path)
        assert done.code == code, done.err
    assert "total_frames" in done.out


def test_conversion_of_two_inputs_one_here(s3: Buckets, dataset: str, tmp_path: Path) -> None:
    out, cache = tmp_path / "out", str(tmp_path / "cache")
    words = [str(SMALL / "v30_av1"), dataset, str(out), "--cache", cache, "--max_episodes", "6"]
    done = run_module("convert", *words, output=out)
    assert done.code == 0, done.err
    assert len([*out.glob("episode_*.hdf5")]) == 6
    assert [one["address"] for one in done.manifest["fetched"]] == [dataset]


def test_a_kill_at_any_moment_is_resumed(s3: Buckets, dataset: str, tmp_path: Path) -> None:
    """Each try is killed after some requests more; what is there is not fetched again."""
    cache, flags = tmp_path / "cache", STATE_ONLY | {"num_epochs": 1}
    for allowed in (3, 5, 7):
        s3.switch.seen.clear()
        s3.switch.fault = lambda *_: 60.0 if len(s3.switch.seen) > allowed else None  # noqa: B023
        job = start_job(
            tmp_path / "out", input=dataset, cache=cache, environment=s3.environment, **flags
        )
        while len(s3.switch.seen) <= allowed and job.poll() is None:
            time.sleep(0.01)
        job.send_signal(signal.SIGKILL)
        job.communicate()
    s3.switch.fault = lambda *_: None
    s3.switch.seen.clear()
    done = run_job(
        tmp_path / "out", input=dataset, cache=cache, environment=s3.environment, **flags
    )
    assert done.code == 0, done.err
    local = run_job(tmp_path / "local", input=SOURCE, **flags)
    last = "checkpoints/test/policy_last.ckpt"
    assert (done.output / last).read_bytes() == (local.output / last).read_bytes()


def test_a_part_is_continued_and_a_wrong_one_fetched_anew(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 100
    s3.files.pipe_file(f"{bucket[5:]}/x/a", content)
    store = store_of(f"{bucket}/x")
    download = Download(store, tmp_path)
    part = next(iter(_parts_of(download, tmp_path)))
    for left, reads in ((content[:1000], 1), (b"wrong" * 10, 2), (content + b"more", 1)):
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(left)
        (tmp_path / "a").unlink(missing_ok=True)
        s3.switch.seen.clear()
        [found] = Download(store, tmp_path).fetch(store.files(), "test")
        assert (tmp_path / "a").read_bytes() == content
        assert found.sha256 == digest_of(tmp_path / "a")[1]
        assert (
            sum(method == "GET" and path.endswith("/a") for method, path in s3.switch.seen) == reads
        )


def _parts_of(download: Download, folder: Path) -> Iterator[Path]:
    """Where it keeps the parts of what it fetches."""
    for name, stored in download.store.files().items():
        yield download.part(name, stored)


def test_bytes_that_have_another_digest_are_refused(
    s3: Buckets, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.files.pipe_file(f"{bucket[5:]}/x/a", b"right")
    store = store_of(f"{bucket}/x")
    listed = store.files()
    s3.files.pipe_file(f"{bucket[5:]}/x/a", b"wrong")  # of the same size, since
    with raises_code(DatasetError, "fetch-digest", "md5:"):
        Download(store, tmp_path).fetch(listed, "test")
    assert not (tmp_path / "a").exists()
    s3.files.pipe_file(f"{bucket[5:]}/x/a", b"shorter"[:3])
    with raises_code(DatasetError, "changed"):
        Download(store, tmp_path).fetch(listed, "test")


@pytest.mark.parametrize("name", ["../a", "/a", "b/../../a"])
def test_names_that_lead_elsewhere_are_refused(
    s3: Buckets, bucket: str, tmp_path: Path, name: str
) -> None:
    store = store_of(bucket)
    s3.files.pipe_file(f"{bucket[5:]}/a", b"1")
    listed = {name: store.files()["a"]}
    with raises_code(DatasetError, "fetch-name"):
        Download(store, tmp_path / "in").fetch(listed, "test")
    assert not (tmp_path / "a").exists()


def test_a_server_that_fails_is_asked_again_and_one_that_refuses_is_not(
    s3: Buckets, dataset: str
) -> None:
    store = store_of(dataset)
    s3.switch.seen.clear()
    s3.switch.fault = lambda *_: 503 if len(s3.switch.seen) < 3 else None
    assert len(store.files()) == 7
    s3.switch.fault = lambda *_: 403
    with raises_code(OutputError, "address-refused", "renew"):
        store.files()
    s3.switch.fault = lambda *_: 500
    with raises_code(Interrupted, "address-unreachable", "run the same command again"):
        store_of(dataset, patience_s=1.0).files()


def test_what_is_no_input_is_told(s3: Buckets, bucket: str, tmp_path: Path) -> None:
    for address in (f"{bucket}/nothing", "s3://no-such-bucket/a"):
        done = run_job(
            tmp_path / "out", input=address, cache=tmp_path / "c", environment=s3.environment
        )
        assert done.code == 3, done.err
        assert "nothing" in done.errors[0] or "is not there" in done.errors[0]


def test_expired_credentials_end_with_4_and_the_reason(
    s3: Buckets, dataset: str, tmp_path: Path
) -> None:
    s3.switch.fault = lambda *_: 403
    done = run_job(
        tmp_path / "out", input=dataset, cache=tmp_path / "c", environment=s3.environment
    )
    assert done.code == 4
    assert "refused" in done.errors[0]
    assert s3.secret not in done.err


def test_the_cache_is_bounded_and_what_is_used_stays(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    gb = 1e-6  # a kB
    for number in range(3):
        s3.files.pipe_file(f"{bucket[5:]}/{number}/a", b"x" * 400)
    for number in range(3):
        cache = Cache(tmp_path, gb)
        store = store_of(f"{bucket}/{number}")
        folder = cache.hold(store.address)
        download = Download(store, folder)
        cache.make_room(download.needed_bytes(store.files()) + 200)
        download.fetch(store.files(), "test")
        cache.release()
    kept = [path.parent.name for path in tmp_path.rglob(RECORD)]
    assert [name.rpartition("_")[0] for name in kept] == ["s3_2"]
    with raises_code(UsageError, "cache-small", "--cache_gb"):
        cache.make_room(2000)


def test_a_dataset_below_another_stays_while_it_is_used(tmp_path: Path) -> None:
    used, other = Cache(tmp_path, 1e-6), Cache(tmp_path, 1e-6)
    folder = used.hold(Address("s3", "bucket/all/one"))
    other.hold(Address("s3", "bucket/all"))
    other.release()
    Cache(tmp_path, 1e-9).make_room(0)
    assert folder.exists()
    used.release()
    for record in tmp_path.rglob(RECORD):
        record.write_text("x" * 100)
    Cache(tmp_path, 1e-9).make_room(0)
    assert not folder.exists()


def test_pieces_of_two_versions_are_refused_without_a_digest(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    """As of an object that was put in parts, whose ETag is no MD5."""
    s3.files.pipe_file(f"{bucket[5:]}/x/a", b"first")
    store = store_of(f"{bucket}/x")
    listed = {"a": replace(store.files()["a"], digest="")}
    assert Download(store, tmp_path / "one").fetch(listed, "test")
    s3.files.pipe_file(f"{bucket[5:]}/x/a", b"other")
    with raises_code(DatasetError, "changed", "became version"):
        Download(store, tmp_path / "two").fetch(listed, "test")


@pytest.mark.parametrize("encrypted", [True, False])
def test_an_etag_that_is_no_md5_is_no_other_content(
    s3: Buckets, bucket: str, tmp_path: Path, encrypted: bool
) -> None:
    """S3's of an object that is encrypted by a key looks like one."""
    how = {"ServerSideEncryption": "aws:kms"} if encrypted else {}
    s3.files.pipe_file(f"{bucket[5:]}/x/a", b"content", **how)
    store = store_of(f"{bucket}/x")
    listed = {"a": replace(store.files()["a"], digest="md5:" + "0" * 32)}
    download = Download(store, tmp_path)
    if encrypted:
        assert download.fetch(listed, "test")
        assert (tmp_path / "a").read_bytes() == b"content"
    else:
        with raises_code(DatasetError, "fetch-digest"):
            download.fetch(listed, "test")


def test_keys_in_an_address_are_not_shown() -> None:
    for text in ("s3://KEY:SECRET@bucket/a", "https://u:SECRET@host/a", "az://c/p?sig=SECRET"):
        with raises_code(UsageError, "address-unknown") as caught:
            read_place(text)
        assert "SECRET" not in str(caught.value)


def test_credentials_that_are_not_understood_are_not_a_missing_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "SECRET")
    with raises_code(OutputError, "address-refused", "credentials") as caught:
        store_of("az://container/path")
    assert "SECRET" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a tmpfs")
def test_a_full_disk_is_one_line(
    s3: Buckets, dataset: str, tmp_path: Path, small_disk: Path
) -> None:
    big = dataset.rpartition("/")[0] + "/big"
    s3.put(SOURCE, big)
    s3.files.pipe_file(f"{big[5:]}/meta/more.json", b"x" * (20 << 20))
    done = run_job(tmp_path / "out", input=big, cache=small_disk / "c", environment=s3.environment)
    assert done.code == 4, done.err
    assert "No space" in done.errors[0] or "full" in done.errors[0]


def test_without_addresses_there_is_no_network(tmp_path: Path) -> None:
    """The file systems are not even imported."""
    text = (
        "import sys; from lerobot_to_act import main; "
        "code = main(sys.argv[1:]); assert not {'fsspec', 's3fs', 'aiobotocore'} & "
        "{one for one in sys.modules if 'torch' not in sys.modules}; sys.exit(code)"
    )
    words = [sys.executable, "-c", text, "check", str(SOURCE), "--chunk_size", "10"]
    assert subprocess.run(words, cwd=ROOT, check=False, capture_output=True).returncode == 0
