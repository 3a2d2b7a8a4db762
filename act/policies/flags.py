"""The flags that say which policy is learned."""

from dataclasses import dataclass

from act.policies.act_flags import ACTFlags
from act.policies.registry import POLICIES, policies_that_obey
from job.bounds import some_text
from job.errors import UsageError
from job.flags import flag


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
