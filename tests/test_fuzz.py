"""Metadata of any shape, made by hypothesis: success, or one line of ours."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from act.policies.statistics import load_stats
from convert.check.dataset import check
from convert.lerobot.info import Info
from convert.plan import make_plan
from job.errors import DatasetError, JobError, UsageError
from tests.support.commands import make_config
from tests.support.errors import raises_code
from tests.support.paths import SMALL

# JSON can hold halves of surrogate pairs, which no file's name and no other encoding can.
TEXTS = st.text(st.characters(), max_size=20) | st.sampled_from(["", "\ud800", "a\udc80", "a\0b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
INFO = json.loads((SMALL / "v30_h264/meta/info.json").read_text())
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a dataset, whose info.json may be replaced."""
    return Path(shutil.copytree(SMALL / "v30_h264", tmp_path_factory.mktemp("fuzz") / "dataset"))


def look_at(root: Path, info: Any, output: Path) -> None:
    (root / "meta/info.json").write_text(json.dumps(info))
    messages = list[str]()
    try:
        messages += [finding.message for finding in check(root).findings]
        make_plan(make_config(output, input=root), output)
    except JobError as error:
        messages.append(str(error))
    assert all(line and "\n" not in line for line in messages)


@pytest.mark.slow
@QUICK
@given(st.sampled_from(sorted(INFO)), VALUES)
def test_any_value_of_a_field(root: Path, tmp_path: Path, key: str, value: Any) -> None:
    look_at(root, INFO | {key: value}, tmp_path)


@QUICK
@given(st.sampled_from(sorted(INFO["features"])), VALUES, st.data())
def test_any_feature(
    root: Path, tmp_path: Path, name: str, value: Any, data: st.DataObject
) -> None:
    feature = INFO["features"][name]
    field = data.draw(st.sampled_from([None, *sorted(feature)]))
    changed = value if field is None else feature | {field: value}
    look_at(root, INFO | {"features": INFO["features"] | {name: changed}}, tmp_path)


@QUICK
@given(
    st.sampled_from(sorted(INFO["features"])), st.sampled_from(["", "observation.images."]), TEXTS
)
def test_any_name_of_a_feature(
    root: Path, tmp_path: Path, name: str, prefix: str, new: str
) -> None:
    features = INFO["features"] | {prefix + new: INFO["features"][name]}
    features.pop(name, None)
    look_at(root, INFO | {"features": features}, tmp_path)


@QUICK
@given(VALUES)
def test_any_info_at_all(root: Path, tmp_path: Path, value: Any) -> None:
    look_at(root, value, tmp_path)


@pytest.mark.slow
@QUICK
@given(st.text(alphabet="{}./\\:!_aepisod0chunkvideoky \ud800\udc80\0", max_size=60))
def test_any_path_template_stays_inside(root: Path, tmp_path: Path, template: str) -> None:
    look_at(root, INFO | {"data_path": template}, tmp_path)
    look_at(root, INFO | {"video_path": template}, tmp_path)


@given(
    st.sampled_from(["data_path", "video_path"]),
    st.text(alphabet="{}./\\_:videokychunkx0\ud800\udc80\0", max_size=40)
    | st.sampled_from(["/etc/{video_key}", "../{video_key}", "{video_key}/../../x", "{video_key}"]),
    st.sampled_from(
        ["observation.images.top", "..", "../../x", "/etc/passwd", "a/../../..", "\ud800"]
    ),
)
@QUICK
def test_a_template_is_a_path_inside_the_dataset_or_refused(
    root: Path, field: str, template: str, key: str
) -> None:
    (root / "meta/info.json").write_text(json.dumps(INFO | {field: template}))
    with contextlib.suppress(DatasetError):
        path = Info(root).fill(field, video_key=key, chunk_index=0)
        assert path.resolve().is_relative_to(root.resolve())


@QUICK
@given(st.binary(max_size=200))
def test_any_statistics(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stats").write_bytes(content)
    with raises_code(UsageError, "weights-unreadable", "stats"):
        load_stats(tmp_path / "stats")
