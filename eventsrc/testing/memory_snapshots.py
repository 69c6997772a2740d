"""Checkpoints in memory: a SnapshotStore for tests, and the database that several of them share.

It does what the one in Postgres does; tests/conformance holds both to that. Its database can be away, and what lies in it
can be changed from outside, as a disk or an operator would.
"""

from __future__ import annotations

import threading
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from eventsrc.codec.blocks import Block
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import SnapshotDamaged, SnapshotsUnavailable, SnapshotSuperseded
from eventsrc.model.position import Position
from eventsrc.model.snapshot import DamagedCheckpoint, Head, Listed, Run, Segment, StoredCheckpoint

_ABANDONED_AFTER = timedelta(days=1)


@dataclass(slots=True)
class HeadRow:
    events_topic_id: str | None = None
    term: int | None = None
    checkpoint: uuid.UUID | None = None
    requested_at: datetime | None = None


@dataclass(slots=True)
class SegmentRow:
    key: PartitionKey
    term: int
    written_at: datetime
    block: bytes


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, eq=False)
class MemoryDatabase:
    """Of one pipeline. `available`: whether it answers; may be changed at any time, from any thread."""

    now: Callable[[], datetime] = _now
    new_id: Callable[[], uuid.UUID] = uuid.uuid4
    available: bool = True
    heads: dict[PartitionKey, HeadRow] = field(default_factory=dict)
    checkpoints: dict[PartitionKey, dict[uuid.UUID, StoredCheckpoint | DamagedCheckpoint]] = field(default_factory=dict)
    segments: dict[uuid.UUID, SegmentRow] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        """Raises SnapshotsUnavailable while it is away."""
        if not self.available:
            raise SnapshotsUnavailable("the database is away")


class MemorySnapshots:
    """Meets `SnapshotStore`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def claim(self, key: PartitionKey, term: int, events_topic_id: str) -> Head:
        with self._open() as database:
            head = database.heads.setdefault(key, HeadRow())
            if head.term is not None and head.term > term and head.events_topic_id == events_topic_id:
                raise SnapshotSuperseded(f"the snapshots of {key} belong to a later term than {term}")
            head.term, head.events_topic_id = term, events_topic_id
            return Head(term, head.checkpoint, head.requested_at)

    def listed(self, key: PartitionKey) -> Sequence[Listed]:
        with self._open() as database:
            return [Listed(each.id, *_place(each)) for each in _newest_first(database, key)]

    def checkpoints(
        self, key: PartitionKey, ids: Sequence[uuid.UUID] | None = None
    ) -> Sequence[StoredCheckpoint | DamagedCheckpoint]:
        with self._open() as database:
            if ids is None:
                return _newest_first(database, key)
            here = database.checkpoints.get(key, {})
            return [here[each] for each in ids if each in here]

    def read(self, segments: Sequence[Segment]) -> Iterator[bytes]:
        for segment in segments:
            with self._open() as database:
                row = database.segments.get(segment.id)
            if row is None:
                raise SnapshotDamaged(f"segment {segment.id} is missing", segment.id)
            if len(row.block) != segment.size_bytes or zlib.crc32(row.block) != segment.crc:
                raise SnapshotDamaged(f"segment {segment.id} has other bytes than were written", segment.id)
            yield row.block

    def add_segments(self, key: PartitionKey, term: int, blocks: Iterable[bytes]) -> Run:
        self._database.check()
        made = [(self._database.new_id(), Block(encoded)) for encoded in blocks]
        with self._open() as database:
            for number, block in made:
                database.segments[number] = SegmentRow(key, term, database.now(), block.encoded)
        return tuple(
            Segment(number, block.first_hash, block.last_hash, block.count, len(block.encoded), block.crc)
            for number, block in made
        )

    def commit(self, key: PartitionKey, stored: StoredCheckpoint, base: uuid.UUID | None) -> None:
        said = stored.checkpoint
        with self._open() as database:
            head = database.heads.get(key, HeadRow())
            if head.checkpoint == stored.id:
                return
            if (head.events_topic_id, head.term) != (said.events_topic_id, said.term):
                raise SnapshotSuperseded(f"the snapshots of {key} are not ours any more: {head.term}, not {said.term}")
            if head.checkpoint != base:
                raise SnapshotSuperseded(
                    f"the head of {key} is checkpoint {head.checkpoint}, and this one extends {base}"
                )
            database.checkpoints.setdefault(key, {})[stored.id] = replace(stored, taken_at=database.now())
            head.checkpoint = stored.id

    def collect(self, key: PartitionKey, term: int, keep: Collection[uuid.UUID]) -> int:
        with self._open() as database:
            head = database.heads.get(key, HeadRow())
            if head.term != term:
                raise SnapshotSuperseded(f"old checkpoints of {key} are not ours to collect: {head.term}, not {term}")
            here = database.checkpoints.get(key, {})
            gone = [each for each in here if each not in keep and each != head.checkpoint]
            for each in gone:
                del here[each]
            self._collect_segments(key, term)
        return len(gone)

    def discard(self, key: PartitionKey) -> int:
        with self._open() as database:
            database.heads.pop(key, None)
            for number in [number for number, row in database.segments.items() if row.key == key]:
                del database.segments[number]
            return len(database.checkpoints.pop(key, {}))

    def request(self, key: PartitionKey) -> datetime:
        with self._open() as database:
            asked = database.heads.setdefault(key, HeadRow()).requested_at = database.now()
        return asked

    def heads(self, keys: Collection[PartitionKey]) -> Mapping[PartitionKey, Head]:
        with self._open() as database:
            found = {key: database.heads[key] for key in keys if key in database.heads}
            return {key: Head(row.term, row.checkpoint, row.requested_at) for key, row in found.items()}

    def close(self) -> None:
        pass

    def _open(self) -> _Open:
        return _Open(self._database)

    def _collect_segments(self, key: PartitionKey, term: int) -> None:
        database = self._database
        kept = [each for each in database.checkpoints.get(key, {}).values() if isinstance(each, StoredCheckpoint)]
        named = {segment.id for each in kept for run in each.runs for segment in run}
        abandoned = database.now() - _ABANDONED_AFTER
        for number, row in list(database.segments.items()):
            if row.key == key and number not in named and (row.term <= term or row.written_at < abandoned):
                del database.segments[number]


class _Open:
    """The database, for as long as nobody else has it."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def __enter__(self) -> MemoryDatabase:
        self._database.check()
        self._database.lock.acquire()
        return self._database

    def __exit__(self, *exception: object) -> None:
        self._database.lock.release()


def _newest_first(database: MemoryDatabase, key: PartitionKey) -> list[StoredCheckpoint | DamagedCheckpoint]:
    return sorted(database.checkpoints.get(key, {}).values(), key=_place, reverse=True)


def _place(each: StoredCheckpoint | DamagedCheckpoint) -> tuple[Position, datetime]:
    position = each.checkpoint.position if isinstance(each, StoredCheckpoint) else Position(-1)
    return position, each.taken_at or datetime.min.replace(tzinfo=UTC)
