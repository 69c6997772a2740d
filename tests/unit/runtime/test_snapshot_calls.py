"""Which checkpoint a takeover starts from where some are lost or damaged, and what it says of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from eventsrc.codec import blocks
from eventsrc.codec.blocks import build_blocks, entry
from eventsrc.engine.effects import LoadSnapshot, SnapshotLoaded
from eventsrc.engine.notes import TopicIds
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import Anchor, Checkpoint, DamagedCheckpoint, FoldedBy, Segment, StoredCheckpoint
from eventsrc.runtime.snapshot_calls import load
from eventsrc.testing.memory_snapshots import MemoryDatabase, MemorySnapshots

KEY = PartitionKey("account", 0)
CODE = FoldedBy(1, 7)
TOPICS = TopicIds("commands", "events")
AT = datetime(2026, 1, 1, tzinfo=UTC)


class CountingSnapshots(MemorySnapshots):
    """Knows how often its segments were asked for, and how many manifests."""

    reads = 0
    manifests = 0

    def checkpoints(
        self, key: PartitionKey, ids: Sequence[uuid.UUID] | None = None
    ) -> Sequence[StoredCheckpoint | DamagedCheckpoint]:
        found = super().checkpoints(key, ids)
        self.manifests += len(found)
        return found

    def read(self, segments: Sequence[Segment]) -> Iterator[bytes]:
        self.reads += 1
        return super().read(segments)


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


@pytest.fixture
def store(database: MemoryDatabase) -> CountingSnapshots:
    return CountingSnapshots(database)


def taken(store: MemorySnapshots, offset: int, extends: StoredCheckpoint | None) -> StoredCheckpoint:
    anchor = Anchor(Offset(offset), b"a@1#0", 0, 0)
    checkpoint = Checkpoint(anchor, anchor, Position(offset), 0, 0, 0, offset, 1, "commands", "events", CODE)
    run = store.add_segments(KEY, 0, build_blocks([(b"a%d" % offset, entry(1, b"", b""))]))
    stored = StoredCheckpoint(uuid.uuid4(), checkpoint, (*(extends.runs if extends else ()), run), AT)
    store.commit(KEY, stored, extends.id if extends else None)
    return stored


def lineage(store: MemorySnapshots, count: int) -> list[StoredCheckpoint]:
    """Each extends the one before; the last is the head."""
    store.claim(KEY, 0, "events")
    made: list[StoredCheckpoint] = []
    for number in range(count):
        made.append(taken(store, number, made[-1] if made else None))
    return made


def loaded(store: MemorySnapshots) -> SnapshotLoaded:
    found = load(store, LoadSnapshot(KEY, 1, 100, TOPICS, CODE))
    assert isinstance(found, SnapshotLoaded)
    return found


def test_a_head_whose_row_is_gone_is_told_of(store: CountingSnapshots, database: MemoryDatabase) -> None:
    before, head = lineage(store, 2)
    del database.checkpoints[KEY][head.id]
    found = loaded(store)
    assert found.checkpoint is not None
    assert found.checkpoint.id == before.id
    assert found.head == head.id
    assert found.refused == (f"checkpoint {head.id}: it is the newest, and its row is missing",)


def test_only_the_manifest_that_serves_is_read(store: CountingSnapshots) -> None:
    head = lineage(store, 50)[-1]
    found = loaded(store).checkpoint
    assert found is not None
    assert found.id == head.id
    assert store.manifests == 1


def test_a_lost_segment_is_asked_for_once_however_many_checkpoints_name_it(
    store: CountingSnapshots, database: MemoryDatabase
) -> None:
    made = lineage(store, 6)
    lost = made[2].runs[2][0].id
    del database.segments[lost]
    found = loaded(store)
    assert found.checkpoint is not None
    assert found.checkpoint.id == made[1].id
    assert found.refused == (f"4 checkpoints, the newest {made[5].id}: segment {lost} is missing",)
    assert store.reads == 2


def test_a_segment_of_another_version_is_read_once_however_many_checkpoints_name_it(
    store: CountingSnapshots, database: MemoryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(blocks, "MAGIC", b"ESB1")
        made = lineage(store, 6)
    found = loaded(store)
    assert found.checkpoint is None
    first = made[0].runs[0][0].id
    why = "a block begins with b'ESB1', not b'ESB2': another version of eventsrc wrote it"
    assert found.refused == (f"6 checkpoints, the newest {made[5].id}: segment {first}: {why}",)
    assert store.reads == 1


def test_a_segment_that_is_not_what_one_manifest_says_is_still_the_others(store: CountingSnapshots) -> None:
    store.claim(KEY, 0, "events")
    first = taken(store, 0, None)
    [[segment]] = first.runs
    wrong = replace(first, id=uuid.uuid4(), runs=((segment._replace(states=2),),))
    store.commit(KEY, wrong, first.id)
    found = loaded(store)
    assert found.checkpoint is not None
    assert found.checkpoint.id == first.id
    assert found.refused == (f"checkpoint {wrong.id}: segment {segment.id} holds other states than its manifest says",)
