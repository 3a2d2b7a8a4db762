"""Messages as openpi's clients pack them: msgpack, in which an array is a map of four entries.

A message comes from anybody. Its structure is measured first, without making an object of it, so
that one of a few bytes cannot ask for gigabytes; then msgpack unpacks it, and arrays are views of
its bytes. Nothing is pickled, and an array holds numbers, whose dtype is spelled out below.
"""

import math
import re
import struct
from typing import Any

import msgpack
import numpy as np

from job.errors import UsageError

MOST_ITEMS = 20_000  # values in a message, those in lists and maps counted; an array is one
MOST_DEPTH = 8  # lists and maps within each other
MOST_AXES = 5  # of an array
_LONGEST_TEXT = 4096  # bytes, of a text or a key

_ARRAY, _SCALAR = b"__ndarray__", b"__npgeneric__"
_DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248])")
_MOST_AXIS = 2**31


def pack(message: Any) -> bytes:
    """A message of ours, with arrays and scalars of numpy."""
    packed: bytes = msgpack.packb(message, default=_packed)
    return packed


def unpack(message: bytes) -> Any:
    """What a message of a client says; arrays are read-only views of it.

    Raises UsageError in one line for whatever is not as it should be.
    """
    _measure(message)
    try:
        return msgpack.unpackb(
            message,
            object_hook=_unpacked,
            raw=False,
            strict_map_key=False,  # `_measure` has looked at the keys
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise malformed(f"it cannot be unpacked ({type(error).__name__})") from error


def malformed(found: str) -> UsageError:
    """A message that is not what a client sends."""
    return UsageError(
        f"message: {found}, expected a msgpack map with numpy arrays as openpi-client packs them",
        code="message-malformed",
    )


def _packed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value).tobytes()
        return {_ARRAY: True, b"data": data, b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {_SCALAR: True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(type(value).__name__)


def _unpacked(found: dict[Any, Any]) -> Any:
    if _ARRAY in found:
        return _array(found.get(b"data"), found.get(b"dtype"), found.get(b"shape"))
    if _SCALAR in found:
        return _scalar(found.get(b"data"), found.get(b"dtype"))
    return found


def _array(data: Any, dtype: Any, shape: Any) -> np.ndarray[Any, Any]:
    kind = _dtype(dtype)
    if not (
        isinstance(shape, list)
        and len(shape) <= MOST_AXES
        and all(type(axis) is int and 0 <= axis < _MOST_AXIS for axis in shape)
    ):
        raise malformed(f"an array has the shape {_shown(shape)}")
    if not isinstance(data, bytes) or math.prod(shape) * kind.itemsize != len(data):
        length = f"{len(data)} bytes" if isinstance(data, bytes) else "no bytes"
        raise malformed(f"an array of shape {tuple(shape)} and dtype {dtype} has {length} of data")
    return np.frombuffer(data, kind).reshape(shape)


def _scalar(data: Any, dtype: Any) -> np.generic:
    kind = _dtype(dtype)
    if isinstance(data, bool | int | float):
        try:
            made: np.generic = kind.type(data)
        except (OverflowError, ValueError):  # of an integer that the dtype does not hold
            pass
        else:
            return made
    raise malformed(f"a scalar of dtype {dtype} holds {_shown(data)}")


def _dtype(name: Any) -> np.dtype[Any]:
    """The dtype of numbers that a text names; numpy itself would also make structures of it."""
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise malformed(f"an array has the dtype {_shown(name)}, which is none of plain numbers")
    return np.dtype(name)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


# msgpack's first bytes, and how many follow: of the value itself
_FIXED = {
    **{0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8},  # nil, false, true, floats
    **{0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8},  # integers
}
# or of its length
_BYTES, _TEXTS = {0xC4: 1, 0xC5: 2, 0xC6: 4}, {0xD9: 1, 0xDA: 2, 0xDB: 4}
_LISTS, _MAPS = {0xDC: 2, 0xDD: 4}, {0xDE: 2, 0xDF: 4}
_LENGTHS = _BYTES | _TEXTS | _LISTS | _MAPS
_UNSIGNED = {1: ">B", 2: ">H", 4: ">I"}


def _measure(message: bytes) -> None:
    """Refuse a message that is cut off, nested or of more parts than an observation has."""
    at, items = 0, 0
    left, is_map = [1], [False]  # of each list or map that is open: values to come, what it is
    while left:
        if left[-1] == 0:
            left.pop()
            is_map.pop()
            continue
        is_key = is_map[-1] and left[-1] % 2 == 0
        left[-1] -= 1
        items += 1
        at, inside, may_be_key = _next(message, at)
        if is_key and not may_be_key:
            raise malformed("a map has a key that is no text")
        if inside is not None:
            count, mapped = inside
            if count > len(message) - at:
                raise malformed("it is cut off")
            if items + sum(left) + count > MOST_ITEMS:
                raise malformed(f"it has more than {MOST_ITEMS} values")
            if len(left) > MOST_DEPTH:
                raise malformed(f"lists and maps are nested more than {MOST_DEPTH} deep")
            left.append(count)
            is_map.append(mapped)
    if at != len(message):
        raise malformed(f"{len(message) - at} bytes follow its end")


def _next(message: bytes, at: int) -> tuple[int, tuple[int, bool] | None, bool]:
    """What stands at `at`.

    returns: where the next begins; of a list or map how many values it has, and whether it is a
    map; whether it may be a key
    """
    if at >= len(message):
        raise malformed("it is cut off")
    first, at = message[at], at + 1
    if first < 0x80 or first >= 0xE0:  # a small integer
        return at, None, False
    if first < 0xA0:  # a small map or list
        is_map = first < 0x90
        return at, ((first & 0x0F) * (1 + is_map), is_map), False
    if first < 0xC0:  # a short text
        return _skip(message, at, first & 0x1F), None, True
    if first in _FIXED:
        return _skip(message, at, _FIXED[first]), None, False
    if first not in _LENGTHS:
        raise malformed("it has an extension type")
    length, at = _length(message, at, _LENGTHS[first])
    if first in _LISTS or first in _MAPS:
        return at, (length * (1 + (first in _MAPS)), first in _MAPS), False
    if first in _TEXTS and length > _LONGEST_TEXT:
        raise malformed(f"a text has {length} bytes")
    return _skip(message, at, length), None, length <= _LONGEST_TEXT


def _length(message: bytes, at: int, size: int) -> tuple[int, int]:
    end = _skip(message, at, size)
    (length,) = struct.unpack(_UNSIGNED[size], message[at:end])
    return length, end


def _skip(message: bytes, at: int, size: int) -> int:
    if size > len(message) - at:
        raise malformed("it is cut off")
    return at + size
