"""Keys of an events partition: `<id>@<sequence>#<term>`, and the control keys that begin with NUL."""

from __future__ import annotations

import re
from uuid import UUID

# from the right: an id may hold `@` and `#` itself; decimals without sign or leading zero, sequence from 1
_KEY = re.compile(rb"([^\0]{1,255})@([1-9][0-9]{0,18})#(0|[1-9][0-9]{0,18})", re.DOTALL)
_LONG = 1 << 63


def event_key(aggregate_id: bytes, sequence: int, term: int) -> bytes:
    return b"%b@%d#%d" % (aggregate_id, sequence, term)


def parse_event_key(key: bytes) -> tuple[bytes, int, int] | None:
    """Id, sequence and term; None for what is not an event's key. The id is not checked to be UTF-8."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    aggregate_id, sequence, term = match[1], int(match[2]), int(match[3])
    return (aggregate_id, sequence, term) if sequence < _LONG and term < _LONG else None


def id_in(event_key: bytes) -> bytes:
    """The aggregate's id, of a key that is known to be an event's."""
    return event_key.rpartition(b"@")[0]


def barrier_key(unique: UUID) -> bytes:
    return b"\0barrier@%b" % str(unique).encode()


def pruned_key(unique: UUID) -> bytes:
    return b"\0pruned@%b" % str(unique).encode()


def is_control_key(key: bytes) -> bool:
    return key.startswith(b"\0")
