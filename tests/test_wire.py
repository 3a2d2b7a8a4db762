"""Messages of clients: openpi's arrays, and everything that somebody may send in their place."""

import struct
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from act.serve.wire import MOST_DEPTH, MOST_ITEMS, pack, unpack
from job.errors import UsageError
from tests.support.errors import raises_code
from tests.support.robot_client import packed, unpacked

DTYPES = ("<f4", "<f8", "<f2", ">f4", "|u1", "<i8", "<u2", "|b1")


def array(**entries: Any) -> bytes:
    """A message with one array, some entries of which are others."""
    usual = {"data": bytes(8), "dtype": "<f4", "shape": [2]}
    entry = {name.encode(): value for name, value in (usual | entries).items()}
    frame: bytes = msgpack.packb({"state": {b"__ndarray__": True, **entry}})
    return frame


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4), (2, 0)])
def test_arrays_of_a_robot_arrive_as_they_were(dtype: str, shape: tuple[int, ...]) -> None:
    sent = (np.arange(np.prod(shape, dtype=int)) % 2).astype(dtype).reshape(shape)
    found = unpack(packed({"state": sent}))["state"]
    np.testing.assert_array_equal(found, sent)
    assert (found.dtype, found.shape) == (sent.dtype, shape)
    back = unpacked(pack({"state": sent}))["state"]
    np.testing.assert_array_equal(back, sent)


def test_scalars_of_numpy_arrive() -> None:
    sent = {"a": np.float32(1.5), "b": np.int64(-3), "c": True, "d": None, "e": [1, "x", 2.5]}
    found = unpack(pack(sent))
    assert found == sent
    assert found["a"].dtype == np.float32


def test_an_array_that_lies_strided_is_packed_in_its_order() -> None:
    sent = np.arange(6, dtype=np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(unpacked(pack({"a": sent}))["a"], sent)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",  # no type of msgpack
        packed({"a": 1})[:-1],
        packed({"a": 1}) + b"\0",
        msgpack.packb(msgpack.ExtType(5, b"x")),
        msgpack.packb({1: 2}),
        msgpack.packb({"a": msgpack.Timestamp(0, 0)}),
        b"\xa2\xff\xfe",  # no UTF-8
        b"\xdb" + struct.pack(">I", 2**32 - 1),
        b"\xc6" + struct.pack(">I", 2**32 - 1) + bytes(100),
        b"\xdd" + struct.pack(">I", 2**32 - 1) + bytes(100),
        b"\xdf" + struct.pack(">I", 2**31) + bytes(100),
        b"\x91" * (MOST_DEPTH + 1) + b"\x01",
        b"\x91" * 100_000 + b"\x01",
        b"\xdd" + struct.pack(">I", MOST_ITEMS + 1) + bytes(MOST_ITEMS + 1),
        msgpack.packb({"a" * 5000: 1}),
        array(dtype="|O"),
        array(dtype="<c8"),
        array(dtype="|V4"),
        array(dtype="<U2"),
        array(dtype="<M8[s]"),
        array(dtype="f4,f4"),
        array(dtype="(1000000000,)f4"),
        array(dtype=3),
        array(dtype=None),
        array(dtype=b"<f4"),
        array(shape=[3]),
        array(shape=[-2]),
        array(shape=[-1]),
        array(shape=[2.0]),
        array(shape=[True, 2]),
        array(shape=2),
        array(shape=None),
        array(shape=[2**62, 2**62, 0, 2**62]),
        array(shape=[1] * 6 + [2]),
        array(data="text"),
        array(data=None),
        array(data=bytes(7)),
        msgpack.packb({"a": {b"__ndarray__": True}}),
        msgpack.packb({"a": {b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}}),
        msgpack.packb({"a": {b"__npgeneric__": True, b"data": "x", b"dtype": "<f4"}}),
        msgpack.packb({"a": {b"__npgeneric__": True, b"data": 1, b"dtype": "|O"}}),
    ],
)
def test_what_no_robot_sends_is_refused_in_one_line(message: bytes) -> None:
    with raises_code(UsageError, "message-malformed") as caught:
        unpack(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_message_of_empty_lists_takes_no_memory_before_it_is_refused() -> None:
    """As objects they would be 60 times as large as what was sent."""
    lists = b"\xdd" + struct.pack(">I", 2**24) + b"\x90" * 2**24

    tracemalloc.start()
    try:
        with raises_code(UsageError, "message-malformed"):
            unpack(lists)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60) | st.lists(st.sampled_from([0x81, 0x91, 0xC4, 0xA1, 0x61])).map(bytes)
)
def test_any_bytes_are_a_value_or_one_line(message: bytes) -> None:
    codes = []
    try:
        found = unpack(message)
    except UsageError as error:
        codes.append(error.code)
    else:
        assert repr(found) == repr(msgpack.unpackb(message))  # NaN is not equal to itself
    assert codes in ([], ["message-malformed"])
