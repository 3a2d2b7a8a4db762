"""The trackers that are known, and whether what they need is installed; imports none of them."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from types import MappingProxyType

from job.bounds import distinct
from job.errors import UsageError

# The name that --tracker takes, which is that of the extra too: what is imported, the package of it
TRACKERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "tensorboard": ("tensorboard", "tensorboard"),
        "wandb": ("wandb", "wandb"),
        "mlflow": ("mlflow", "mlflow-skinny"),
        "trackio": ("trackio", "trackio"),
    }
)


def known_trackers(value: tuple[str, ...]) -> str | None:
    """Some of them, each once: a bound of a flag."""
    known = set(value) <= set(TRACKERS)
    return distinct(value) if known else f"some of {', '.join(TRACKERS)}"


def check_installed(names: Sequence[str]) -> None:
    """Raise UsageError for a tracker whose package is not there."""
    for name in names:
        module, package = TRACKERS[name]
        if find_spec(module) is None:
            raise UsageError(
                f"--tracker {name} needs the package {package}, which is not installed; "
                f"pip install {package}, or leave {name} out",
                code="package-missing",
            )
