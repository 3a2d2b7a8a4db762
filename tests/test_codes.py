"""Every code in the source is in the table, and every code in the table is used."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from convert.findings import error, refuse, warning
from job import codes
from job.errors import DatasetError, JobError, OutputError, UsageError
from tests.support.errors import raises_code
from tests.support.paths import ROOT

KNOWN = {**codes.ERRORS, **codes.WARNINGS, **codes.JOB_WARNINGS, **codes.FINDINGS}
ENDINGS = ("-missing",)  # codes that begin with what is missing


def calls() -> Iterator[tuple[str, ast.Call]]:
    for folder in ("act", "convert", "episodes", "job"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield path.relative_to(ROOT).as_posix(), node


def test_every_code_that_is_passed_is_in_the_table() -> None:
    passed = [
        (path, keyword.value.lineno, keyword.value.value)
        for path, call in calls()
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    ]
    passed += [
        (path, call.lineno, call.args[0].value)
        for path, call in calls()
        if path.startswith("convert/")
        and isinstance(call.func, ast.Name)
        and call.func.id in ("error", "warning")
        and isinstance(call.args[0], ast.Constant)
    ]
    assert len(passed) > 100
    assert [use for use in passed if use[2] not in KNOWN] == []


def test_every_code_in_the_table_is_used() -> None:
    texts = [
        path.read_text()
        for folder in ("act", "convert", "episodes", "job")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "codes.py"
    ] + [(ROOT / "lerobot_to_act.py").read_text()]
    source = "".join(texts)
    assert [c for c in KNOWN if f'"{c}"' not in source and not c.endswith(ENDINGS)] == []


@pytest.mark.parametrize("kind", [UsageError, DatasetError, OutputError])
def test_a_code_of_another_class_is_a_bug(kind: type[JobError]) -> None:
    for code in ("no-such-code", "diverged"):
        with pytest.raises(ValueError, match=code):
            kind("x", code=code)


def test_a_finding_is_raised_as_the_class_of_its_code(tmp_path: Path) -> None:
    for code, kind in (
        ("image-enlarged", UsageError),
        ("fps", DatasetError),
        ("memory", OutputError),
    ):
        with raises_code(kind, code, "too much"):
            refuse(error(code, tmp_path, "too much"))
    with pytest.raises(ValueError, match="fps"):
        warning("fps", tmp_path, "an error's code")


def test_an_error_of_a_worker_keeps_what_it_names(tmp_path: Path) -> None:
    sent = DatasetError("x: broken", code="fps", where=tmp_path, episode=3, camera="front")
    received = pickle.loads(pickle.dumps(sent))
    assert (str(received), vars(received)) == (str(sent), vars(sent))
