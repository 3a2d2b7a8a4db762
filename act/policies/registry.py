"""The policies by name. A new one is a module with a function `build`, and a line here.

The command line reads the names and flags, so nothing here imports torch.
"""

from collections.abc import Set
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from act.policies.flags import PolicyFlags
    from act.policies.policy import Policy


@dataclass(frozen=True)
class PolicyEntry:
    """Where a policy is, and which of the policies' flags it obeys."""

    module: str
    flags: frozenset[str] = frozenset()


_ACT_FLAGS = frozenset(
    {
        "kl_weight",
        "kl_warmup",
        "loss_norm",
        "chunk_size",
        "hidden_dim",
        "dim_feedforward",
        "enc_layers",
        "dec_layers",
        "dropout",
        "decoder_output",
    }
)

POLICIES = {
    "ACT": PolicyEntry("act.policies.act", _ACT_FLAGS),
    "CNNMLP": PolicyEntry("act.policies.cnnmlp"),
}


@dataclass(frozen=True)
class Shapes:
    """What a policy takes and gives."""

    qpos_dim: int
    action_dim: int
    num_cameras: int
    image_size: tuple[int, int]  # H, W


def policy_names() -> tuple[str, ...]:
    """The names for `--policy_class`."""
    return tuple(POLICIES)


def disobeyed_flags(name: str, given: Set[str]) -> list[str]:
    """Those of the given flags that other policies obey and this one does not."""
    of_policies = frozenset[str]().union(*(entry.flags for entry in POLICIES.values()))
    return sorted(given & of_policies - POLICIES[name].flags)


def build_policy(config: "PolicyFlags", shapes: Shapes) -> "Policy":
    """The policy that the flags name, with weights from torch's generator; raises UsageError."""
    build = import_module(POLICIES[config.policy_class].module).build
    policy: Policy = build(config, shapes)
    return policy
