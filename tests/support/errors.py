"""Errors by their code, which stays when a message changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from job.errors import JobError

Kind = TypeVar("Kind", bound=JobError)


@contextmanager
def raises_code(
    kind: type[Kind], code: str, match: str | None = None
) -> Iterator[pytest.ExceptionInfo[Kind]]:
    """Expect an error of `kind` with `code`; `match` is for the values that its message names."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert caught.value.code == code, str(caught.value)
