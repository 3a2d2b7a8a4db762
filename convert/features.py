"""Which features of a dataset become qpos, action, qvel and effort: one rule for check and plan."""

import math
from collections.abc import Sequence

from convert.findings import Add, error, warning
from convert.lerobot.dataset import Dataset

# The standard name first: it is taken where a dataset has others too.
_CANDIDATES = {
    "state": ("observation.state", "state", "observation.qpos"),
    "action": ("action", "actions"),
}
_OPTIONAL = {
    "velocity": ("observation.velocity", "observation.qvel"),
    "effort": ("observation.effort",),
}


def choose_vector(dataset: Dataset, what: str, asked: str, add: Add) -> str | None:
    """The feature that is the "state" or "action" (`what`); None after an error was added.

    asked: the value of --state_key or --action_key
    """
    names = _CANDIDATES[what] if asked == "auto" else (asked,)
    present = [name for name in names if name in dataset.features]
    info_path = dataset.root / "meta/info.json"
    if not present:
        vectors = {
            key: list(feature.shape)
            for key, feature in dataset.features.items()
            if feature.dtype.startswith(("float", "int", "uint", "bool"))
            and not key.endswith("index")
        }
        message = (
            f"no feature {' or '.join(map(repr, names))} for the {what}, expected one of them; "
            f"the vectors are {vectors}; name one with --{what}_key"
        )
        add(error(f"{what}-missing", info_path, message))
        return None
    if len(present) > 1:
        message = (
            f"{present} could each be the {what}; {present[0]!r} is used; name another with "
            f"--{what}_key"
        )
        add(warning("keys-several", info_path, message))
    return present[0]


def choose_optional(datasets: Sequence[Dataset], what: str, state_key: str, add: Add) -> str | None:
    """The feature that is the "velocity" or "effort"; None where there is none to use.

    It is used where every dataset has it, as wide as the state.
    """
    for key in _OPTIONAL[what]:
        having = [dataset for dataset in datasets if key in dataset.features]
        fits = all(
            math.prod(dataset.features[key].shape) == math.prod(dataset.features[state_key].shape)
            for dataset in having
        )
        if len(having) == len(datasets) and fits:
            return key
        if having:
            message = f"{key!r} is left out: expected it in every dataset, as wide as {state_key!r}"
            add(warning("feature-left-out", having[0].root / "meta/info.json", message))
    return None


def check_datasets_match(datasets: Sequence[Dataset], keys: Sequence[str], add: Add) -> None:
    """Add an error for each thing in which a dataset differs from the first."""
    first = datasets[0]
    for other in datasets[1:]:
        pairs: list[tuple[str, object, object]] = [("fps", other.fps, first.fps)]
        pairs += [(key, _kind(other, key), _kind(first, key)) for key in keys]
        for what, found, expected in pairs:
            if found != expected:
                message = (
                    f"{what} is {found!s}, expected {expected!s} as in {first.root}; only "
                    f"recordings of one robot go together"
                )
                add(error("datasets-differ", other.root / "meta/info.json", message))


def _kind(dataset: Dataset, key: str) -> object:
    feature = dataset.features.get(key)
    if feature is None:
        return "missing"
    return "a camera" if feature.dtype in ("video", "image") else (feature.shape, feature.names)
