"""The policy: from episode files to checkpoints, and from a checkpoint to actions.

`from act import load_policy` gives a trained policy to a robot; `import act` alone imports nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from act.load.limits import Limits
    from act.load.loaded_policy import LoadedPolicy
    from act.load.loading import load_policy
    from job.errors import UsageError

__all__ = ["Limits", "LoadedPolicy", "UsageError", "load_policy"]

_PLACES = {
    "Limits": "act.load.limits",
    "LoadedPolicy": "act.load.loaded_policy",
    "UsageError": "job.errors",  # what all of them raise, with a `code` of job/codes.py
    "load_policy": "act.load.loading",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and torch with it, when it is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
