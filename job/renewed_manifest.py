"""The manifests of a finished run, brought to where its files are after a command on it."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from job.manifest import relative
from job.output_names import CHECKPOINTS, MANIFEST
from job.sections.whole import Artifact, Whole
from job.whole_files import RECORD, output_errors, read_bytes, sha256, write_json


def renew(folder: Path, changed: Sequence[Path], contract: Path | None = None) -> None:
    """Bring the manifests of a finished run, where there are any, to where its files are now.

    Its own, and the output's if that is of the same job.
    changed: files in the run's folder that were written since
    contract: policy.json, if it is one of them
    Raises OutputError.
    """
    own = _manifest_at(folder / MANIFEST)
    if own is None:  # upstream's run, or another version's
        return
    of_output = folder.parent.parent / MANIFEST
    other = _manifest_at(of_output) if folder.parent.name == CHECKPOINTS else None
    _renew(folder / MANIFEST, own, changed, contract)
    if other is not None and other.attempt == own.attempt:
        _renew(of_output, other, changed, contract)


def _manifest_at(path: Path) -> Whole | None:
    try:
        return Whole.model_validate_json(read_bytes(path))
    except (OSError, ValidationError):
        return None


def _renew(path: Path, content: Whole, changed: Sequence[Path], contract: Path | None) -> None:
    listed = {one.path: one for one in content.artifacts}
    grown = {file.with_name(RECORD) for file in changed}
    grown = {one for one in grown if one.exists() and relative(one, path.parent) in listed}
    for file in (*changed, *grown):
        with output_errors(file):
            name = relative(file, path.parent)
            listed[name] = Artifact(path=name, size_bytes=file.stat().st_size, sha256=sha256(file))
    content.artifacts = list(listed.values())
    if content.policy is not None and contract is not None:
        digest = listed[relative(contract, path.parent)].sha256
        content.policy = content.policy.model_copy(update={"sha256": digest})
    write_json(path, content.model_dump(mode="json"), shared=True)
