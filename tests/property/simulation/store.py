"""A snapshot store that all workers of a history share, with what can happen to it; and a worker's threads around it.

The store is the one in memory (tests/conformance holds it to Postgres). Here: answers that never come or come late, a
database that is away, was restored from an older copy, or has lost or damaged rows; others that act between two statements.
Every checkpoint that becomes a head is held against the log (I6) before anybody can load it.
"""

from __future__ import annotations

import copy
import random
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from eventsrc.engine.effects import Input, LoadSnapshot, WriteCheckpoint
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import SnapshotsUnavailable
from eventsrc.model.snapshot import DamagedCheckpoint, Head, Listed, Run, Segment, StoredCheckpoint
from eventsrc.runtime.snapshot_calls import CheckpointWriting, load, nothing
from eventsrc.testing.memory_snapshots import MemoryDatabase, MemorySnapshots

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class KilledError(BaseException):
    """A worker ends here and now. No Exception: nothing in it may handle this."""


@dataclass(frozen=True, slots=True)
class StoreFaults:
    """How likely each is, at each call of the store."""

    unavailable: float = 0.04
    unknown: float = 0.03
    interrupted: float = 0.15


STORE_FAULTS = StoreFaults()
NO_STORE_FAULTS = StoreFaults(0, 0, 0)


@dataclass(eq=False)
class SharedStore:
    """The database. `check` is told of each checkpoint that has become a head, and raises where it is wrong."""

    rng: random.Random
    check: Callable[[PartitionKey, StoredCheckpoint, SharedStore], None]
    database: MemoryDatabase = field(init=False)
    claimed: dict[PartitionKey, int] = field(default_factory=dict)
    written: int = 0
    loaded: int = 0
    _minutes: int = 0
    _copies: list[MemoryDatabase] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.database = MemoryDatabase(self.now, self.new_id)

    def now(self) -> datetime:
        self._minutes += 3
        return EPOCH + timedelta(minutes=self._minutes)

    def new_id(self) -> uuid.UUID:
        return uuid.UUID(int=self.rng.getrandbits(128))

    # ---- what happens to it

    def copied(self) -> None:
        """As a backup."""
        database = self.database
        self._copies.append(
            MemoryDatabase(
                database.now,
                database.new_id,
                True,
                copy.deepcopy(database.heads),
                {key: dict(rows) for key, rows in database.checkpoints.items()},
                copy.deepcopy(database.segments),
            )
        )

    def restored(self) -> None:
        if self._copies:
            older = self.rng.choice(self._copies)
            database = self.database
            database.heads, database.checkpoints = copy.deepcopy(older.heads), copy.deepcopy(older.checkpoints)
            database.segments = copy.deepcopy(older.segments)
            self.claimed = {key: row.term for key, row in database.heads.items() if row.term is not None}

    def discarded(self, key: PartitionKey) -> None:
        """By an operator."""
        if self.database.available:
            MemorySnapshots(self.database).discard(key)
            self.claimed.pop(key, None)

    def damaged(self) -> None:
        """A segment or a checkpoint is changed, or gone: of the head, more often than not."""
        database, choice = self.database, self.rng.choice
        rows = [(key, number) for key, here in sorted(database.checkpoints.items()) for number in here]
        rows = [(key, number) for key, number in rows if number == _head(database, key) or choice((0, 0, 1))]
        newest = [database.checkpoints[key][number] for key, number in rows]
        named = {each.id for one in newest if isinstance(one, StoredCheckpoint) for run in one.runs for each in run}
        segments = sorted(named & set(database.segments))
        what = choice(("block", "segment", "row", "row gone"))
        if what in ("block", "segment") and segments:
            number = choice(segments)
            if what == "segment":
                del database.segments[number]
                return
            row = database.segments[number]
            at = self.rng.randrange(len(row.block))
            row.block = row.block[:at] + bytes([row.block[at] ^ 0x40]) + row.block[at + 1 :]
        elif rows:
            key, number = choice(rows)
            if what == "row":
                database.checkpoints[key][number] = DamagedCheckpoint(number, "its hash is wrong")
            else:
                del database.checkpoints[key][number]

    def calm(self) -> None:
        self.database.available = True


