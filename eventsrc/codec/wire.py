"""Avro's binary primitives: the tables and the slow paths that generated code falls back to.

The fast paths (one- and two-byte integers, slices) are written into each generated function; what stands here is
called for the rest. Every reading function refuses what Avro does not allow with `ValueError` or `IndexError`, which
generated code turns into `DecodingError`. Knows no schema.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

SMALL = 1024
ZERO_WIDTH_LIMIT = 4096  # items without any bytes (null, empty record) that one value may hold in all

_U64 = 1 << 64
_MEMO_LIMIT = 4096


def long_bytes(number: int) -> bytes:
    """The zigzag varint of a 64-bit integer; `OverflowError` beyond."""
    rest = number << 1 if number >= 0 else ~(number << 1)
    if rest < 128:
        return bytes((rest,))
    if rest < 16384:
        return bytes((rest & 127 | 128, rest >> 7))
    if rest < 2097152:
        return bytes((rest & 127 | 128, rest >> 7 & 127 | 128, rest >> 14))
    if rest >= _U64:
        raise OverflowError("does not fit in 64 bits")
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


# indexed by the number itself: Python's negative indices make -1024..-1 the upper half
INTS: tuple[bytes, ...] = tuple(long_bytes(n) for n in (*range(SMALL), *range(-SMALL, 0)))
ZIGZAG: tuple[int, ...] = tuple(n >> 1 ^ -(n & 1) for n in range(128))
CONTINUED: tuple[bytes, ...] = tuple(bytes((n | 128,)) for n in range(128))

double_bytes: Callable[[float], bytes] = Struct("<d").pack
double_at = Struct("<d").unpack_from
float_at = Struct("<f").unpack_from


def long_at(value: bytes, position: int) -> tuple[int, int]:
    """An integer of any length and the position after it."""
    byte = value[position]
    number = byte & 127
    shift = 7
    position += 1
    while byte > 127:
        byte = value[position]
        number |= (byte & 127) << shift
        shift += 7
        position += 1
        if shift > 70:
            raise ValueError("an integer of more than 10 bytes")
    if number >= _U64:
        raise ValueError("an integer of more than 64 bits")
    return number >> 1 ^ -(number & 1), position


def int_at(value: bytes, position: int) -> tuple[int, int]:
    """As `long_at`, refusing what does not fit in Avro's 32-bit `int`."""
    number, position = long_at(value, position)
    if not -2147483648 <= number <= 2147483647:
        raise ValueError("an int of more than 32 bits")
    return number, position


def span_at(value: bytes, position: int) -> tuple[int, int]:
    """Start and end of a length-prefixed run, within the value."""
    length, start = long_at(value, position)
    if length < 0:
        raise ValueError(f"a negative length, {length}")
    end = start + length
    if end > len(value):
        raise ValueError(f"a length of {length} past the end")
    return start, end


def block_at(value: bytes, position: int) -> tuple[int, int, int]:
    """Count of a block's items, the position of the first, and where the block says it ends (0: it does not say)."""
    count, position = long_at(value, position)
    if count >= 0:
        return count, position, 0
    size, position = long_at(value, position)
    end = position + size
    if size < 0 or end > len(value):
        raise ValueError(f"a block of {size} bytes past the end")
    return -count, position, end


# A time in microseconds takes 8 bytes, of which the last 5 change about once a second: they are remembered.
_tails_read: dict[bytes, int] = {}
_tails_written: dict[int, bytes] = {}


def moment_at(value: bytes, position: int) -> tuple[int, int]:
    """As `long_at`, fast for present times in microseconds."""
    tail = value[position + 3 : position + 8]
    high = _tails_read.get(tail)
    if high is None:
        high = _remember_tail(tail)
        if high is None:
            return long_at(value, position)
    first = value[position]
    second = value[position + 1]
    third = value[position + 2]
    if first & second & third & 128 and not first & 1:
        return high | (first & 127) >> 1 | (second & 127) << 6 | (third & 127) << 13, position + 8
    return long_at(value, position)


def _remember_tail(tail: bytes) -> int | None:
    if len(tail) != 5 or tail[4] > 127 or min(tail[:4]) < 128:
        return None
    if len(_tails_read) >= _MEMO_LIMIT:
        _tails_read.clear()
    high = sum((byte & 127) << 7 * index for index, byte in enumerate(tail)) << 20
    _tails_read[tail] = high
    return high


def moment_bytes(number: int) -> bytes:
    """As `long_bytes`, fast for present times in microseconds."""
    high = number >> 20
    if high < 1:
        return long_bytes(number)
    tail = _tails_written.get(high)
    if tail is None:
        if number >> 63:
            raise OverflowError("does not fit in 64 bits")
        if len(_tails_written) >= _MEMO_LIMIT:
            _tails_written.clear()
        tail = _tails_written[high] = long_bytes(number)[3:]
    continued = CONTINUED
    return continued[number << 1 & 127] + continued[number >> 6 & 127] + continued[number >> 13 & 127] + tail
