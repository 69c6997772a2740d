"""Encoded states in blocks: one aggregate's entry, the block that holds thousands of them, and runs of blocks.

Owns these bytes. Must not know where blocks are stored, nor what a state means. A block is never parsed as a whole:
what is looked up is found by bisection in its column of hashes, so that a million states are as large in memory as on
disk. Whether the bytes are those that were written is for the store's CRC to say; here, no bytes crash a reader or
make it allocate more than they are long, and what is not a block raises SnapshotDamaged.

A block, all integers little-endian: `ESB2`, count u32, count x u64 hashes ascending, count + 1 x u32 ends (0, then where
each state ends in the body), the body: per state key length u8, key, entry.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import accumulate, chain, count, islice, pairwise
from operator import add
from struct import Struct
from typing import Final, Literal, NamedTuple, TypeVar, cast

from xxhash import xxh3_64_intdigest

from eventsrc.errors import SnapshotDamaged

MAGIC: Final = b"ESB2"
"""`ESB1` held other entries of what is remembered of commands."""
STATES_PER_BLOCK: Final = 2000
MAX_BLOCK_BYTES: Final = 4 << 20

_PREFIX = Struct("<4sI")
_ENTRY = Struct("<QI")
_HASH = Struct("<Q")
_LENGTHS = [bytes((length,)) for length in range(256)]
_BUCKET_SHIFT = 64 - 8  # sorted one bucket at a time, so that no single call of C holds other threads up for long

Hashed = tuple[int, bytes]
"""A state as it stands in a body, and before it the hash of its key. States of one hash may stand in any order."""


# ---- entries


pack_entry_head = _ENTRY.pack
"""What an entry begins with: the sequence, and how many bytes of memory follow."""


def entry(sequence: int, memory: bytes, state: bytes) -> bytes:
    """What is stored of one aggregate: its sequence, what it remembers of commands, its encoded state."""
    return b"%b%b%b" % (_ENTRY.pack(sequence, len(memory)), memory, state)


def entry_sequence(encoded: bytes) -> int:
    if len(encoded) < _ENTRY.size:
        raise SnapshotDamaged(f"an entry of {len(encoded)} bytes")
    return cast(int, _ENTRY.unpack_from(encoded)[0])


def split_entry(encoded: bytes) -> tuple[int, bytes, bytes]:
    """Sequence, memory, state."""
    if len(encoded) < _ENTRY.size:
        raise SnapshotDamaged(f"an entry of {len(encoded)} bytes")
    sequence, memory_bytes = _ENTRY.unpack_from(encoded)
    start = _ENTRY.size + memory_bytes
    if start > len(encoded):
        raise SnapshotDamaged(f"an entry of {len(encoded)} bytes cannot hold a memory of {memory_bytes}")
    return sequence, encoded[_ENTRY.size : start], encoded[start:]


# ---- blocks


def key_hash(key: bytes) -> int:
    """64 bits, unsigned."""
    return xxh3_64_intdigest(key)


class Outline(NamedTuple):
    """What a manifest says of a block. The hashes are inclusive."""

    first_hash: int
    last_hash: int
    states: int
    crc: int


def outline(made: bytes) -> Outline:
    """Of a block that `build_blocks` or `merged` has just made: nothing of it is verified."""
    _, count = _PREFIX.unpack_from(made)
    (first,), (last,) = _HASH.unpack_from(made, _PREFIX.size), _HASH.unpack_from(made, _PREFIX.size + 8 * (count - 1))
    return Outline(first, last, count, zlib.crc32(made))


class Block:
    """Reads one block. Its bytes are kept as they are."""

    __slots__ = ("_body", "_ends", "_hashes", "count", "encoded", "first_hash", "last_hash")

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded
        if len(encoded) < _PREFIX.size:
            raise SnapshotDamaged(f"a block of {len(encoded)} bytes")
        magic, count = _PREFIX.unpack_from(encoded)
        ends = _PREFIX.size + 8 * count
        self._body = ends + 4 * (count + 1)
        if magic != MAGIC:
            why = ": another version of eventsrc wrote it" if magic[:3] == MAGIC[:3] else ""
            raise SnapshotDamaged(f"a block begins with {magic!r}, not {MAGIC!r}{why}")
        if count == 0 or self._body > len(encoded):
            raise SnapshotDamaged(f"a block of {len(encoded)} bytes cannot hold {count} states")
        self.count: int = count
        view = memoryview(encoded)
        self._hashes = _column(view[_PREFIX.size : ends], "Q")
        self._ends = _column(view[ends : self._body], "I")
        if self._ends[0] != 0 or self._ends[count] != len(encoded) - self._body:
            raise SnapshotDamaged(f"a block of {len(encoded)} bytes whose states end at {self._ends[count]}")
        if not (_ascends(self._hashes) and _ascends(self._ends)):
            raise SnapshotDamaged("a block whose states are out of order")
        self.first_hash: int = self._hashes[0]
        self.last_hash: int = self._hashes[count - 1]

    @property
    def crc(self) -> int:
        """CRC-32 of its bytes, computed anew."""
        return zlib.crc32(self.encoded)

    def get(self, key: bytes) -> bytes | None:
        """The entry of that key; None if the block has none."""
        return self.find(key_hash(key), key)

    def find(self, hashed: int, key: bytes) -> bytes | None:
        """As `get`, for a key whose hash is known."""
        hashes = self._hashes
        index = bisect_left(hashes, hashed)
        while index < self.count and hashes[index] == hashed:
            found, encoded = self._at(index)
            if found == key:
                return encoded
            index += 1
        return None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and entry, in the order of the hashes."""
        return map(self._at, range(self.count))

    def hashed(self) -> Iterator[Hashed]:
        """Hash and state, in the order of the hashes."""
        encoded, ends = self.encoded, [self._body + end for end in self._ends]
        states = [encoded[start:end] for start, end in pairwise(ends)]
        return zip(self._hashes, states, strict=True)

    def _at(self, index: int) -> tuple[bytes, bytes]:
        return _split(self.encoded[self._body + self._ends[index] : self._body + self._ends[index + 1]])