def _head(database: MemoryDatabase, key: PartitionKey) -> uuid.UUID | None:
    return database.heads[key].checkpoint if key in database.heads else None


class FlakyStore:
    """One connection. `between` is called between statements: others act meanwhile."""

    def __init__(
        self, shared: SharedStore, faults: Callable[[], StoreFaults], between: Callable[[], None], term_guard: bool
    ) -> None:
        self._shared = shared
        self._store = MemorySnapshots(shared.database)
        self._faults = faults
        self._between = between
        self._term_guard = term_guard

    def _reach(self) -> None:
        faults, rng = self._faults(), self._shared.rng
        if rng.random() < faults.interrupted:
            self._between()
        if rng.random() < faults.unavailable:
            raise SnapshotsUnavailable("the connection was lost before anything was done")

    def _answer(self) -> None:
        if self._shared.rng.random() < self._faults().unknown:
            raise SnapshotsUnavailable("the connection was lost, and nobody knows what was done")

    def claim(self, key: PartitionKey, term: int, events_topic_id: str) -> Head:
        self._reach()
        head = self._store.claim(key, term, events_topic_id)
        self._shared.claimed[key] = term
        self._answer()
        return head

    def listed(self, key: PartitionKey) -> Sequence[Listed]:
        self._reach()
        return self._store.listed(key)

    def checkpoints(
        self, key: PartitionKey, ids: Sequence[uuid.UUID] | None = None
    ) -> Sequence[StoredCheckpoint | DamagedCheckpoint]:
        self._reach()
        return self._store.checkpoints(key, ids)

    def read(self, segments: Sequence[Segment]) -> Iterator[bytes]:
        for segment in segments:
            self._reach()
            yield from self._store.read([segment])

    def add_segments(self, key: PartitionKey, term: int, blocks: Iterable[bytes]) -> Run:
        self._reach()
        run = self._store.add_segments(key, term, blocks)
        self._answer()
        return run

    def commit(self, key: PartitionKey, stored: StoredCheckpoint, base: uuid.UUID | None) -> None:
        self._reach()
        if not self._term_guard:
            self._shared.database.heads[key].term = stored.checkpoint.term
        self._store.commit(key, stored, base)
        self._shared.written += 1
        self._shared.check(key, stored, self._shared)
        self._answer()

    def collect(self, key: PartitionKey, term: int, keep: Collection[uuid.UUID]) -> int:
        self._reach()
        return self._store.collect(key, term, keep)

    def discard(self, key: PartitionKey) -> int:
        return self._store.discard(key)

    def request(self, key: PartitionKey) -> datetime:
        return self._store.request(key)

    def heads(self, keys: Collection[PartitionKey]) -> Mapping[PartitionKey, Head]:
        self._reach()
        return self._store.heads(keys)

    def close(self) -> None:
        pass


@dataclass(eq=False)
class SnapshotEdge:
    """One worker's snapshot threads: what they have been asked, done when the history lets them."""

    shared: SharedStore
    store: FlakyStore
    report: Callable[[Input], None]
    rng: random.Random
    loads: list[LoadSnapshot] = field(default_factory=list)
    writes: list[WriteCheckpoint] = field(default_factory=list)
    watched: set[PartitionKey] = field(default_factory=set)
    hangs: float = 0.02
    writing: CheckpointWriting = field(init=False)

    def __post_init__(self) -> None:
        self.writing = CheckpointWriting(
            lambda: self.store, self.report, self.shared.now, self._monotonic_s, self.shared.new_id
        )

    def _monotonic_s(self) -> float:
        return (self.shared.now() - EPOCH).total_seconds()

    @property
    def busy(self) -> bool:
        return bool(self.loads or self.writes)

    def turn(self) -> None:
        """One of the two threads does one thing. Raises KilledError."""
        if self.loads and (not self.writes or self.rng.random() < 0.6):
            asked = self.loads.pop(0)
            if self.rng.random() < self.hangs:
                return  # it is never answered
            try:
                self.report(load(self.store, asked))
                self.shared.loaded += 1
            except SnapshotsUnavailable as away:
                self.report(nothing(asked, str(away)))
        elif self.writes:
            self.writing.serve(self.writes.pop(0))
        else:
            self.writing.look_for_requests(self.watched)
