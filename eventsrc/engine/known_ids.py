"""Whether a command id stands in a long memory, without searching it: an aggregate that a thousand commands came to within
ten minutes remembers 32 kB, and to find that an id is not in there takes as long as all else of a command.

A Bloom filter of the ids, beside the live aggregate. It is of one memory object: whoever sets another memory (a batch that
is taken back, a state that is loaded) need not know of it, since the next search sees that, and begins anew.
"""

from __future__ import annotations

from typing import Any

from eventsrc.engine.memory import ENTRY_BYTES, ID_BYTES

LONG_BYTES = 96 * ENTRY_BYTES
"""A shorter memory is searched: as fast, and there is nothing to keep."""

SEARCHES = 32
"""Of a memory that is not known yet, before its filter is made: that takes as long as so many of them."""

_BITS = tuple(1 << number for number in range(8))


class KnownIds:
    """Of one memory, `of`. Once the filter is made no id in it is missing there, and few others seem to be known (1 % then, 5 %
    at most). Two to four bytes for each id."""

    __slots__ = ("_filter", "_mask", "_room", "_searches", "of")

    def __init__(self, memory: bytes) -> None:
        self.of = memory
        self._filter: bytearray | None = None
        self._searches = self._mask = self._room = 0

    def may_hold(self, command_id: bytes) -> bool:
        """False only if it does not."""
        marks, mask = self._filter, self._mask
        if marks is None:
            self._searches += 1
            if self._searches > SEARCHES:
                self._make()
            return True
        # Python's own hash, not bits of the id: those of a caller's choosing may begin alike (UUIDv7, counters).
        hashed = hash(command_id)
        return bool(
            marks[hashed >> 3 & mask] & _BITS[hashed & 7] and marks[hashed >> 35 & mask] & _BITS[hashed >> 32 & 7]
        )

    def has_grown(self, memory: bytes, command_id: bytes) -> None:
        """`memory` is what it was of with this id more, perhaps without the oldest ones."""
        self.of = memory
        marks, mask = self._filter, self._mask
        if marks is None:
            return
        self._room -= 1
        if self._room < 0:
            self._make()  # which leaves out what has been forgotten
            return
        hashed = hash(command_id)
        marks[hashed >> 3 & mask] |= _BITS[hashed & 7]
        marks[hashed >> 35 & mask] |= _BITS[hashed >> 32 & 7]

    def _make(self) -> None:
        memory = self.of
        count = len(memory) // ENTRY_BYTES
        size = 1 << (2 * count - 1).bit_length()
        mask, marks, bits = size - 1, bytearray(size), _BITS
        for start in range(0, len(memory), ENTRY_BYTES):
            hashed = hash(memory[start : start + ID_BYTES])
            marks[hashed >> 3 & mask] |= bits[hashed & 7]
            marks[hashed >> 35 & mask] |= bits[hashed >> 32 & 7]
        self._filter, self._mask, self._room = marks, mask, count


def holds(instance: Any, memory: bytes, command_id: bytes) -> bool:
    """Whether these sixteen bytes stand in its memory, which is a long one. False only if no entry has them; as with
    `memory.rfind`, they may stand across two entries where it is True."""
    known = instance._eventsrc_known
    if known is None or known.of is not memory:
        known = instance._eventsrc_known = KnownIds(memory)
    return known.may_hold(command_id) and memory.rfind(command_id) >= 0


def has_remembered(instance: Any, command_id: bytes) -> None:
    """This one stands in its memory now, which was searched for it just before."""
    instance._eventsrc_known.has_grown(instance._eventsrc_memory, command_id)