def _split(state: bytes) -> tuple[bytes, bytes]:
    """Key and entry."""
    start = 1 + state[0] if state else 0
    if not 1 < start < len(state):
        raise SnapshotDamaged(f"a state of {len(state)} bytes, with no key or no entry in them")
    return state[1:start], state[start:]


def build_blocks(
    entries: Iterable[tuple[bytes, bytes]],
    states_per_block: int = STATES_PER_BLOCK,
    max_block_bytes: int = MAX_BLOCK_BYTES,
) -> Iterator[bytes]:
    """Blocks of one run, from keys (1 to 255 bytes, each once) and their entries in any order; all are taken in before the
    first block comes. An entry larger than `max_block_bytes` has a block of its own."""
    listed = list(entries)
    hashes = [key_hash(key) for key, _ in listed]
    return _in_blocks(
        _by_hash(hashes), states_per_block, lambda taken: _of_entries(taken, hashes, listed, max_block_bytes)
    )


def _by_hash(hashes: Sequence[int]) -> Iterator[int]:
    """The numbers of these hashes, by ascending hash."""
    buckets: defaultdict[int, list[int]] = defaultdict(list)
    for number, hashed in enumerate(hashes):
        buckets[hashed >> _BUCKET_SHIFT].append(number)
    return chain.from_iterable(_sorted_buckets(buckets, hashes))


def _sorted_buckets(buckets: dict[int, list[int]], hashes: Sequence[int]) -> Iterator[list[int]]:
    for each in sorted(buckets):
        bucket = buckets.pop(each)
        bucket.sort(key=hashes.__getitem__)
        yield bucket


def _of_entries(
    taken: Sequence[int], hashes: Sequence[int], entries: Sequence[tuple[bytes, bytes]], max_block_bytes: int
) -> bytes | None:
    keys, encoded = zip(*map(entries.__getitem__, taken), strict=True)
    heads = [_LENGTHS[len(key)] for key in keys]
    sizes = (1 + size for size in map(add, map(len, keys), map(len, encoded)))
    body = chain.from_iterable(zip(heads, keys, encoded, strict=True))
    return _block([hashes[number] for number in taken], sizes, body, max_block_bytes)


def _of_states(taken: Sequence[Hashed], max_block_bytes: int) -> bytes | None:
    hashes, states = zip(*taken, strict=True)
    return _block(hashes, map(len, states), states, max_block_bytes)


