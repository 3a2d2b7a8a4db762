"""Which features of a dataset become qpos, action, qvel and effort: one rule for check and plan."""

import math
import re
from collections.abc import Sequence

from convert.findings import Add, error, warning
from convert.lerobot.dataset import Dataset
from convert.lerobot.episode_list import Episode
from convert.lerobot.table import EpisodeRows
from episodes.reading import EnvStateUse

_ENV_STATE = "observation.environment_state"
# The standard name first: it is taken where a dataset has others too.
_CANDIDATES = {
    "state": ("observation.state", "state", "observation.qpos"),
    "action": ("action", "actions"),
}
_WORDS = {"state": {"state", "states", "qpos"}, "action": {"action", "actions"}}
_OPTIONAL = {
    "velocity": ("observation.velocity", "observation.qvel"),
    "effort": ("observation.effort",),
}


def choose_vector(dataset: Dataset, what: str, asked: Sequence[str], add: Add) -> tuple[str, ...]:
    """The features that are the "state" or "action" (`what`), in order; () after an error.

    asked: the value of --state_key or --action_key
    """
    present = [name for name in asked or _CANDIDATES[what] if name in dataset.features]
    info_path = dataset.root / "meta/info.json"
    if not present or (asked and len(present) < len(asked)):
        add(error(f"{what}-missing", info_path, _missing(dataset, what, asked)))
        return ()
    if asked:
        return tuple(present)
    if len(present) > 1:
        message = (
            f"{present} could each be the {what}; {present[0]!r} is used; name another with "
            f"--{what}_key"
        )
        add(warning("keys-several", info_path, message))
    return (present[0],)


def _missing(dataset: Dataset, what: str, asked: Sequence[str]) -> str:
    """What is not there, and what could be named instead."""
    vectors = _vectors_of(dataset)
    lacking = [key for key in asked if key not in dataset.features] or _CANDIDATES[what]
    likely = [key for key in vectors if not _WORDS[what].isdisjoint(re.split(r"[._/]", key))]
    several = (
        f", or several to be joined in their order, such as --{what}_key {','.join(likely)}"
        if len(likely) > 1
        else f", such as --{what}_key {likely[0]}"
        if likely
        else ""
    )
    return (
        f"no feature {' or '.join(map(repr, lacking))} for the {what}, expected "
        f"{'each' if asked else 'one'} of them; the vectors are {vectors}; name one with "
        f"--{what}_key{several}"
    )


def dim_names(dataset: Dataset, keys: Sequence[str], rows: EpisodeRows) -> tuple[str, ...]:
    """The names of the dims of features that are joined, of which `rows` are an episode's.

    Where two features have a name in common, each name of the dims has its feature before it.
    """
    parts = {}
    for key in keys:
        width, stated = rows.vectors[key].shape[1], rows.names.get(key, dataset.features[key].names)
        fits = stated is not None and len(stated) == width
        parts[key] = stated if fits else tuple(f"{key}[{i}]" for i in range(width))
    joined = [name for names in parts.values() for name in names or ()]
    if len(set(joined)) < len(joined) and len(keys) > 1:
        return tuple(f"{key}.{name}" for key, names in parts.items() for name in names or ())
    return tuple(joined)


def check_dims(
    dataset: Dataset,
    episode: Episode,
    keys: Sequence[str],
    expected: Sequence[str],
    rows: EpisodeRows,
    add: Add,
) -> bool:
    """Whether an episode's features have as many dims as expected, by the same names."""
    found = dim_names(dataset, keys, rows)
    if len(found) != len(expected):
        code, of = "vector-width", f"{len(found)} values in {','.join(keys)!r}"
        what = f"has {of}, expected {len(expected)} as in most episodes"
    elif any(key in rows.names for key in keys) and tuple(expected) != found:
        code, of = "vector-names", f"the fields {list(found)} in {','.join(keys)!r}"
        what = f"has {of}, expected {list(expected)} in this order, as in most episodes"
    else:
        return True
    add(error(code, episode.table_path, f"{what}; leave the episode out", episode=episode.index))
    return False


def choose_optional(
    datasets: Sequence[Dataset], what: str, state_keys: Sequence[str], add: Add
) -> str | None:
    """The feature that is the "velocity" or "effort"; None where there is none to use.

    It is used where every dataset has it, as wide as the state.
    """
    for key in _OPTIONAL[what]:
        having = [dataset for dataset in datasets if key in dataset.features]
        fits = all(_width(dataset, [key]) == _width(dataset, state_keys) for dataset in having)
        if len(having) == len(datasets) and fits:
            return key
        if having and key not in state_keys:
            message = (
                f"{key!r} is left out: expected it in every dataset, as wide as "
                f"{','.join(state_keys)!r}"
            )
            add(warning("feature-left-out", having[0].root / "meta/info.json", message))
    return None


def _width(dataset: Dataset, keys: Sequence[str]) -> int:
    return sum(math.prod(dataset.features[key].shape) for key in keys)


def choose_env_state(
    datasets: Sequence[Dataset], use: EnvStateUse, asked: Sequence[str], add: Add
) -> tuple[str, ...]:
    """The features of the environment state, in order; () where none is used, or after an error.

    use: "if_there" = the standard one, where every dataset has it
    asked: the value of --env_state_key, which counts where `use` is "yes"
    """
    if use == "no":
        return ()
    first = datasets[0]
    if use == "yes":
        lacking = [key for key in asked if key not in _vectors_of(first)]
        if not lacking:
            return tuple(asked)
        message = (
            f"--env_state_key: {', '.join(map(repr, lacking))} is no vector of the dataset, which "
            f"has {_vectors_of(first)}; name one of them, or leave it out"
        )
        add(error("env-state-missing", first.root / "meta/info.json", message))
        return ()
    having = [dataset for dataset in datasets if _ENV_STATE in _vectors_of(dataset)]
    widths = {_width(dataset, [_ENV_STATE]) for dataset in having}
    if len(having) == len(datasets) and len(widths) == 1:
        return (_ENV_STATE,)
    if having:
        message = f"{_ENV_STATE!r} is left out: expected it in every dataset, of one width"
        add(warning("feature-left-out", having[0].root / "meta/info.json", message))
    return ()


def _vectors_of(dataset: Dataset) -> dict[str, list[int]]:
    """The shapes of the features that may be vectors: no images or texts, no index columns."""
    return {
        key: list(feature.shape)
        for key, feature in dataset.features.items()
        if feature.dtype not in ("video", "image", "string") and not key.endswith("index")
    }


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
