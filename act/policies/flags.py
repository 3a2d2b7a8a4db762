"""The flags that say which policy is learned."""

from dataclasses import dataclass

from act.policies.act_flags import ACTFlags
from act.policies.registry import POLICIES, policies_that_obey
from job.bounds import distinct, some_text
from job.errors import UsageError
from job.flags import flag
from job.remote.flags import CacheFlags

INIT_ALLOW = ("state_dim", "action_dim", "chunk_size", "cameras")


def _allowed(value: tuple[str, ...]) -> str | None:
    known = set(value) <= set(INIT_ALLOW)
    return distinct(value) or (None if known else f"some of {', '.join(INIT_ALLOW)}")


@dataclass(frozen=True, kw_only=True)
class InitFlags(CacheFlags):
    """What a training starts from in place of random weights."""

    title = "start"

    init_weights: str = flag(
        "Weights to start from: a run, a checkpoint, upstream's folder or LeRobot's.", ""
    )
    init_allow: tuple[str, ...] = flag(
        "What may differ from --init_weights: state_dim, action_dim, chunk_size, cameras.",
        (),
        check=_allowed,
    )
    init_stats: str = flag(
        "Normalization of a start from weights: keep theirs, or new from the data.",
        "keep",
        choices=("keep", "new"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        useless = sorted({"init_allow", "init_stats"} & self.given)
        if useless and not self.init_weights:
            raise UsageError(
                f"{self.option(useless[0])} cannot apply without {self.option('init_weights')}; "
                f"leave it out",
                code="flag-unused",
            )
        if self.init_weights and "backbone_weights" in self.given:
            raise UsageError(
                f"{self.option('backbone_weights')} cannot apply to "
                f"{self.option('init_weights')} {self.init_weights}, which has a backbone; leave "
                f"one of them out",
                code="flags-conflict",
            )


@dataclass(frozen=True, kw_only=True)
class PolicyFlags(ACTFlags):
    """The policy: which one, and the flags of each."""

    title = "network"

    policy_class: str = flag("Policy that is trained.", "ACT", choices=tuple(POLICIES))
    backbone_weights: str = flag(
        "Weights of the image backbone: imagenet, none, or a torchvision state dict.",
        "imagenet",
        check=some_text,
        needs_cameras=True,
        environ="BACKBONE_WEIGHTS",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in sorted(self.given):
            obeying = policies_that_obey(name)
            if obeying and self.policy_class not in obeying:
                raise UsageError(
                    f"{self.option(name)} cannot apply to {self.option('policy_class')} "
                    f"{self.policy_class}; leave it out",
                    code="flag-unused",
                )
