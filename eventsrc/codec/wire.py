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

SMALLEST_TAILED = 1 << 13  # below it, an integer has no third byte

_U64 = 1 << 64
# what the continuation marks of an integer's first bytes add up to, when only its last byte is without one
_BIAS_2 = (128 >> 1) + (128 << 6)
_BIAS_3 = _BIAS_2 + (128 << 13)
_MEMO_LIMIT = 4096


ENDS: tuple[bytes, ...] = tuple(bytes((n,)) for n in range(128))
CONTINUED: tuple[bytes, ...] = tuple(bytes((n | 128,)) for n in range(128))
# the first two bytes of an integer that has more, by its lowest 13 bits
LOWS: tuple[bytes, ...] = tuple(first + second for second in CONTINUED for first in CONTINUED[::2])


def long_bytes(number: int) -> bytes:
    """The zigzag varint of a 64-bit integer; `OverflowError` beyond."""
    if SMALLEST_TAILED <= number < 1048576:  # three bytes
        return LOWS[number & 8191] + ENDS[number >> 13]
    rest = number << 1 if number >= 0 else ~(number << 1)
    if rest < 128:
        return ENDS[rest]
    if rest < 16384:
        return CONTINUED[rest & 127] + ENDS[rest >> 7]
    if rest < 2097152:
        return bytes((rest & 127 | 128, rest >> 7 & 127 | 128, rest >> 14))
    if rest < 268435456:
        return bytes((rest & 127 | 128, rest >> 7 & 127 | 128, rest >> 14 & 127 | 128, rest >> 21))
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


def wide_at(value: bytes, position: int, first: int, second: int) -> tuple[int, int]:
    """As `long_at`, once the first two bytes were found to have a third after them."""
    third = value[position + 2]
    if third < 128:
        number = (first >> 1) + (second << 6) + (third << 13) - _BIAS_2
        return (~number if first & 1 else number), position + 3
    fourth = value[position + 3]
    if fourth < 128:
        number = (first >> 1) + (second << 6) + (third << 13) + (fourth << 20) - _BIAS_3
        return (~number if first & 1 else number), position + 4
    return long_at(value, position)


def wide_int_at(value: bytes, position: int, first: int, second: int) -> tuple[int, int]:
    """As `wide_at`, refusing what does not fit in Avro's 32-bit `int`."""
    return int_at(value, position)


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


# A time in microseconds takes 8 bytes. What is read may be of any time: the last 5 bytes, which change about once a
# second, are remembered. What is written is of the present, or follows on what was written before (an offset): there all
# but the first two bytes are. Generated code looks into these two and calls the functions below for what is not there.
HIGHS: dict[bytes, int | None] = {}
TAILS: dict[int, bytes] = {}


def high_of(tail: bytes) -> int | None:
    """The high part of a time whose last 5 bytes these are, less what the marks of its first 3 bytes add to it; None if
    they are not the end of an 8-byte integer."""
    if len(HIGHS) >= _MEMO_LIMIT:
        HIGHS.clear()
    high = None
    if len(tail) == 5 and tail[4] < 128 and min(tail[:4]) > 127:
        high = (sum((byte & 127) << 7 * index for index, byte in enumerate(tail)) << 20) - _BIAS_3
    HIGHS[tail] = high
    return high


def tail_of(number: int) -> bytes:
    """The bytes from the third on of an integer that is at least `SMALLEST_TAILED`."""
    if number >> 63:
        raise OverflowError("does not fit in 64 bits")
    if len(TAILS) >= _MEMO_LIMIT:
        TAILS.clear()
    tail = TAILS[number >> 13] = long_bytes(number)[2:]
    return tail


def moment_bytes(number: int) -> bytes:
    """As `long_bytes`, fast for present times in microseconds."""
    if number < SMALLEST_TAILED:
        return long_bytes(number)
    return LOWS[number & 8191] + (TAILS.get(number >> 13) or tail_of(number))
