"""The section of the manifest that leads to policy.json, which has all that a robot needs."""

from typing import Literal

from pydantic import Field

from job.sections.section import Section, Sha256

Input = Literal["qpos", "image", "env_state"]


class Policy(Section):
    """The contract with the robot, policy.json, which has all that is needed to use the
    checkpoints."""

    path: str = Field(description="Path of policy.json, relative to the folder of this manifest.")
    sha256: Sha256 = Field(
        description="Digest of policy.json as of this writing. It is replaced when a checkpoint is "
        "added: while a job runs, and after a kill, it may be a later one of the same run."
    )
    inputs: list[Input] = Field(
        description="Names of the arguments that the policy takes, in order. Without image, "
        "env_state is given by name. Upstream's policy has no env_state."
    )
