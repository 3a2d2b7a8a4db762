"""The processors of a LeRobot policy: what they do to states, images and actions.

What is not known, or is not what this project does, is refused by name: actions would differ.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from act.export.lerobot_layout import ACTION, EPS, POSTPROCESSOR, PREPROCESSOR
from act.export.refusals import not_ours
from job.errors import UsageError, first_line
from job.whole_files import read_json

_NORMALISERS = {PREPROCESSOR: "normalizer_processor", POSTPROCESSOR: "unnormalizer_processor"}
# Those of LeRobot's ACT that change no number besides; names, batches and devices are the caller's.
_RENAMES = "rename_observations_processor"
_HARMLESS = (_RENAMES, "to_batch_processor", "device_processor")
_PRECISIONS = (None, "float32")


def statistics_files(folder: Path, kinds: Mapping[str, str]) -> dict[str, Path] | None:
    """The file with the statistics, by processor; None where the folder has no processors.

    kinds: the types of the policy's features, such as STATE, by name
    Raises UsageError for processors that do what this project does not.
    """
    if not all((folder / f"{name}.json").exists() for name in _NORMALISERS):
        return None
    return {name: folder / _state_file(folder, name, kinds) for name in _NORMALISERS}


def _state_file(folder: Path, name: str, kinds: Mapping[str, str]) -> str:
    path, kind = folder / f"{name}.json", _NORMALISERS[name]
    try:
        steps = {str(step["registry_name"]): step for step in read_json(path)["steps"]}
        count = len(read_json(path)["steps"])
        config, file = steps[kind]["config"], steps[kind]["state_file"]
        device = steps.get("device_processor", {}).get("config", {})
        renamed = dict(steps.get(_RENAMES, {}).get("config", {}).get("rename_map") or {})
        if count != len(steps):
            raise ValueError("a step is there twice")
        if not isinstance(file, str) or Path(file).name in ("", ".."):
            raise ValueError(f"state_file is {file!r}")
        seen = {n: one["type"] for n, one in config["features"].items()}
        precision, keys = device.get("float_dtype"), config.get("normalize_observation_keys")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: cannot be understood ({type(error).__name__}: {first_line(error)}), expected "
            f"one {kind} step with its statistics, as LeRobot writes them; save the policy with "
            f"lerobot 0.4 again",
            code="import-unreadable",
        ) from error
    unknown = [step for step in steps if step not in (kind, *_HARMLESS)]
    if unknown:
        what = f"{path.name} has the step {unknown[0]}, expected {kind} and {', '.join(_HARMLESS)}"
        raise not_ours(folder, what, "import-normalisation")
    inputs = {n: one for n, one in kinds.items() if n != ACTION}
    used = inputs if name == PREPROCESSOR else {ACTION: "ACTION"}
    refuse_other_modes(folder, f"{path.name}: norm_map", config.get("norm_map"), used.values())
    expected: list[tuple[str, Any, bool, Any]] = [
        ("eps", config.get("eps", EPS), config.get("eps", EPS) == EPS, EPS),
        ("float_dtype", precision, precision in _PRECISIONS, "float32"),
    ]
    if name == PREPROCESSOR:
        # the names of a robot are the caller's matter, unless one of them means another feature
        expected.append(("rename_map", renamed, inputs.keys().isdisjoint(renamed), "other names"))
        fine = all(seen.get(n) == one for n, one in inputs.items())
        expected.append(("features", seen, fine, inputs))
        fine = keys is None or (isinstance(keys, list) and set(inputs) <= set(map(str, keys)))
        expected.append(("normalize_observation_keys", keys, fine, "null"))
    for field, found, fine, wanted in expected:
        if not fine:
            what = f"{path.name}: {field} is {str(found)[:200]}, expected {wanted}"
            raise not_ours(folder, what, "import-normalisation")
    return Path(file).name


def refuse_other_modes(folder: Path, where: str, modes: Any, kinds: Any) -> None:
    """Raise UsageError where features of these types are not normalised by mean and deviation.

    LeRobot leaves a type as it is that is not named.
    """
    if not isinstance(modes, dict):
        what = f"{where} is {str(modes)[:200]}, expected a mode for each type of feature"
        raise not_ours(folder, what, "import-normalisation")
    for kind in dict.fromkeys((*kinds, *modes)):
        if modes.get(kind) != "MEAN_STD":
            what = f"{where} of {kind} is {modes.get(kind)!r}, expected 'MEAN_STD'"
            raise not_ours(folder, what, "import-normalisation")
