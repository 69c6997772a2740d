"""`ports.SnapshotStore`: in memory, and in Postgres."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import psycopg
import pytest

from eventsrc.adapters.postgres.store import PostgresSnapshots
from eventsrc.adapters.postgres.upgrading import upgrade
from eventsrc.codec.blocks import Block, StoredRuns, build_blocks, entry
from eventsrc.engine.partition import PartitionKey
from eventsrc.errors import SnapshotDamaged, SnapshotsUnavailable, SnapshotSuperseded
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import Anchor, Checkpoint, DamagedCheckpoint, FoldedBy, Run, StoredCheckpoint
from eventsrc.ports import SnapshotStore
from eventsrc.testing.memory_snapshots import MemoryDatabase, MemorySnapshots

KEY, OTHER = PartitionKey("account", 3), PartitionKey("account", 4)
TOPIC, RECREATED = "topic-1", "topic-2"
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


class Database(Protocol):
    """What the tests do to it from outside."""

    def store(self) -> SnapshotStore: ...

    def away(self) -> None: ...

    def segment_ids(self) -> set[uuid.UUID]: ...

    def age_segments(self) -> None: ...

    def delete_segment(self, segment_id: uuid.UUID) -> None: ...

    def replace_block(self, segment_id: uuid.UUID, block: bytes) -> None: ...

    def damage_row(self, checkpoint_id: uuid.UUID) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.database = MemoryDatabase()

    def store(self) -> SnapshotStore:
        return MemorySnapshots(self.database)

    def away(self) -> None:
        self.database.available = False

    def segment_ids(self) -> set[uuid.UUID]:
        return set(self.database.segments)

    def age_segments(self) -> None:
        for row in self.database.segments.values():
            row.written_at -= timedelta(days=2)

    def delete_segment(self, segment_id: uuid.UUID) -> None:
        del self.database.segments[segment_id]

    def replace_block(self, segment_id: uuid.UUID, block: bytes) -> None:
        self.database.segments[segment_id].block = block

    def damage_row(self, checkpoint_id: uuid.UUID) -> None:
        rows = self.database.checkpoints[KEY]
        rows[checkpoint_id] = DamagedCheckpoint(checkpoint_id, "damaged", rows[checkpoint_id].taken_at)


class InPostgres:
    def __init__(self, address: str, pipeline: str) -> None:
        self.address = address
        self.pipeline = pipeline
        self.opened = ExitStack()

    def store(self) -> SnapshotStore:
        return self.opened.enter_context(closing(PostgresSnapshots(self.address, self.pipeline, "host-1")))

    def away(self) -> None:
        """Nobody may connect, and nobody is connected. The server itself is other tests' too."""
        name = self._run("SELECT current_database()")[0][0]
        server = self.address.replace(name, "postgres")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    def segment_ids(self) -> set[uuid.UUID]:
        return {row[0] for row in self._run("SELECT id FROM eventsrc.segment WHERE pipeline = %s", self.pipeline)}

    def age_segments(self) -> None:
        self._run(
            "UPDATE eventsrc.segment SET written_at = now() - interval '2 days' WHERE pipeline = %s", self.pipeline
        )

    def delete_segment(self, segment_id: uuid.UUID) -> None:
        self._run("DELETE FROM eventsrc.segment WHERE id = %s", segment_id)

    def replace_block(self, segment_id: uuid.UUID, block: bytes) -> None:
        self._run("UPDATE eventsrc.segment SET block = %s WHERE id = %s", block, segment_id)

    def damage_row(self, checkpoint_id: uuid.UUID) -> None:
        self._run(
            "UPDATE eventsrc.checkpoint SET commands_position = commands_position + 1 WHERE id = %s", checkpoint_id
        )

    def _run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.address, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []


BOTH = ["memory", pytest.param("postgres", marks=pytest.mark.integration)]


@pytest.fixture(scope="module")
def upgraded(postgres_server: str, make_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[str]:
    with make_database("snapshots") as address:
        upgrade(address)
        yield address


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, unique_name: Callable[[str], str]) -> Iterator[Database]:
    """With a pipeline of the test's own."""
    if request.param == "memory":
        yield InMemory()
        return
    found = InPostgres(request.getfixturevalue("upgraded"), unique_name("bank"))
    with found.opened:
        yield found


@pytest.fixture(params=BOTH)
def own_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """That may go away."""
    if request.param == "memory":
        yield InMemory()
        return
    address: str = request.getfixturevalue("database_url")
    upgrade(address)
    found = InPostgres(address, "bank")
    with found.opened:
        yield found


