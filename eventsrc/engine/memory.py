"""What an aggregate remembers of the commands that made events: enough to answer a repetition.

One bytes object of fixed-size entries, oldest first, derived from events alone, so that a replay agrees.
An aggregate remembers its last `keep` commands and all of the last ten minutes (hybrid time), 1,024 at most.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

WINDOW_US = 600_000_000
LIMIT = 1024

_ENTRY = Struct("<16sqqi8s")
_TIME = slice(24, 32)
ENTRY_BYTES = _ENTRY.size
ID_BYTES = 16
"""Of the command id, with which an entry begins."""
pack_entry = _ENTRY.pack
"""Command id, the aggregate's sequence after it, its time, how many events it made, its payload's hash: an entry, to stand
behind the others. The hot loop does what `remember` does by itself: two calls less for each command."""
first_time = Struct(f"<{_TIME.start}xq").unpack_from
"""Of the oldest entry, in a tuple."""
LIMIT_BYTES = LIMIT * ENTRY_BYTES


class Remembered(NamedTuple):
    """`sequence`: the aggregate's after the command; `time`: hybrid, microseconds; `payload_hash`: 8 bytes."""

    command_id: bytes
    sequence: int
    time: int
    events: int
    payload_hash: bytes


def remember(
    memory: bytes, keep: int, command_id: bytes, sequence: int, time: int, count: int, payload_hash: bytes
) -> bytes:
    """The memory after one more command, without what it may now forget."""
    if len(memory) >= keep * ENTRY_BYTES:
        memory = forget(memory, keep, time)
    return memory + pack_entry(command_id, sequence, time, count, payload_hash)


def recall(memory: bytes, command_id: bytes) -> Remembered | None:
    """The entry of this command, or None."""
    at = memory.find(command_id)
    while at >= 0:
        if at % ENTRY_BYTES == 0:  # else the sixteen bytes straddle two entries
            return Remembered._make(_ENTRY.unpack_from(memory, at))
        at = memory.find(command_id, at + 1)
    return None


def entries(memory: bytes) -> list[Remembered]:
    """All entries, oldest first."""
    return [Remembered._make(fields) for fields in _ENTRY.iter_unpack(memory)]


def forget(memory: bytes, keep: int, time: int) -> bytes:
    """Room for the command decided at `time`: without what is neither of the last `keep` nor of the last ten minutes."""
    count, horizon = len(memory) // ENTRY_BYTES, time - WINDOW_US
    start = max(0, count - (LIMIT - 1))
    while count - start >= keep and _time_at(memory, start) < horizon:
        start += 1
    return memory[start * ENTRY_BYTES :]


def _time_at(memory: bytes, index: int) -> int:
    at = index * ENTRY_BYTES
    return int.from_bytes(memory[at + _TIME.start : at + _TIME.stop], "little", signed=True)
