"""What somebody may send to a policy server in place of an observation, from a seed."""

import random
import struct
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np

from tests.support.robot_client import packed

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
)
_KEYS = ("state", "images", "images/top", "step", "reset", "last_action", "env_state", "prompt")
_DTYPES = ("<f4", "|u1", ">f8", "|b1", "|O", "<c16", "|V8", "<U1", "<M8[s]", "f4,f4", "(9,)f4", "")


def messages(observation: dict[str, Any], seed: int) -> Iterator[bytes]:
    """Messages without end: random bytes, random values, and observations with faults."""
    chance = random.Random(seed)
    valid = packed(observation)
    makers = (
        lambda: chance.randbytes(chance.randrange(200)),
        lambda: _mutated(valid, chance),
        lambda: msgpack.packb(_value(chance, 5)),
        lambda: packed(observation | {chance.choice(_KEYS): _value(chance, 3)}),
        lambda: packed(observation | {chance.choice(_KEYS): _odd_array(chance)}),
        lambda: _claims(chance),
    )
    while True:
        yield chance.choice(makers)()


def streams(seed: int) -> Iterator[bytes]:
    """What follows the TCP handshake, without end: faulty HTTP, and faulty websocket frames."""
    chance = random.Random(seed)
    while True:
        if chance.random() < 0.3:
            yield _mutated(HANDSHAKE + b"\r\n", chance)
        else:
            frames = (_frame(chance) for _ in range(chance.randrange(1, 6)))
            yield HANDSHAKE + b"\r\n" + b"".join(frames)


def _mutated(content: bytes, chance: random.Random) -> bytes:
    made = bytearray(content)
    for _ in range(chance.randrange(1, 8)):
        # most of a message is pixels: its structure is at its start and its end
        at = chance.randrange(min(len(made), 120)) * chance.choice((1, -1))
        match chance.randrange(4):
            case 0:
                made[at] = chance.randrange(256)
            case 1:
                made[at] ^= 1 << chance.randrange(8)
            case 2:
                del made[at:]
            case _:
                made[at:at] = chance.randbytes(chance.randrange(9))
        if len(made) < 2:
            break
    return bytes(made)


def _value(chance: random.Random, depth: int) -> Any:
    match chance.randrange(9 if depth else 6):
        case 0:
            return chance.choice((None, True, False, 0, -1, 2**64 - 1, -(2**63)))
        case 1:
            return chance.choice((0.0, float("nan"), float("inf"), 1e300, chance.random()))
        case 2:
            return chance.choice(("", "x" * chance.randrange(5000), "\n\x1b[2J\0", "../../x"))
        case 3:
            return chance.randbytes(chance.randrange(64))
        case 4:
            return _array_map(chance)
        case 5:
            return msgpack.ExtType(chance.randrange(128), chance.randbytes(8))
        case 6:
            return [_value(chance, depth - 1) for _ in range(chance.randrange(5))]
        case 7:
            return {chance.choice(_KEYS): _value(chance, depth - 1) for _ in range(3)}
        case _:
            return {chance.randbytes(3): _value(chance, depth - 1)}


def _array_map(chance: random.Random) -> dict[bytes, Any]:
    size = chance.choice((0, 4, 12, 2**40, -1))
    return {
        chance.choice((b"__ndarray__", b"__npgeneric__")): True,
        b"data": chance.choice((bytes(12), b"", 1, None, "x", 2**63)),
        b"dtype": chance.choice(_DTYPES),
        b"shape": chance.choice(([3], [], [size], [size, 2**40, 0], [1] * 40, None, "x", [1.5])),
    }


def _odd_array(chance: random.Random) -> Any:
    shape = [chance.randrange(5) for _ in range(chance.randrange(6))]
    dtype = chance.choice(("<f4", "<f2", "|u1", "|i1", "|b1", ">f8", "<u8"))
    count = int(np.prod(shape, dtype=int))
    return np.frombuffer(chance.randbytes(count), np.uint8).astype(dtype).reshape(shape)


def _claims(chance: random.Random) -> bytes:
    """A head that says that much follows, and a little that does."""
    head = chance.choice((b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"))
    count = chance.choice((2**32 - 1, 2**31, 2**20, 30_000))
    filler = chance.choice((b"\x90", b"\x80", b"\xa0", b"\x91", b"\xc0", b"\x81\xa1a"))
    return head + struct.pack(">I", count) + filler * chance.randrange(40_000)


def _frame(chance: random.Random) -> bytes:
    """A websocket frame, whose head may claim anything."""
    first = chance.choice((0x82, 0x02, 0x00, 0x80, 0x81, 0x88, 0x89, 0x8A, chance.randrange(256)))
    content = chance.randbytes(chance.randrange(126))
    length = chance.choice((len(content), len(content), 126, 127))
    head = bytes([first, chance.choice((0x80, 0x80, 0x80, 0)) | length])
    if length > 125:
        head += struct.pack(">H" if length == 126 else ">Q", chance.choice((0, 126, 2**16 - 1)))
    if chance.random() < 0.1:
        head = bytes([first, 0xFF]) + struct.pack(
            ">Q", chance.choice((2**63 - 1, 2**64 - 1, 2**40))
        )
    return head + bytes(4) + content
