"""Packages that only some commands need: the extras of this project."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

from job.errors import UsageError, first_line


def needed(module: str, extra: Literal["export", "serve", "sim"] = "export") -> Any:
    """A module of an extra; raises UsageError where it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        install, pythons = package, ""
        if extra == "sim":  # by themselves its packages would come in versions that differ
            install, pythons = "'lerobot-to-act[sim]'", ", which are there for Python 3.11 and 3.12"
        raise UsageError(
            f"{package} cannot be imported ({first_line(error)}), expected the packages of the "
            f"extra [{extra}]{pythons}; pip install {install}, or pip install '.[{extra}]' where "
            f"this project's code is",
            code="package-missing",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' own warnings and logs away: they are about their internals."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
