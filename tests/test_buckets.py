"""Google's and Azure's buckets: what inputs and outputs ask of them, from servers like theirs."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from job.errors import DatasetError, OutputError
from job.remote.address import Address, read_place
from job.remote.store import Store
from job.remote.tries import tried
from tests.support.buckets import AZURE, GOOGLE, LEFT_OPEN, Buckets, Kind, serving
from tests.support.errors import raises_code

# Of gcsfs, which gives aiohttp what it sends as bytes
_LARGE_BODY = "ignore:Sending a large body directly:ResourceWarning"
pytestmark = pytest.mark.filterwarnings(_LARGE_BODY, LEFT_OPEN)


@pytest.fixture(scope="module", params=[GOOGLE, AZURE], ids=["gs", "az"])
def buckets(request: pytest.FixtureRequest) -> Iterator[Buckets]:
    kind: Kind = request.param
    if kind.missing:
        pytest.skip(kind.missing)
    with serving(kind) as found:
        yield found


@pytest.fixture
def store(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with buckets.at_hand(monkeypatch) as bucket:
        address = read_place(f"{bucket}/a/b")
        assert isinstance(address, Address)
        yield Store(address, 5.0)


def test_objects_are_listed_read_and_removed(store: Store, tmp_path: Path) -> None:
    assert store.files() == {}
    assert store.version("x/y") == ""
    assert store.written_at("x/y") is None
    content = os.urandom(12_000_000)
    (tmp_path / "big").write_bytes(content)
    store.put(tmp_path / "big", "x/big")
    store.put_bytes(b"first", "x/y")
    listed = store.files()
    assert {name: found.size_bytes for name, found in listed.items()} == {"x/big": 12e6, "x/y": 5}
    assert set(store.files("x")) == set(listed)
    assert store.below("x").files() == {name[2:]: found for name, found in listed.items()}
    assert store.read("x/big") == content
    assert store.read("x/big", 3_000_000, 3_000_100) == content[3_000_000:3_000_100]
    assert store.version("x/y") == listed["x/y"].version
    store.put_bytes(b"other", "x/y")
    assert store.version("x/y") not in ("", listed["x/y"].version)
    assert store.written_at("x/y") is not None
    store.remove("x/y")
    store.remove("x/y")
    assert set(store.files()) == {"x/big"}
    with raises_code(DatasetError, "input-missing"):
        store.read("x/y")


def test_only_one_creates_an_object(store: Store, buckets: Buckets) -> None:
    assert store.create(b"mine", "lease")
    if buckets.kind is GOOGLE:  # its emulator takes every upload; the real one answers with 412
        buckets.switch.fault = lambda method, path: 412 if "ifGenerationMatch=0" in path else None
    assert not store.create(b"yours", "lease")
    assert store.read("lease") == b"mine"


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_ends_with_the_reason(
    store: Store, buckets: Buckets, status: int
) -> None:
    buckets.switch.fault = lambda method, path: status
    with raises_code(OutputError, "address-refused"):
        store.put_bytes(b"x", "y")
    with raises_code(OutputError, "address-refused"):
        store.files()


def test_credentials_that_are_not_there_are_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """gcsfs itself would go on with those of somebody else."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with raises_code(OutputError, "address-refused", "credentials"):
        Store(Address("gs", "bucket/a"))


def test_a_key_that_cannot_sign_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=abcde;BlobEndpoint=http://127.0.0.1:9/a;",
    )
    with raises_code(OutputError, "address-refused"):
        Store(Address("az", "bucket/a"), 30.0).files()


def test_a_refusal_of_googles_has_its_reason() -> None:
    error = OSError(
        "Forbidden: bucket/a\nrobot@project does not have storage.objects.create access"
    )
    with raises_code(OutputError, "address-refused", "does not have storage.objects.create"):
        tried(_raise(error), "gs://bucket/a", "cannot be written", is_output=True)


def _raise(error: Exception) -> Callable[[], None]:
    def raised() -> None:
        raise error

    return raised
