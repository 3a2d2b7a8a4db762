"""Outputs at addresses: a run goes on from a bucket, on a machine that has nothing of it."""

import contextlib
import json
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from job.errors import Interrupted, OutputError
from job.output_names import CHECKPOINTS, MANIFEST, RUN, STATE
from job.remote.address import Address, read_place
from job.remote.lease import NAME as LEASE
from job.remote.lease import Lease
from job.remote.mirror import Mirror
from job.remote.store import Store
from job.whole_files import RECORD
from tests.support.buckets import AZURE, GOOGLE, LEFT_OPEN, Buckets, Kind, serving
from tests.support.commands import run_job, start_job
from tests.support.errors import raises_code
from tests.support.hub import Hub
from tests.support.jobs import Job
from tests.support.paths import SMALL

SOURCE = SMALL / "v21_h264"
RUN_FLAGS: dict[str, Any] = {
    "input": SOURCE,
    "camera_keys": "none",
    "backbone_weights": None,
    "num_epochs": 40,
    "state_interval_minutes": 0,
}
COMPARED = ("policy_last.ckpt", "policy_best.ckpt", "dataset_stats.json")
FOLDER = f"{CHECKPOINTS}/test"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose output is a folder."""
    done = run_job(tmp_path_factory.mktemp("undisturbed") / "out", **RUN_FLAGS)
    assert done.code == 0, done.err
    return done.output / FOLDER


class Machine:
    """A machine whose disk is empty at first."""

    def __init__(self, folder: Path, buckets: Buckets, bucket: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.folder, self.bucket = folder, bucket
        self.options: dict[str, Any] = {
            "environment": dict(buckets.environment),
            "output": f"{bucket}/out",
        }

    def flags(self, **flags: Any) -> dict[str, Any]:
        return RUN_FLAGS | {"work_dir": self.folder} | flags

    def start(self, **flags: Any) -> Job:
        return start_job(**self.options, **self.flags(**flags))

    def run(self, **flags: Any) -> tuple[int, str]:
        """Its exit code, and what it said."""
        job = self.start(**flags)
        out, err = job.communicate(timeout=300)
        return job.wait(), out + err

    def vanish(self, job: Job) -> None:
        """It is gone in one moment, with all of its processes."""
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(job.pid, signal.SIGKILL)
        job.communicate()


def store_of(bucket: str, patience_s: float = 5.0) -> Store:
    address = read_place(f"{bucket}/out")
    assert isinstance(address, Address)
    return Store(address, patience_s)


def assert_undisturbed(buckets: Buckets, bucket: str, undisturbed: Path) -> None:
    found = buckets.content(f"{bucket}/out/{FOLDER}")
    for name in COMPARED:
        assert found[name] == (undisturbed / name).read_bytes(), name
    assert json.loads(found[RUN])["finished"]
    assert STATE not in found


def _path(bucket: str) -> str:
    """Its name, without the kind of bucket."""
    return bucket.partition("://")[2]


def forget_lease(buckets: Buckets, bucket: str) -> None:
    """As if three minutes had passed since a machine was gone."""
    buckets.files.rm_file(f"{_path(bucket)}/out/{FOLDER}/{LEASE}")


@pytest.mark.slow
def test_an_output_at_an_address_has_what_a_folder_has(
    s3: Buckets, bucket: str, undisturbed: Path, tmp_path: Path
) -> None:
    code, said = Machine(tmp_path / "machine", s3, bucket).run()
    assert code == 0, said
    assert_undisturbed(s3, bucket, undisturbed)
    found = s3.content(f"{bucket}/out")
    assert {Path(name).name for name in found if "/" in name} == {
        path.name for path in undisturbed.iterdir()
    }
    manifest = json.loads(found[MANIFEST])
    assert manifest["status"] == "completed"
    assert manifest["flags"]["output"] == f"{bucket}/out"
    assert s3.secret not in said + json.dumps(manifest)
    for artifact in manifest["artifacts"]:
        assert len(found[artifact["path"]]) == artifact["size_bytes"]
    again, said = Machine(tmp_path / "other", s3, bucket).run()
    assert again == 0
    assert "holds the policy of this very run" in said


@pytest.mark.slow
def test_three_machines_that_are_gone_leave_the_bytes_of_an_undisturbed_run(
    s3: Buckets, bucket: str, undisturbed: Path, tmp_path: Path
) -> None:
    """Their input is on the Hub, and each has an empty disk at first."""
    hub = Hub()
    hub.commit("team/recordings", SOURCE)
    at_hub = {"input": "hf://datasets/team/recordings"}

    def empty(name: str) -> Machine:
        machine = Machine(tmp_path / name, s3, bucket)
        machine.options["environment"] |= hub.environment
        return machine

    epochs: list[int] = []
    for number in range(3):
        machine = empty(f"machine{number}")
        job = machine.start(**at_hub, cache=machine.folder / "cache")
        wait_for_states(s3, bucket, job, more_than=max(epochs, default=0))
        machine.vanish(job)
        epochs.append(_epochs(s3, bucket))
        forget_lease(s3, bucket)
    assert epochs[-1] > 0
    last = empty("last")
    code, said = last.run(**at_hub, cache=last.folder / "cache")
    hub.shutdown()
    hub.server_close()
    assert code == 0, said
    assert "fetched, " in said
    assert_undisturbed(s3, bucket, undisturbed)
    manifest = json.loads(s3.content(f"{bucket}/out")[MANIFEST])
    assert manifest["fetched"][0]["address"] == at_hub["input"]


@pytest.mark.slow
def test_kills_at_random_requests(
    s3: Buckets, bucket: str, undisturbed: Path, tmp_path: Path
) -> None:
    """Also within an upload, a download, and the taking of the lease."""
    rng = random.Random(0)
    for _ in range(int(os.environ.get("TEST_MIRROR_KILLS", "3"))):
        machine = Machine(tmp_path / "machine", s3, bucket)
        allowed = rng.randrange(1, 90)
        s3.switch.seen.clear()
        gone = threading.Event()

        def fault(
            *_: str, allowed: int = allowed, gone: threading.Event = gone
        ) -> int | float | None:
            if len(s3.switch.seen) > allowed:
                gone.set()
                return 0.2
            return None

        s3.switch.fault = fault
        job = machine.start()
        while not gone.wait(0.02) and job.poll() is None:
            pass
        machine.vanish(job)
        s3.switch.fault = lambda *_: None
        if s3.files.exists(f"{bucket[5:]}/out/{FOLDER}/{LEASE}"):
            forget_lease(s3, bucket)
    code, said = Machine(tmp_path / "last", s3, bucket).run()
    assert code == 0, said
    assert_undisturbed(s3, bucket, undisturbed)


@pytest.mark.slow
@pytest.mark.filterwarnings(LEFT_OPEN)
@pytest.mark.parametrize("kind", [GOOGLE, AZURE], ids=["gs", "az"])
def test_other_buckets_hold_dataset_and_run_as_well(
    kind: Kind, undisturbed: Path, tmp_path: Path
) -> None:
    if kind.missing:
        pytest.skip(kind.missing)
    with serving(kind) as buckets:
        bucket = buckets.bucket()
        buckets.put(SOURCE, f"{bucket}/recordings")
        place = {"input": f"{bucket}/recordings", "cache": tmp_path / "cache"}
        machine = Machine(tmp_path / "machine", buckets, bucket)
        job = machine.start(**place)
        wait_for_states(buckets, bucket, job, more_than=0)
        machine.vanish(job)
        forget_lease(buckets, bucket)
        shutil.rmtree(tmp_path / "cache")
        code, said = Machine(tmp_path / "last", buckets, bucket).run(**place)
        assert code == 0, said
        assert "resum" in said, said
        assert_undisturbed(buckets, bucket, undisturbed)
        manifest = buckets.content(f"{bucket}/out")[MANIFEST].decode()
        assert json.loads(manifest)["fetched"][0]["address"] == place["input"]
        assert buckets.secret not in said + manifest


def _epochs(buckets: Buckets, bucket: str) -> int:
    found = buckets.content(f"{bucket}/out/{FOLDER}").get("metrics.jsonl", b"")
    return found.count(b"\n")


def wait_for_states(buckets: Buckets, bucket: str, job: Job, more_than: int) -> None:
    """Until a state of the run is in the bucket, and of more epochs."""
    place = f"{_path(bucket)}/out/{FOLDER}/{STATE}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and job.poll() is None:
        if buckets.files.exists(place) and _epochs(buckets, bucket) > more_than:
            return
        time.sleep(0.1)


@pytest.mark.slow
def test_a_signal_sends_the_state_and_ends_with_75(
    s3: Buckets, bucket: str, undisturbed: Path, tmp_path: Path
) -> None:
    job = (machine := Machine(tmp_path / "machine", s3, bucket)).start(num_epochs=100000)
    wait_for_states(s3, bucket, job, more_than=0)
    job.terminate()
    out, err = job.communicate(timeout=60)
    assert job.wait() == 75, out + err
    found = s3.content(f"{bucket}/out/{FOLDER}")
    assert STATE in found
    assert json.loads(found[MANIFEST])["status"] == "interrupted"
    assert LEASE not in found
    here = machine.folder / "s3" / f"{bucket[5:]}/out" / FOLDER
    assert found[STATE] == (here / STATE).read_bytes()


@pytest.mark.slow
def test_a_bucket_that_is_away_ends_no_training_until_patience_does(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "machine", s3, bucket)
    job = machine.start(num_epochs=100000)
    wait_for_states(s3, bucket, job, more_than=0)
    s3.switch.fault = lambda *_: 403
    here = machine.folder / "s3" / f"{bucket[5:]}/out" / FOLDER
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        status = json.loads((here / "status.json").read_text())
        if status["mirror"] and status["mirror"]["error"]:
            break
        time.sleep(0.5)
    assert "refused" in status["mirror"]["error"]
    assert status["mirror"]["behind_s"] >= 0
    assert job.poll() is None
    job.terminate()
    out, err = job.communicate(timeout=120)
    assert job.wait() == 4, out + err
    assert "refused" in err

    s3.switch.fault = lambda *_: None
    s3.files.rm_file(f"{bucket[5:]}/out/{FOLDER}/{LEASE}")
    job = machine.start(num_epochs=100000, mirror_patience_minutes=0)
    wait_for_states(s3, bucket, job, more_than=0)
    s3.switch.fault = lambda *_: 403
    out, err = job.communicate(timeout=120)
    assert job.wait() == 4, out + err


def test_the_second_of_two_machines_is_told(s3: Buckets, bucket: str, tmp_path: Path) -> None:
    with Lease(store_of(bucket), FOLDER):
        code, said = Machine(tmp_path / "second", s3, bucket).run()
    assert code == 75
    assert "is held by" in said
    assert LEASE not in s3.content(f"{bucket}/out/{FOLDER}")


def test_a_lease_is_taken_over_and_its_holder_notices(s3: Buckets, bucket: str) -> None:
    first = Lease(store_of(bucket), FOLDER, beat_s=3600)
    with first, raises_code(Interrupted, "run-in-use"), Lease(store_of(bucket), FOLDER):
        pass
    gone = Lease(store_of(bucket), FOLDER, beat_s=3.0, lost_s=0.5)
    with gone, Lease(store_of(bucket), FOLDER, lost_s=0.5):
        assert gone.is_lost.wait(10)
    with Lease(store_of(bucket), FOLDER):
        pass


def written(output: Path, name: str, text: str) -> None:
    path = output / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{name}.partial")
    partial.write_text(text)
    partial.replace(path)


def test_each_mixture_of_two_passes_is_one_that_a_kill_leaves(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    """The record before what it names, the state after that, run.json after all."""
    for name in (RUN, STATE, "policy_best.ckpt", MANIFEST, "status.json", RECORD, ".lock"):
        written(tmp_path, name, f"first {name}")
    (tmp_path / MANIFEST).write_text("of the output")
    mirror = Mirror(store_of(bucket), tmp_path, "test")
    s3.switch.seen.clear()
    assert mirror.send() == 7
    assert mirror.send() == 0
    put = [path.rpartition("/out/")[2] for method, path in s3.switch.seen if method == "PUT"]
    assert [name.removeprefix(f"{FOLDER}/") for name in put] == [
        RECORD,
        "policy_best.ckpt",
        STATE,
        RUN,
        "status.json",
        MANIFEST,
        MANIFEST,
    ]
    written(tmp_path, "policy_last.ckpt", "last")
    (tmp_path / FOLDER / STATE).unlink()
    s3.switch.seen.clear()
    assert mirror.send() == 2
    changes = [method for method, _ in s3.switch.seen if method in ("PUT", "DELETE")]
    assert changes == ["PUT", "DELETE"]
    found = s3.content(f"{bucket}/out/{FOLDER}")
    assert STATE not in found
    assert found["policy_last.ckpt"] == b"last"


def test_a_machine_that_is_ahead_keeps_what_it_has(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    for name in (RUN, STATE):
        written(tmp_path / "a", name, "first")
    first = Mirror(store_of(bucket), tmp_path / "a", "test")
    first.send()
    written(tmp_path / "a", STATE, "second, not sent")
    assert "newer" in Mirror(store_of(bucket), tmp_path / "a", "test").restore()
    assert (tmp_path / "a" / FOLDER / STATE).read_text() == "second, not sent"

    other = Mirror(store_of(bucket), tmp_path / "b", "test")
    assert "fetched" in other.restore()
    written(tmp_path / "b", STATE, "of the other machine")
    other.send()
    assert "fetched" in Mirror(store_of(bucket), tmp_path / "a", "test").restore()
    assert (tmp_path / "a" / FOLDER / STATE).read_text() == "of the other machine"
    assert not [*(tmp_path / "a" / FOLDER).glob(".*")]


def test_a_machine_that_lost_its_lease_sends_nothing(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    written(tmp_path, STATE, "of a machine that was cut off")
    mirror = Mirror(store_of(bucket), tmp_path, "test")
    lost = Lease(store_of(bucket), FOLDER, beat_s=3600, lost_s=0.2)
    with lost:
        time.sleep(0.3)  # it was cut off for longer than half of what a lease lasts
        with Lease(store_of(bucket), FOLDER, lost_s=0.2):
            s3.switch.seen.clear()
            with raises_code(Interrupted, "run-in-use", "taken the run over"):
                mirror.send(lost.check)
            assert "PUT" not in [method for method, _ in s3.switch.seen]
            assert lost.is_lost.is_set()
    assert STATE not in s3.content(f"{bucket}/out/{FOLDER}")


def test_of_two_that_make_a_lease_at_once_one_has_it(s3: Buckets, bucket: str) -> None:
    """The server says that another machine was first, by itself and by the switch."""
    assert store_of(bucket).create(b"1", "x") is True
    assert store_of(bucket).create(b"2", "x") is False
    assert s3.content(f"{bucket}/out").pop("x") == b"1"
    store_of(bucket).remove("x")
    s3.switch.fault = lambda method, path: 412 if method == "PUT" else None
    with raises_code(Interrupted, "run-in-use"), Lease(store_of(bucket), FOLDER):
        pass
    s3.switch.fault = lambda *_: None
    assert not s3.content(f"{bucket}/out")


def test_half_a_pass_takes_nothing_from_the_machine(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    for name in (RUN, STATE, "policy_best.ckpt"):
        written(tmp_path, name, "first")
    mirror = Mirror(store_of(bucket), tmp_path, "test")
    mirror.send()
    for name in (STATE, "policy_best.ckpt"):
        written(tmp_path, name, "second")
    s3.switch.fault = lambda method, path: 403 if (method, path[-10:]) == ("PUT", STATE) else None
    with raises_code(OutputError, "address-refused"):
        mirror.send()
    s3.switch.fault = lambda *_: None
    assert s3.content(f"{bucket}/out/{FOLDER}")["policy_best.ckpt"] == b"second"
    again = Mirror(store_of(bucket), tmp_path, "test")
    assert "newer" in again.restore()
    assert (tmp_path / FOLDER / STATE).read_text() == "second"
    assert again.send() == 1


def test_a_pass_without_changes_asks_nothing(s3: Buckets, bucket: str, tmp_path: Path) -> None:
    written(tmp_path, RUN, "a")
    mirror = Mirror(store_of(bucket), tmp_path, "test")
    mirror.send()
    s3.switch.seen.clear()
    assert mirror.send() == 0
    assert s3.switch.seen == []


def test_what_others_put_beside_a_run_takes_nothing_from_it(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    written(tmp_path, RUN, "a")
    mirror = Mirror(store_of(bucket), tmp_path, "test")
    mirror.send()
    written(tmp_path, STATE, "not sent")
    s3.files.pipe_file(f"{bucket[5:]}/out/{FOLDER}/videos/a.mp4", b"of somebody")
    assert "newer" in Mirror(store_of(bucket), tmp_path, "test").restore()
    other = tmp_path / "other"
    assert "fetched, 1 files" in Mirror(store_of(bucket), other, "test").restore()
    assert [path.name for path in (other / FOLDER).iterdir()] == [RUN]


def test_what_was_removed_on_one_side_is_made_whole_by_the_other(
    s3: Buckets, bucket: str, tmp_path: Path
) -> None:
    for name in (RUN, "policy_best.ckpt"):
        written(tmp_path, name, name)
    Mirror(store_of(bucket), tmp_path, "test").send()
    s3.files.rm_file(f"{bucket[5:]}/out/{FOLDER}/policy_best.ckpt")
    again = Mirror(store_of(bucket), tmp_path, "test")
    again.restore()
    again.send()
    assert "policy_best.ckpt" in s3.content(f"{bucket}/out/{FOLDER}")
    shutil.rmtree(tmp_path / FOLDER)
    again = Mirror(store_of(bucket), tmp_path, "test")
    assert "fetched" in again.restore()
    again.send()
    assert set(s3.content(f"{bucket}/out/{FOLDER}")) == {RUN, "policy_best.ckpt"}


def test_an_address_is_of_one_machine(s3: Buckets, bucket: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", s3, bucket)
    group = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
    for variables in (group, {"PET_NNODES": "2", "PET_NODE_RANK": "0"}):
        machine.options["environment"] = s3.environment | variables
        code, said = machine.run()
        assert code == 2, said
        assert "one machine" in said
    assert not s3.content(f"{bucket}/out")


def test_a_bucket_that_is_not_there_is_the_outputs_fault(s3: Buckets, tmp_path: Path) -> None:
    code, said = Machine(tmp_path / "machine", s3, "s3://no-such-bucket").run()
    assert code == 4, said
    assert "is not there" in said


def test_a_restore_that_was_cut_is_done_again(s3: Buckets, bucket: str, tmp_path: Path) -> None:
    for name in (RUN, STATE, "policy_best.ckpt"):
        written(tmp_path / "a", name, name * 1000)
    Mirror(store_of(bucket), tmp_path / "a", "test").send()
    s3.switch.fault = lambda _, path: 404 if path.endswith(STATE) else None
    other = Mirror(store_of(bucket), tmp_path / "b", "test")
    with pytest.raises(Exception, match="is not there"):
        other.restore()
    assert not (tmp_path / "b" / FOLDER).exists()
    s3.switch.fault = lambda *_: None
    assert "fetched" in other.restore()
    assert (tmp_path / "b" / FOLDER / STATE).read_text() == STATE * 1000


def test_a_run_without_run_json_is_no_run(s3: Buckets, bucket: str, tmp_path: Path) -> None:
    """A machine was gone within the very first pass."""
    s3.files.pipe_file(f"{bucket[5:]}/out/{FOLDER}/{RECORD}", b"")
    s3.files.pipe_file(f"{bucket[5:]}/out/{FOLDER}/policy_best.ckpt", b"half a pass")
    s3.files.pipe_file(f"{bucket[5:]}/out/{FOLDER}/{STATE}", b"of other flags")
    assert Mirror(store_of(bucket), tmp_path, "test").restore() == "a run of its own"
    assert not s3.content(f"{bucket}/out")


@pytest.mark.parametrize("name", ["policy_best.ckpt", "dataset_stats.pkl", STATE])
def test_somebody_elses_files_stay_where_they_are(
    s3: Buckets, bucket: str, tmp_path: Path, name: str
) -> None:
    s3.files.pipe_file(f"{bucket[5:]}/out/{FOLDER}/{name}", b"upstream's")
    with raises_code(OutputError, "output-other-run", name):
        Mirror(store_of(bucket), tmp_path, "test").restore()
    assert s3.content(f"{bucket}/out").keys() == {f"{FOLDER}/{name}"}
