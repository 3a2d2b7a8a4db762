"""What qpos and actions are normalised by: computed, written and read as upstream's pickle.

T time steps   Q qpos dims   A action dims   E environment state dims
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from episodes.arrays import FloatArray
from job.errors import DatasetError, UsageError, first_line
from job.whole_files import read_bytes, whole_file, write_json

if TYPE_CHECKING:
    from episodes.episode_set import Episodes

MIN_STD = 1e-2


def norm_stats(episodes: "Episodes") -> dict[str, FloatArray]:
    """Mean and unbiased std per dim over all episodes, train and val, std at least 0.01.

    returns: action_mean, action_std (A,); qpos_mean, qpos_std (Q,); example_qpos (T, Q), float32,
    which is what upstream pickles as dataset_stats.pkl; with an environment state also
    env_state_mean, env_state_std (E,)
    """
    stats: dict[str, FloatArray] = {}
    named = {"action": episodes.action, "qpos": episodes.qpos}
    if episodes.env_state:
        named["env_state"] = episodes.env_state
    for name, vectors in named.items():
        joined = torch.from_numpy(np.concatenate(vectors))
        std = joined.std(dim=0) if len(joined) > 1 else torch.zeros(joined.shape[1])
        stats[f"{name}_mean"] = joined.mean(dim=0).numpy()
        stats[f"{name}_std"] = std.clip(min=MIN_STD).numpy()
        if not np.isfinite(stats[f"{name}_std"]).all():
            raise DatasetError(
                f"{episodes.infos[0].path.parent}: the standard deviation of {name} is "
                f"{stats[f'{name}_std'].tolist()}, expected finite numbers; some values are too "
                f"large for float32 arithmetic; leave their episodes out",
                code="episode-content",
            )
    stats["example_qpos"] = episodes.qpos[-1]
    return stats


def stats_section(stats: dict[str, FloatArray]) -> dict[str, Any]:
    """The statistics as JSON, so that nobody needs the pickle."""
    return {name: values.tolist() for name, values in stats.items() if name != "example_qpos"}


def save_stats(folder: Path, stats: dict[str, FloatArray]) -> None:
    """Write the statistics as upstream's pickle and as JSON."""
    with whole_file(folder / "dataset_stats.pkl", recorded=True) as file:
        _StatsPickler(file, protocol=4).dump(stats)
    write_json(folder / "dataset_stats.json", stats_section(stats), recorded=True)


def load_stats(path: Path) -> dict[str, FloatArray]:
    """Read dataset_stats.pkl, ours or upstream's, without executing anything in it.

    Only what rebuilds numpy arrays is known to the reader. Raises UsageError.
    """
    try:
        content = read_bytes(path)
        _check_opcodes(content)
        stats = _StatsUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # whatever a reader of foreign bytes may stumble over
        raise UsageError(
            f"{path}: cannot be read ({first_line(error)}), expected numpy arrays by name, as "
            f"training writes them",
            code="weights-unreadable",
        ) from error
    if not isinstance(stats, dict) or not all(
        isinstance(name, str) and isinstance(value, np.ndarray) for name, value in stats.items()
    ):
        raise UsageError(
            f"{path}: holds {type(stats).__name__}, expected numpy arrays by name",
            code="weights-unreadable",
        )
    return stats


def _check_opcodes(content: bytes) -> None:
    """Raise UnpicklingError for opcodes that no statistics need, and for those that take memory.

    A few bytes can ask for a table of a billion entries.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"{opcode.name} is not part of arrays of numbers by name")
        if opcode.name in _PUTS and not 0 <= int(argument or 0) < len(content):
            raise pickle.UnpicklingError(f"{opcode.name} {argument} in {len(content)} bytes")


class _StatsUnpickler(pickle.Unpickler):
    """Knows numpy's arrays and number types, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        place = module.replace("numpy._core", "numpy.core")  # where NumPy 2 and 1 keep them
        if (place, name) in _REBUILDS:
            return _REBUILDS[place, name]
        raise pickle.UnpicklingError(f"{module}.{name} is not part of an array of numbers")


def _empty_array(*_: Any) -> "np.ndarray[Any, Any]":
    return np.ndarray((0,), np.uint8)  # its shape and content follow


def _filled_array(
    content: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any
) -> "np.ndarray[Any, Any]":
    # unlike np.ndarray itself, frombuffer takes no pointers for content
    return np.frombuffer(content, dtype).reshape(shape, order=order)


def _content(*parts: Any) -> bytearray:
    """The bytes of a bytearray; never as many as a number claims."""
    match parts:
        case [bytes() | bytearray() as content]:
            return bytearray(content)
        case [str() as text, str()]:  # as protocol 2 has them
            return bytearray(text, "latin1")
        case []:
            return bytearray()
    raise pickle.UnpicklingError("a bytearray of something else than bytes")


_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_NEEDED = (  # what builds arrays, names and numbers in protocols 0 to 5
    "PROTO FRAME STOP MARK MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD "
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 "
    "DICT EMPTY_DICT SETITEM SETITEMS LIST EMPTY_LIST APPEND APPENDS "
    "TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3"
)
_OPCODES = _PUTS | set(_NEEDED.split())

# What pickles of arrays name, by protocol, and what stands in for it here.
_REBUILDS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): lambda shape, dtype, content: _filled_array(content, dtype, shape),
    ("builtins", "bytearray"): _content,
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy.core.numeric", "_frombuffer"): _filled_array,
}


class _StatsPickler(pickle.Pickler):
    """Pickles arrays by numpy's public name only.

    By default NumPy 2 names `numpy._core`, which the NumPy 1 of upstream's environments lacks.
    """

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray):
            return np.ndarray, (obj.shape, obj.dtype.str, bytearray(obj.tobytes()))
        return NotImplemented
