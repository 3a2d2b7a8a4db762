"""The policies by name. A new one is a module with a function `build`, and a line here.

A policy that needs flags of its own declares them as a group, names it in its line, and
`PolicyFlags` inherits it. The command line reads all that, so nothing here imports torch.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from act.policies.act_flags import ACTFlags
from job.flags import Flags, names_of

if TYPE_CHECKING:
    from act.policies.flags import PolicyFlags
    from act.policies.policy import Policy


@dataclass(frozen=True)
class PolicyEntry:
    """Where a policy is, and which of the policies' flags it obeys."""

    module: str
    flags: type[Flags] = Flags
    needs_cameras: bool = False  # cannot do without an image, nor see an environment state


POLICIES = {
    "ACT": PolicyEntry("act.policies.act", ACTFlags),
    "CNNMLP": PolicyEntry("act.policies.cnnmlp", needs_cameras=True),
}


@dataclass(frozen=True)
class Shapes:
    """What a policy takes and gives."""

    qpos_dim: int
    action_dim: int
    num_cameras: int
    image_size: tuple[int, int] | None  # H, W; None: there is no camera
    env_state_dim: int = 0  # 0: there is no environment state


def obeyed_flags(policy_class: str) -> frozenset[str]:
    """The names of the flags that this policy obeys and others may not."""
    return names_of(POLICIES[policy_class].flags)


def policies_that_obey(flag: str) -> tuple[str, ...]:
    """The policies that a flag is for; none where it is for all."""
    return tuple(name for name in POLICIES if flag in obeyed_flags(name))


def build_policy(flags: "PolicyFlags", shapes: Shapes) -> "Policy":
    """The policy that the flags name, with weights from torch's generator; raises UsageError."""
    build = import_module(POLICIES[flags.policy_class].module).build
    policy: Policy = build(flags, shapes)
    return policy
