"""Packages that only an export needs: the extra `export` of this project."""

from importlib import import_module
from typing import Any

from job.errors import UsageError


def needed(module: str) -> Any:
    """A module of the extra; raises UsageError where it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UsageError(
            f"{package} cannot be imported ({error}), expected the packages that exports need; "
            f"pip install 'lerobot-to-act[export]', or pip install {package}",
            code="package-missing",
        ) from error
