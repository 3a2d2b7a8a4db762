"""The processors of a LeRobot policy: what they do to states, images and actions.

What is not known, or is not what this project does, is refused by name: actions would differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
# How the features of a type may be normalised: LeRobot leaves a type as it is that is not named,
# and its own ACT names no environment state.
_USUAL_MODES = ("MEAN_STD",)
_MODES = {"ENV": ("MEAN_STD", "IDENTITY", None)}


@dataclass(frozen=True)
class Processor:
    """How one of the two normalises."""

    modes: Mapping[str, Any]  # by type of feature
    statistics: Path


@dataclass(frozen=True)
class _Steps:
    """What the steps of a processor say, as they have it."""

    names: tuple[str, ...]
    modes: Any  # by type of feature
    eps: Any
    types: dict[str, Any]  # by feature
    keys: Any  # of the features that are normalised; None: all
    float_dtype: Any
    renamed: dict[str, Any]
    state_file: str


def read_processors(folder: Path, kinds: Mapping[str, str]) -> dict[str, Processor] | None:
    """By name; None where the folder has no processors.

    kinds: the types of the policy's features, such as STATE, by name
    Raises UsageError for processors that do what this project does not.
    """
    if not all((folder / f"{name}.json").exists() for name in _NORMALISERS):
        return None
    return {name: _read_processor(folder, name, kinds) for name in _NORMALISERS}


def _read_processor(folder: Path, name: str, kinds: Mapping[str, str]) -> Processor:
    path, kind = folder / f"{name}.json", _NORMALISERS[name]
    steps = _steps(path, kind)
    unknown = [step for step in steps.names if step not in (kind, *_HARMLESS)]
    if unknown:
        what = f"{path.name} has the step {unknown[0]}, expected {kind} and {', '.join(_HARMLESS)}"
        raise not_ours(folder, what, "import-normalisation")
    inputs = {n: one for n, one in kinds.items() if n != ACTION}
    used = inputs if name == PREPROCESSOR else {ACTION: "ACTION"}
    refuse_other_modes(folder, f"{path.name}: norm_map", steps.modes, used.values())
    expected: list[tuple[str, Any, bool, Any]] = [
        ("eps", steps.eps, steps.eps == EPS, EPS),
        ("float_dtype", steps.float_dtype, steps.float_dtype in _PRECISIONS, "float32"),
    ]
    if name == PREPROCESSOR:
        expected += _expected_of_inputs(steps, inputs)
    for field, found, fine, wanted in expected:
        if not fine:
            what = f"{path.name}: {field} is {str(found)[:200]}, expected {wanted}"
            raise not_ours(folder, what, "import-normalisation")
    return Processor(steps.modes, folder / steps.state_file)


def _steps(path: Path, kind: str) -> _Steps:
    """kind: of the step that normalises; raises UsageError for a file that cannot be understood."""
    try:
        given = read_json(path)["steps"]
        steps = {str(step["registry_name"]): step for step in given}
        if len(given) != len(steps):
            raise ValueError("a step is there twice")
        config, file = steps[kind]["config"], steps[kind]["state_file"]
        if not isinstance(file, str) or Path(file).name in ("", ".."):
            raise ValueError(f"state_file is {file!r}")
        return _Steps(
            names=tuple(steps),
            modes=config.get("norm_map"),
            eps=config.get("eps", EPS),
            types={n: one["type"] for n, one in config["features"].items()},
            keys=config.get("normalize_observation_keys"),
            float_dtype=steps.get("device_processor", {}).get("config", {}).get("float_dtype"),
            renamed=dict(steps.get(_RENAMES, {}).get("config", {}).get("rename_map") or {}),
            state_file=Path(file).name,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: cannot be understood ({type(error).__name__}: {first_line(error)}), expected "
            f"one {kind} step with its statistics, as LeRobot writes them; save the policy with "
            f"lerobot 0.4 again",
            code="import-unreadable",
        ) from error


def _expected_of_inputs(
    steps: _Steps, inputs: Mapping[str, str]
) -> list[tuple[str, Any, bool, Any]]:
    """Field, what was found, whether that is fine, what is expected."""
    keys = steps.keys
    all_named = isinstance(keys, list) and set(inputs) <= set(map(str, keys))
    return [
        # the names of a robot are the caller's matter, unless one of them means another feature
        ("rename_map", steps.renamed, inputs.keys().isdisjoint(steps.renamed), "other names"),
        (
            "features",
            steps.types,
            all(steps.types.get(n) == one for n, one in inputs.items()),
            inputs,
        ),
        ("normalize_observation_keys", keys, keys is None or all_named, "null"),
    ]


def refuse_other_modes(folder: Path, where: str, modes: Any, kinds: Any) -> None:
    """Raise UsageError where features of these types are normalised in a way that is not ours."""
    if not isinstance(modes, dict):
        what = f"{where} is {str(modes)[:200]}, expected a mode for each type of feature"
        raise not_ours(folder, what, "import-normalisation")
    for kind in dict.fromkeys((*kinds, *modes)):
        possible = _MODES.get(kind, _USUAL_MODES)
        if modes.get(kind) not in possible:
            expected = " or ".join(repr(mode) for mode in possible if mode)
            what = f"{where} of {kind} is {modes.get(kind)!r}, expected {expected}"
            raise not_ours(folder, what, "import-normalisation")


def is_left_as_it_is(modes: Mapping[str, Any], kind: str) -> bool:
    """Whether features of a type are not normalised."""
    return modes.get(kind) in ("IDENTITY", None)
