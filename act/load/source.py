"""Which checkpoint is meant: by a run's name, its folder, or the file itself."""

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act.policies.contract_file import WEIGHTS, read_contract
from job.errors import UsageError, first_line
from job.output_names import CHECKPOINTS, CONTRACT
from job.run_flags import OutputFlags
from job.sections.contract import Contract
from job.whole_files import sha256
from job.words import nearest

_LONGEST = 100  # characters of a path in a message
DEFAULT_OUTPUT = OutputFlags().output
_REMEDY = (
    "copy it from the run's folder again, or make one for what upstream wrote: "
    "lerobot-to-act contract FOLDER --camera_names A,B --fps HZ"
)


@dataclass(frozen=True)
class Source:
    """A checkpoint and its contract."""

    contract: Contract
    checkpoint: Path
    sha256: str  # of the checkpoint


def find_source(
    source: str | os.PathLike[str], checkpoint: str | None = None, output: Path = DEFAULT_OUTPUT
) -> Source:
    """The checkpoint that is meant, once it is known to be one of its contract's.

    source: a run's name, which is a word without `/`; else the path of its folder or of a .ckpt
    checkpoint: best, last, epoch_1200, average, …; None: the one that the contract names
    output: where runs are looked for by name
    Raises UsageError.
    """
    if checkpoint is not None:
        named = f"policy_{checkpoint}.ckpt" if isinstance(checkpoint, str) else checkpoint
        check_path("checkpoint", named, "checkpoint-missing")
    path = run_path(source, output)
    if path.is_dir():
        named = read_contract(path, _remedy(path)).file
        file = path / named if checkpoint is None else find_checkpoint(path, checkpoint)
    elif checkpoint is None:
        file = path
    else:
        raise UsageError(
            f"{path}: checkpoint={checkpoint!r} was given besides a file, expected one of the two; "
            f"leave it out, or give the folder",
            code="flags-conflict",
        )
    if not file.exists():
        raise _missing(file.parent, file.name)
    digest = _digest(file)
    # only now: while a run goes on it lists a digest before the file gets its name
    contract = read_contract(file.parent, _REMEDY)
    if not any(digest in listed for listed in contract.checkpoints.values()):
        raise UsageError(
            f"{file}: its SHA-256 {digest[:12]}… is not in the {CONTRACT} beside it, expected a "
            f"checkpoint of the same run; copy both from the run's folder again",
            code="contract-other",
        )
    return Source(contract, file, digest)


def _remedy(folder: Path) -> str:
    """Where a folder without a contract gets one from."""
    if (folder / "model.safetensors").exists():
        return f"this is a policy of LeRobot: lerobot-to-act import {folder} --run_name NAME"
    return _REMEDY


def check_path(what: str, given: Any, code: str = "policy-missing") -> None:
    """Refuse what is no path, or one that no file can have; raises UsageError.

    what: which argument it is
    """
    try:
        Path(given).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return  # others say what was expected there
    except (OSError, ValueError, TypeError) as error:
        shown = repr(given) if len(repr(given)) <= _LONGEST else f"{repr(given)[:_LONGEST]}…"
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UsageError(
            f"{what}: {shown} cannot be used ({reason}), expected a path, or a name",
            code=code,
        ) from error


def is_name(source: str | os.PathLike[str]) -> bool:
    """Whether a source is a run's name, not a path: a text without `/`."""
    return isinstance(source, str) and os.sep not in source


def run_path(source: str | os.PathLike[str], output: Path = DEFAULT_OUTPUT) -> Path:
    """The path that a source means; raises UsageError where nothing is there.

    output: where runs are looked for by name
    """
    named = is_name(source)
    path = Path(output, CHECKPOINTS, source) if named else Path(source)
    if path.is_dir() or (path.suffix == ".ckpt" and not named):
        return path
    hint = f"; for what lies here write ./{source}" if named and Path(source).exists() else ""
    runs = [one.name for one in path.parent.glob("*") if one.is_dir()] if named else []
    near = nearest(str(source), runs, "run")
    raise UsageError(
        f"{path}: there is no such folder, expected that of a run, with its {CONTRACT}{near}{hint}",
        code="policy-missing",
    )


def find_checkpoint(folder: Path, name: str) -> Path:
    """The file of a run's checkpoint by its name: best, last, epoch_1200, …; raises UsageError."""
    exact = folder / f"policy_{name}.ckpt"
    found = (
        [exact]
        if exact.exists()
        else sorted(folder.glob(f"policy_{glob.escape(name)}_seed_*.ckpt"))
    )
    if len(found) != 1:
        raise _missing(folder, f"policy_{name}.ckpt", [path.name for path in found])
    return found[0]


def checkpoint_names(folder: Path) -> list[str]:
    """What `find_checkpoint` knows in a folder."""
    files = (path.stem.removeprefix("policy_") for path in sorted(folder.glob(WEIGHTS)))
    return list(dict.fromkeys(name.partition("_seed_")[0] for name in files))


def _missing(folder: Path, name: str, several: list[str] | None = None) -> UsageError:
    if several:
        what = f"has several ({', '.join(several)}), expected one; give the path of the file"
    else:
        names = checkpoint_names(folder)
        what = f"is not there, expected one of: {', '.join(names) or 'none is there'}"
        what += nearest(name.removeprefix("policy_").removesuffix(".ckpt"), names, "one")
    return UsageError(f"{folder / name}: {what}", code="checkpoint-missing")


def _digest(file: Path) -> str:
    try:
        return sha256(file)
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read ({error.strerror}), expected a checkpoint that this user may "
            f"read",
            code="weights-unreadable",
        ) from error
