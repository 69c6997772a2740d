"""What the snapshot tables hold, as a stranger reads it: rows, manifests, and states out of blocks.

Written from the comment on the format at the top of codec/blocks.py and the tables' columns, with no import of the
product: a second reader of the same bytes, so that it cannot share a mistake with the first. A block, all integers
little-endian: `ESB2`, count u32, count x u64 hashes ascending, count + 1 x u32 ends, and per state key length u8, key,
entry; an entry: sequence u64, memory length u32, memory, state.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import fastavro
from xxhash import xxh3_64_intdigest


class Malformed(ValueError):  # noqa: N818 - a verdict about bytes
    """A block, or a state in it, is not what the format says."""


@dataclass(frozen=True, slots=True)
class StoredState:
    key: bytes
    sequence: int
    memory: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredAnchor:
    offset: int
    key: bytes
    crc: int


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """One row of `eventsrc.checkpoint`; `manifest` as its JSON says: runs of segments, the oldest run first."""

    id: UUID
    aggregate: str
    partition: int
    position: int
    anchor: StoredAnchor
    seen: StoredAnchor
    commands_position: int
    term: int
    applied: int
    highest_source: int | None
    events: int
    aggregates: int
    state_fingerprint: str
    manifest: list[list[dict[str, Any]]]
    segment_ids: tuple[UUID, ...]
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class HeadRow:
    aggregate: str
    partition: int
    term: int | None
    checkpoint_id: UUID | None


@dataclass
class Snapshots:
    """All rows of one pipeline, read in one transaction. `schemas`: the Avro schema of each aggregate's state.
    `excused`: checkpoints that a test has damaged; what they say is not judged, that they are not extended is."""

    schemas: Mapping[str, Any]
    checkpoints: list[CheckpointRow] = field(default_factory=list)
    heads: list[HeadRow] = field(default_factory=list)
    blocks: dict[UUID, bytes] = field(default_factory=dict)
    excused: set[UUID] = field(default_factory=set)


def read_block(encoded: bytes) -> Iterator[StoredState]:
    """Raises `Malformed`."""
    try:
        magic, count = struct.unpack_from("<4sI", encoded)
        hashes = struct.unpack_from(f"<{count}Q", encoded, 8)
        ends = struct.unpack_from(f"<{count + 1}I", encoded, 8 + 8 * count)
    except struct.error as cut:
        raise Malformed(f"{len(encoded)} bytes: {cut}") from cut
    body = encoded[8 + 8 * count + 4 * (count + 1) :]
    if magic != b"ESB2" or not count or ends[0] != 0 or ends[-1] != len(body) or list(hashes) != sorted(hashes):
        raise Malformed(f"magic {magic!r}, {count} states that end at {ends[-1]} of {len(body)} bytes")
    for hashed, (start, end) in zip(hashes, pairwise(ends), strict=True):
        state = _read_state(body[start:end])
        if xxh3_64_intdigest(state.key) != hashed:
            raise Malformed(f"the hash of {state.key!r} is not {hashed:016x}")
        yield state


def _read_state(encoded: bytes) -> StoredState:
    length = encoded[0] if encoded else 0
    key, entry = encoded[1 : 1 + length], encoded[1 + length :]
    if not key or len(entry) < 12:
        raise Malformed(f"a state of {len(encoded)} bytes")
    sequence, memory_bytes = struct.unpack_from("<QI", entry)
    if 12 + memory_bytes > len(entry):
        raise Malformed(f"a memory of {memory_bytes} bytes in an entry of {len(entry)}")
    return StoredState(key, sequence, entry[12 : 12 + memory_bytes], entry[12 + memory_bytes :])


def decode_state(body: bytes, schema: Any) -> dict[str, Any]:
    """Raises `Malformed`."""
    source = io.BytesIO(body)
    try:
        state = fastavro.schemaless_reader(source, schema, None)
    except (EOFError, IndexError, ValueError, TypeError, UnicodeDecodeError, OverflowError) as problem:
        raise Malformed(f"a state that is not of its schema: {problem!r}") from problem
    if source.read(1) or not isinstance(state, dict):
        raise Malformed("a state with trailing bytes")
    return state


def wrong_with_segment(said: Mapping[str, Any], block: bytes | None) -> str | None:
    """What its manifest says of it, and what it is."""
    if block is None:
        return f"segment {said['id']} is missing"
    if (len(block), zlib.crc32(block)) != (said["size_bytes"], said["crc"]):
        return f"segment {said['id']} has other bytes than its manifest says"
    hashes = [xxh3_64_intdigest(state.key) for state in read_block(block)]
    told = (int(said["first_hash"], 16), int(said["last_hash"], 16), said["states"])
    if (hashes[0], hashes[-1], len(hashes)) != told:
        return f"segment {said['id']} has other states than its manifest says"
    return None
