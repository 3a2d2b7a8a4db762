"""The command `contract FOLDER`: policy.json for checkpoints that upstream wrote."""

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from job.bounds import above, distinct
from job.errors import UsageError
from job.flags import Flags, flag
from job.target_command import TargetCommand

logger = logging.getLogger("act")

_OFFSETS: dict[str, Literal[0, -1] | None] = {"unknown": None, "true": 0, "false": -1}


def _names(value: tuple[str, ...]) -> str | None:
    return distinct(value) if value else "at least one name"


def _size(value: str) -> str | None:
    fine = re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", value)
    return None if fine else "HEIGHTxWIDTH in pixels, like 480x640"


@dataclass(frozen=True, kw_only=True)
class ContractFlags(Flags):
    """What upstream's files do not say."""

    title = "contract"

    folder: Path = Path()
    camera_names: tuple[str, ...] = flag(
        "Cameras in the order in which upstream trained on them.", check=_names
    )
    fps: float = flag("Rate in Hz at which the episodes were recorded.", check=above(0))
    image_size: str = flag(
        "Size (HxW) of the frames that upstream trained on.", "480x640", check=_size
    )
    sim: str = flag(
        "Attribute sim of the episodes; false: upstream trained on action[t-1].",
        "unknown",
        choices=tuple(_OFFSETS),
    )


CONTRACT_COMMAND = TargetCommand(
    "contract",
    ContractFlags,
    "policy.json for the checkpoints that upstream ACT wrote, so that they can be loaded here.",
    "--camera_names A,B --fps HZ [FLAG VALUE …]",
    target="folder",
    expected="the one that upstream trained into",
    shown="Where policy_best.ckpt and dataset_stats.pkl lie, and policy.json is written to.",
    as_value=Path,
)


def main(argv: Sequence[str]) -> int:
    """Write the contract into the folder; returns the exit code."""
    return CONTRACT_COMMAND.run(write_contract, argv)


def write_contract(flags: ContractFlags) -> None:
    """Make it, see that the policy loads with it, write it; raises JobError."""
    # they take seconds to import, which a mistyped flag does not wait for
    from act.load.source import Source
    from act.load.torch_backend import load_network
    from act.policies.contract_file import read_contract
    from act.policies.upstream_contract import Recorded, upstream_contract
    from job.output_names import CONTRACT
    from job.whole_files import write_json

    path = flags.folder / CONTRACT
    remedy = "remove it, and this command writes it anew"
    if path.exists() and read_contract(flags.folder, remedy).dataset is not None:
        raise UsageError(
            f"{path}: is there already, and training wrote it, expected none, or one of upstream's "
            f"checkpoints; load_policy takes the folder as it is",
            code="contract-there",
        )
    height, width = flags.image_size.split("x")
    recorded = Recorded(
        camera_names=flags.camera_names,
        image_size=(int(height), int(width)),
        fps=flags.fps,
        first_offset=_OFFSETS[flags.sim],
    )
    made = upstream_contract(flags.folder, recorded)
    load_network(Source(made, flags.folder / made.file, *made.checkpoints[made.file]))
    write_json(path, made.model_dump(mode="json"))
    logger.info(
        "contract   %s: %s, %d state dims, %d action dims, chunk %d, cameras %s at %s, %g Hz",
        *(path, made.policy_class, made.network.qpos_dim, made.network.action_dim),
        *(made.network.chunk_size, ", ".join(flags.camera_names), flags.image_size, flags.fps),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