@pytest.fixture
def store(database: Database) -> SnapshotStore:
    return database.store()


def said(position: int = 10, term: int = 5, topic: str = TOPIC, **others: Any) -> Checkpoint:
    return Checkpoint(
        anchor=Anchor(Offset(position - 1), b"alice@7#5\xff", 0xFFFFFFFF, 1_795_000_000_000_000),
        seen=Anchor(Offset(position + 3), b"\0barrier@x", 0, 0),
        commands_position=Position(40),
        term=term,
        applied=12,
        highest_source=others.get("highest_source"),
        events=1 << 40,
        aggregates=3,
        commands_topic_id="commands",
        events_topic_id=topic,
        folded_by=FoldedBy(2, (1 << 64) - 1),
    )


def stored(runs: tuple[Run, ...] = (), checkpoint: Checkpoint | None = None) -> StoredCheckpoint:
    return StoredCheckpoint(uuid.uuid4(), checkpoint or said(), runs, LONG_AGO)


def blocks_of(numbers: range, state: bytes = b"state") -> list[bytes]:
    return list(build_blocks(((b"id-%d" % number, entry(number, b"m", state)) for number in numbers), 100))


def committed(
    store: SnapshotStore, base: StoredCheckpoint | None = None, *, count: int = 250, position: int = 10
) -> StoredCheckpoint:
    """A checkpoint that adds a run to those of its base."""
    run = store.add_segments(KEY, 5, blocks_of(range(count)))
    made = stored((*(base.runs if base else ()), run), said(position))
    store.commit(KEY, made, base.id if base else None)
    return made


# ---- claim


def test_a_claim_tells_what_stands(store: SnapshotStore) -> None:
    assert store.heads([KEY, OTHER]) == {}
    assert store.claim(KEY, 5, TOPIC) == (5, None, None)
    first = committed(store)
    assert store.claim(KEY, 5, TOPIC) == (5, first.id, None)
    assert store.claim(KEY, 8, TOPIC) == (8, first.id, None)
    assert store.heads([KEY, OTHER]) == {KEY: (8, first.id, None)}
    assert store.checkpoints(OTHER) == []


def test_a_later_term_is_not_claimed_from_below(database: Database, store: SnapshotStore) -> None:
    store.claim(KEY, 8, TOPIC)
    with pytest.raises(SnapshotSuperseded, match="account/3"):
        database.store().claim(KEY, 7, TOPIC)
    assert store.heads([KEY])[KEY].term == 8
    database.store().claim(OTHER, 7, TOPIC)


def test_on_another_topic_a_term_means_nothing(store: SnapshotStore) -> None:
    store.claim(KEY, 8, TOPIC)
    assert store.claim(KEY, 2, RECREATED).term == 2
    with pytest.raises(SnapshotSuperseded):
        store.claim(KEY, 1, RECREATED)


# ---- commit


