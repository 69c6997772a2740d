"""What a checkpoint of one partition is: positions, anchors, code, and the manifest of the segments that hold its states.

Values only. How states become blocks is `codec.blocks`'; whether a checkpoint may be used is `engine.snapshots`'; where
segments lie is an adapter's.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from zlib import crc32

from eventsrc.model.position import Offset, Position


class Anchor(NamedTuple):
    """A record of the events partition that must still be where it was: `crc` is CRC-32 of its key followed by its value,
    `time` its hybrid time in microseconds."""

    offset: Offset
    key: bytes
    crc: int
    time: int

    @classmethod
    def of(cls, offset: Offset, key: bytes, value: bytes, time: int) -> Anchor:
        return cls(offset, key, crc32(value, crc32(key)), time)

    def is_record(self, key: bytes | None, value: bytes | None) -> bool:
        """Whether what stands at the offset is still that record."""
        return key == self.key and crc32(value or b"", crc32(self.key)) == self.crc


class FoldedBy(NamedTuple):
    """The code that folded the states: the aggregate's declared version, and the fingerprint of its state's schema."""

    version: int
    state_fingerprint: int


class Segment(NamedTuple):
    """A block of states in key-hash order, immutable once written. The hashes are inclusive; `crc` is CRC-32 of its bytes."""

    id: uuid.UUID
    first_hash: int
    last_hash: int
    states: int
    size_bytes: int
    crc: int


Run = tuple[Segment, ...]
"""Segments of one write, in hash order, whose ranges do not overlap."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that is said of the states. They cover every event below `position`, and may be newer (each carries its sequence).

    `position` follows `anchor`, the last record of its owner's own that had committed; `seen` is the last record that any of
    the states may have seen. `commands_position`: where commands go on. `term` and `applied`: under which barrier it was
    taken, and how many commands had made events in that term. `highest_source`: of a command that made an event; None where
    none did. `events` and `aggregates`: how many the log had told below the position.
    """

    anchor: Anchor
    seen: Anchor
    commands_position: Position
    term: int
    applied: int
    highest_source: int | None
    events: int
    aggregates: int
    commands_topic_id: str
    events_topic_id: str
    folded_by: FoldedBy

    @property
    def position(self) -> Position:
        """Events from here on are not covered."""
        return Position(self.anchor.offset + 1)

    @property
    def seen_position(self) -> Position:
        """No state has seen an event from here on."""
        return Position(self.seen.offset + 1)


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as it stands in the store. `runs`: oldest first; an aggregate's state is in the newest that has it."""

    id: uuid.UUID
    checkpoint: Checkpoint
    runs: tuple[Run, ...]
    taken_at: datetime

    @property
    def size_bytes(self) -> int:
        return sum(segment.size_bytes for run in self.runs for segment in run)

    @property
    def states(self) -> int:
        """Stored states, an aggregate once per run that holds one."""
        return sum(segment.states for run in self.runs for segment in run)


@dataclass(frozen=True, slots=True)
class DamagedCheckpoint:
    """A row that is not what was written: its hash, or a value in it, is wrong. Never used."""

    id: uuid.UUID
    reason: str
    taken_at: datetime | None = None


class Listed(NamedTuple):
    """Of a kept checkpoint, what is known without reading its manifest; as its row says, which may be damaged."""

    id: uuid.UUID
    position: Position
    taken_at: datetime


class Head(NamedTuple):
    """The newest checkpoint of a partition (None: there is none), the term that may extend it (None: nobody has claimed it,
    or not since it was discarded), and when somebody last asked for one (`checkpoint now`)."""

    term: int | None
    checkpoint: uuid.UUID | None
    requested_at: datetime | None = None
