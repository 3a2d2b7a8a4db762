"""policy.json in a run's folder: the contract with the robot, and the digests of the checkpoints.

A kill may come between the writing of a checkpoint and that of the contract. So a checkpoint's
SHA-256 is added to the contract's list before the checkpoint gets its name, and the digests of
earlier ones stay: whatever a kill leaves under the name is in the list. files.jsonl has digests
too, each with the identity of its file, so that files are listed without being read; the list that
decides is policy.json's, which goes to the robot with the checkpoint.
"""

from pathlib import Path

from pydantic import ValidationError

from job.errors import UsageError, first_line
from job.manifest import Manifest
from job.output_names import CONTRACT
from job.sections.contract import Contract
from job.sections.policy import Input
from job.whole_files import RECORD, output_errors, read_bytes, recorded_digests, write_json

WEIGHTS = "policy_*.ckpt"


class ContractFile:
    """The contract of a run on disk, where one process of the run keeps it."""

    def __init__(self, folder: Path | None, content: Contract) -> None:
        """Take over the digests that earlier jobs of the run have listed; nothing is written.

        folder: the run's; None on processes that write no files
        Raises UsageError when what is there is no contract.
        """
        self.folder = folder
        listed = {} if folder is None else listed_digests(folder)
        self.content = content.model_copy(update={"checkpoints": listed})

    def write(self) -> None:
        """Put it on disk as it stands."""
        if self.folder is not None:
            write_json(self.folder / CONTRACT, self.content.model_dump(mode="json"))

    def add(self, name: str, digest: str) -> None:
        """List a checkpoint that is about to get its name."""
        digests = self.content.checkpoints.get(name, [])
        if digest not in digests:
            listed = self.content.checkpoints | {name: [*digests, digest]}
            self.content = self.content.model_copy(update={"checkpoints": listed})
            self.write()

    def refer(self, manifest: Manifest) -> None:
        """Have the manifest refer to what is on disk; raises OutputError."""
        if self.folder is not None:
            image: list[Input] = ["image"] if self.content.cameras else []
            env_state: list[Input] = ["env_state"] if self.content.env_state else []
            manifest.set_policy(self.folder / CONTRACT, ["qpos", *image, *env_state])


def read_contract(folder: Path, remedy: str = "copy it from the run's folder again") -> Contract:
    """The contract of the run in `folder`; raises UsageError where there is none, or it is not one.

    The message names the field that is wrong. remedy: what to do, in the message
    """
    path = folder / CONTRACT
    try:
        return Contract.model_validate_json(read_bytes(path))
    except ValidationError as error:
        wrong = error.errors()[0]
        what = ".".join(map(str, wrong["loc"]))
        reason = f"{what}: {wrong['msg']}" if what else wrong["msg"]
    except FileNotFoundError:
        reason = "there is none"
    except (OSError, ValueError) as error:
        reason = first_line(error)
    raise UsageError(
        f"{path}: cannot be used ({reason}), expected the contract that training wrote beside its "
        f"checkpoints; {remedy}",
        code="contract-unreadable",
    )


def listed_digests(folder: Path) -> dict[str, list[str]]:
    """The digests that the contract in `folder` lists, by file; raises UsageError.

    A run from before there were contracts has them in files.jsonl alone.
    """
    if (folder / CONTRACT).exists():
        remedy = "move it away, and the run writes it anew"
        return dict(read_contract(folder, remedy).checkpoints)
    with output_errors(folder / RECORD):
        found = {path.name: recorded_digests(path) for path in sorted(folder.glob(WEIGHTS))}
    return {name: digests for name, digests in found.items() if digests}