def _block(hashes: Sequence[int], sizes: Iterable[int], body: Iterable[bytes], max_block_bytes: int) -> bytes | None:
    """None where it were too large, and can be halved."""
    ends = array("I", accumulate(sizes, initial=0))
    body_bytes = ends[-1]
    columns = _PREFIX.pack(MAGIC, len(hashes)), _little(array("Q", hashes)), _little(ends)
    if len(hashes) > 1 and sum(map(len, columns)) + body_bytes > max_block_bytes:
        return None
    return b"".join(chain(columns, body))


_Item = TypeVar("_Item")


def _in_blocks(
    ordered: Iterable[_Item], states_per_block: int, make: Callable[[Sequence[_Item]], bytes | None]
) -> Iterator[bytes]:
    rest = iter(ordered)
    while taken := list(islice(rest, states_per_block)):
        yield from _whole_or_halves(taken, make)


def _whole_or_halves(taken: Sequence[_Item], make: Callable[[Sequence[_Item]], bytes | None]) -> Iterator[bytes]:
    made = make(taken)
    if made is not None:
        yield made
        return
    middle = len(taken) // 2
    yield from _whole_or_halves(taken[:middle], make)
    yield from _whole_or_halves(taken[middle:], make)


# ---- runs


class StoredRuns:
    """All stored states of a partition. `runs`: oldest first; a state is in the newest that has its key. The blocks of a run
    are in the order of their hashes; two may share the hash at their border."""

    def __init__(self, runs: Sequence[Sequence[Block]]) -> None:
        self._newest_first = [(list(run), [block.last_hash for block in run]) for run in reversed(runs) if run]
        for blocks, _ in self._newest_first:
            if any(one.last_hash > other.first_hash for one, other in pairwise(blocks)):
                raise SnapshotDamaged("a run whose blocks overlap, or are out of order")

    def get(self, key: bytes) -> bytes | None:
        """The newest entry of that key; None if it was never stored."""
        hashed = key_hash(key)
        for blocks, last_hashes in self._newest_first:
            number = bisect_left(last_hashes, hashed)
            while number < len(blocks) and blocks[number].first_hash <= hashed:
                encoded = blocks[number].find(hashed, key)
                if encoded is not None:
                    return encoded
                number += 1
        return None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Each key once, with its newest entry, in the order of the hashes. Little memory, however many there are."""
        return (_split(state) for _, state in self._merged())

    def merged(
        self, states_per_block: int = STATES_PER_BLOCK, max_block_bytes: int = MAX_BLOCK_BYTES
    ) -> Iterator[bytes]:
        """The same content as blocks of one run, made one at a time."""
        return _in_blocks(self._merged(), states_per_block, lambda taken: _of_states(taken, max_block_bytes))

    def _merged(self) -> Iterator[Hashed]:
        runs = [blocks for blocks, _ in self._newest_first]
        if len(runs) == 1:
            return chain.from_iterable(block.hashed() for block in runs[0])
        return _newest(merge(*map(_aged, count(), runs)))


def _aged(age: int, blocks: Iterable[Block]) -> Iterator[tuple[int, int, bytes]]:
    for block in blocks:
        yield from ((hashed, age, state) for hashed, state in block.hashed())


def _newest(merged: Iterable[tuple[int, int, bytes]]) -> Iterator[Hashed]:
    """Of states in the order of their hashes, those of one hash newest first: each key's first."""
    last_hash, last = -1, b""
    keys: set[bytes] = set()  # of this hash; filled only when a second state has it
    for hashed, _, state in merged:
        if hashed != last_hash:
            last_hash, last = hashed, state
            keys.clear()
            yield hashed, state
            continue
        keys.add(_split(last)[0])
        key = _split(state)[0]
        if key not in keys:
            keys.add(key)
            yield hashed, state


# ---- columns of integers


def _column(encoded: memoryview, kind: Literal["Q", "I"]) -> Sequence[int]:
    if sys.byteorder == "little":
        return encoded.cast(kind)
    swapped = array(kind, bytes(encoded))
    swapped.byteswap()
    return swapped


def _little(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _ascends(numbers: Sequence[int]) -> bool:
    listed = list(numbers)
    return listed == sorted(listed)