def test_a_checkpoint_comes_back_as_it_was_written(store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    before = datetime.now(UTC) - timedelta(minutes=1)
    for number, source in enumerate((None, 0)):
        run = store.add_segments(KEY, 5, blocks_of(range(250)))
        made = stored((run, ()), said(10 + number, highest_source=source))
        store.commit(KEY, made, store.heads([KEY])[KEY].checkpoint)
        found = store.checkpoints(KEY)[0]
        assert isinstance(found, StoredCheckpoint)
        assert before < found.taken_at < datetime.now(UTC) + timedelta(minutes=1)
        assert replace(found, taken_at=LONG_AGO) == made
    assert len(store.checkpoints(KEY)) == 2


def test_the_runs_hold_what_was_written(store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    second = committed(store, committed(store), count=120)
    runs = [[Block(block) for block in store.read(run)] for run in second.runs]
    assert [len(run) for run in runs] == [3, 2]
    assert dict(StoredRuns(runs)) == {b"id-%d" % number: entry(number, b"m", b"state") for number in range(250)}
    for run, blocks in zip(second.runs, runs, strict=True):
        assert [(each.first_hash, each.last_hash, each.states, each.size_bytes, each.crc) for each in run] == [
            (block.first_hash, block.last_hash, block.count, len(block.encoded), block.crc) for block in blocks
        ]


def test_checkpoints_come_newest_first(store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    made: list[StoredCheckpoint] = []
    for position in (30, 10, 20, 20):
        made.append(committed(store, made[-1] if made else None, count=1, position=position))
    assert [each.id for each in store.checkpoints(KEY)] == [made[0].id, made[3].id, made[2].id, made[1].id]


def test_they_are_listed_in_the_same_order_and_read_by_id_in_the_order_asked_for(store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    first = committed(store, position=10)
    second = committed(store, first, position=20)
    listed = store.listed(KEY)
    assert [(each.id, each.position) for each in listed] == [(second.id, 20), (first.id, 10)]
    assert [each.taken_at for each in listed] == [each.taken_at for each in store.checkpoints(KEY)]
    asked = [first.id, uuid.uuid4(), second.id]
    assert [each.id for each in store.checkpoints(KEY, asked)] == [first.id, second.id]
    assert store.checkpoints(KEY, []) == store.checkpoints(OTHER) == []
    assert store.listed(OTHER) == []


def test_only_the_head_is_extended(store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    first = committed(store)
    for base in (None, uuid.uuid4()):
        with pytest.raises(SnapshotSuperseded, match=str(first.id)):
            store.commit(KEY, stored(), base)
    assert [each.id for each in store.checkpoints(KEY)] == [first.id]
    assert store.heads([KEY])[KEY].checkpoint == first.id


def test_a_commit_may_be_repeated(store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    first = committed(store)
    store.commit(KEY, first, None)
    assert [each.id for each in store.checkpoints(KEY)] == [first.id]


def test_a_zombie_writes_nothing_after_its_successors_claim(database: Database, store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    first = committed(store)
    successor = database.store()
    successor.claim(KEY, 8, TOPIC)
    run = store.add_segments(KEY, 5, blocks_of(range(10)))
    for checkpoint in (said(99, 5), said(99, 8, RECREATED)):
        with pytest.raises(SnapshotSuperseded):
            store.commit(KEY, stored((*first.runs, run), checkpoint), first.id)
    with pytest.raises(SnapshotSuperseded):
        store.collect(KEY, 5, [])
    second = stored(first.runs, said(20, 8))
    successor.commit(KEY, second, first.id)
    assert [each.id for each in successor.checkpoints(KEY)] == [second.id, first.id]
    assert successor.collect(KEY, 8, [first.id, second.id]) == 0
    assert database.segment_ids() == {segment.id for segment in first.runs[0]}


def test_nobody_commits_without_a_claim(store: SnapshotStore) -> None:
    store.request(KEY)
    for key in (KEY, OTHER):
        with pytest.raises(SnapshotSuperseded):
            store.commit(key, stored(), None)
        with pytest.raises(SnapshotSuperseded):
            store.collect(key, 5, [])


# ---- collect


def test_collecting_leaves_what_is_kept_and_what_it_names(database: Database, store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    store.claim(OTHER, 5, TOPIC)
    elsewhere = store.add_segments(OTHER, 5, blocks_of(range(10)))
    first = committed(store)
    second = committed(store, first)
    merged = stored((store.add_segments(KEY, 5, blocks_of(range(300))),), said(30))
    store.commit(KEY, merged, second.id)
    store.add_segments(KEY, 5, blocks_of(range(5)))
    assert store.collect(KEY, 5, [first.id, uuid.uuid4()]) == 1
    assert [each.id for each in store.checkpoints(KEY)] == [merged.id, first.id]
    named = {segment.id for run in (*first.runs, *merged.runs, elsewhere) for segment in run}
    assert database.segment_ids() == named
    assert store.collect(KEY, 5, []) == 1
    assert [each.id for each in store.checkpoints(KEY)] == [merged.id]
    assert list(store.read(merged.runs[0])) == blocks_of(range(300))


def test_what_an_operator_discards_is_gone_and_the_term_with_it(database: Database, store: SnapshotStore) -> None:
    for key in (KEY, OTHER):
        store.claim(key, 8, TOPIC)
    store.claim(OTHER, 9, TOPIC)
    elsewhere = store.add_segments(OTHER, 9, blocks_of(range(10)))
    store.claim(KEY, 8, TOPIC)
    run = store.add_segments(KEY, 8, blocks_of(range(250)))
    first = stored((run,), said(10, 8))
    store.commit(KEY, first, None)
    operator = database.store()
    assert operator.discard(KEY) == 1
    assert operator.discard(KEY) == 0
    assert operator.checkpoints(KEY) == []
    assert operator.heads([KEY, OTHER]) == {OTHER: (9, None, None)}
    assert database.segment_ids() == {segment.id for segment in elsewhere}
    with pytest.raises(SnapshotSuperseded):
        store.commit(KEY, stored((run,), said(20, 8)), first.id)
    assert operator.claim(KEY, 2, TOPIC) == (2, None, None)
    assert store.claim(KEY, 8, TOPIC) == (8, None, None)


def test_what_a_later_term_is_writing_is_not_collected_until_it_is_old(
    database: Database, store: SnapshotStore
) -> None:
    store.claim(KEY, 5, TOPIC)
    later = store.add_segments(KEY, 9, blocks_of(range(10)))
    store.collect(KEY, 5, [])
    assert database.segment_ids() == {segment.id for segment in later}
    database.age_segments()
    store.collect(KEY, 5, [])
    assert database.segment_ids() == set()


def test_a_damaged_checkpoint_is_collected_like_another(database: Database, store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    first = committed(store)
    second = committed(store, first, position=20)
    database.damage_row(first.id)
    assert store.collect(KEY, 5, [second.id]) == 1
    assert [each.id for each in store.checkpoints(KEY)] == [second.id]


# ---- damage


def test_damaged_segments_are_found(database: Database, store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    (run,) = committed(store).runs
    good = list(store.read(run))
    assert list(store.read([])) == []
    assert list(store.read(run[::-1])) == good[::-1]
    changed = bytearray(good[1])
    changed[50] ^= 1
    for block in (bytes(changed), good[1][:-1], good[1] + b"\0", b"", good[0]):
        database.replace_block(run[1].id, block)
        reading = iter(store.read(run))
        assert next(reading) == good[0]
        with pytest.raises(SnapshotDamaged, match=str(run[1].id)):
            list(reading)
    database.delete_segment(run[1].id)
    with pytest.raises(SnapshotDamaged, match=f"{run[1].id} is missing"):
        list(store.read(run))
    database.replace_block(run[0].id, good[0])
    assert list(store.read([run[0], run[2]])) == [good[0], good[2]]


def test_a_damaged_row_says_so_and_the_others_stand(database: Database, store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    first = committed(store)
    second = committed(store, first, position=20)
    database.damage_row(second.id)
    found = {each.id: each for each in store.checkpoints(KEY)}
    assert isinstance(found[second.id], DamagedCheckpoint)
    assert found[second.id].taken_at is not None
    assert isinstance(found[first.id], StoredCheckpoint)


# ---- requests, and being away


def test_a_request_reaches_the_owner_whose_claim_was_discarded(database: Database, store: SnapshotStore) -> None:
    store.claim(KEY, 5, TOPIC)
    operator = database.store()
    operator.discard(KEY)
    asked = operator.request(KEY)
    assert store.heads([KEY]) == {KEY: (None, None, asked)}


def test_a_request_reaches_the_owner(database: Database, store: SnapshotStore) -> None:
    asked = database.store().request(KEY)
    assert store.heads([KEY]) == {KEY: (None, None, asked)}
    assert store.claim(KEY, 5, TOPIC) == (5, None, asked)
    first = committed(store)
    (found,) = store.checkpoints(KEY)
    assert found.taken_at is not None
    assert found.taken_at >= asked
    again = database.store().request(KEY)
    assert again > asked
    assert store.heads([KEY]) == {KEY: (5, first.id, again)}


CALLS: dict[str, Callable[[SnapshotStore, StoredCheckpoint], object]] = {
    "claim": lambda store, first: store.claim(KEY, 6, TOPIC),
    "checkpoints": lambda store, first: store.checkpoints(KEY),
    "listed": lambda store, first: store.listed(KEY),
    "read": lambda store, first: list(store.read(first.runs[0])),
    "add_segments": lambda store, first: store.add_segments(KEY, 5, blocks_of(range(1))),
    "commit": lambda store, first: store.commit(KEY, stored(), first.id),
    "collect": lambda store, first: store.collect(KEY, 5, []),
    "discard": lambda store, first: store.discard(KEY),
    "request": lambda store, first: store.request(KEY),
    "heads": lambda store, first: store.heads([KEY]),
}


def test_while_it_is_away_every_call_says_so(own_database: Database) -> None:
    store = own_database.store()
    store.claim(KEY, 5, TOPIC)
    first = committed(store)
    own_database.away()
    for call in CALLS.values():
        with pytest.raises(SnapshotsUnavailable):
            call(store, first)
    store.close()
    store.close()
