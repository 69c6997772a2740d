"""What an aggregate remembers of the commands that made events: enough to answer a repetition.

One bytes object of fixed-size entries, oldest first, derived from events alone, so that a replay agrees.
An aggregate remembers its last `keep` commands and all of the last ten minutes (hybrid time), 1,024 at most.

Entries are most of what a worker under load holds, copies and stores, so they are small. The sequence after a command is not
in its entry: it is the aggregate's own, less what later commands made, since every command that made events has an entry.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

WINDOW_US = 600_000_000
LIMIT = 1024

_ENTRY = Struct("<16sIi8s")
_EVENTS = Struct("<20xi8x")
ENTRY_BYTES = _ENTRY.size
_HASH_AT = 24
ID_BYTES = 16
"""Of the command id, with which an entry begins."""
pack_entry = _ENTRY.pack
"""Command id, `moment` of it, how many events it made, its payload's hash: an entry, to stand behind the others. The hot loop
does what `remember` does by itself: two calls less for each command."""
MOMENT_SHIFT = 20
MOMENTS = (1 << 32) - 1
EARLIER = 1 << 31
"""The bit that is set in the difference of two moments where the first is the earlier."""
oldest_moment = Struct("<16xI").unpack_from
"""Of the oldest entry, in a tuple."""
LIMIT_BYTES = LIMIT * ENTRY_BYTES


class Remembered(NamedTuple):
    """`sequence`: the aggregate's after the command; `payload_hash`: 8 bytes."""

    sequence: int
    payload_hash: bytes


def moment(time: int) -> int:
    """A hybrid time, microseconds, as it stands in entries: in units of 1.05 s, 32 bits of them. They come round in 2112, and
    are compared by their difference."""
    return time >> MOMENT_SHIFT & MOMENTS


def remember(memory: bytes, keep: int, command_id: bytes, time: int, count: int, payload_hash: bytes) -> bytes:
    """The memory after one more command, without what it may now forget."""
    if len(memory) >= keep * ENTRY_BYTES:
        memory = forget(memory, keep, time)
    return memory + pack_entry(command_id, moment(time), count, payload_hash)


def recall(memory: bytes, command_id: bytes, sequence: int) -> Remembered | None:
    """What is remembered of this command, or None. `sequence`: the aggregate's, after all that its memory knows of."""
    at = memory.find(command_id)
    while at >= 0:
        if at % ENTRY_BYTES == 0:  # else the sixteen bytes straddle two entries
            later = sum(count for (count,) in _EVENTS.iter_unpack(memory[at + ENTRY_BYTES :]))
            return Remembered(sequence - later, memory[at + _HASH_AT : at + ENTRY_BYTES])
        at = memory.find(command_id, at + 1)
    return None


def forget(memory: bytes, keep: int, time: int) -> bytes:
    """Room for the command decided at `time`: without what is neither of the last `keep` nor of the last ten minutes."""
    count, horizon = len(memory) // ENTRY_BYTES, moment(time - WINDOW_US)
    start = max(0, count - (LIMIT - 1))
    while count - start >= keep and oldest_moment(memory, start * ENTRY_BYTES)[0] - horizon & EARLIER:
        start += 1
    return memory[start * ENTRY_BYTES :]
