"""Checkpoints of a log that a test has written, as a worker would have taken them at any point of it: fuzzy ones too.

States come from the product's own fold; what is made of them is judged against `travel_model`.
"""

from __future__ import annotations

import random
import uuid
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime

from eventsrc import Pipeline
from eventsrc.codec.blocks import build_blocks, entry
from eventsrc.codec.catalog import Catalog
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.notes import TopicIds
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.position import Offset, Position
from eventsrc.model.snapshot import Anchor, Checkpoint, FoldedBy, StoredCheckpoint
from eventsrc.ports import SnapshotStore
from tests.harness.evidence import LogRecord

Entries = dict[bytes, bytes]


class Taker:
    """Of one partition; `records` are its committed ones, barriers included."""

    def __init__(
        self,
        pipeline: Pipeline,
        store: SnapshotStore,
        key: PartitionKey,
        topics: TopicIds,
        records: Sequence[LogRecord],
    ) -> None:
        self._catalog = Catalog(pipeline, None)
        self._aggregate = pipeline.aggregates[key.aggregate]
        self._store, self._key, self._topics = store, key, topics
        self._records = [record for record in records if record.partition == key.number]
        self._head: uuid.UUID | None = None

    def take(
        self, below: int, seen_below: int, rnd: random.Random, version: int | None = None, alter: str = ""
    ) -> StoredCheckpoint:
        """Every event below the first offset is covered; some states have also seen those below the second. `alter`: make
        it wrong in one `field` named total, `lacking` a state, with one `above` the log, or in its count of `events`."""
        fold = self._fold(below)
        older, newer = self._entries(fold), self._entries(self._fold(seen_below), alter)
        if alter:
            older = newer
        entries = {key: rnd.choice((older.get(key, encoded), encoded)) for key, encoded in newer.items()}
        term = fold.highest_term
        assert term is not None
        checkpoint = Checkpoint(
            anchor=self._anchor(below, fold.last_time),
            seen=self._anchor(seen_below, self._fold(seen_below).last_time),
            commands_position=Position((fold.highest_source or 0) + 1),
            term=term,
            applied=fold.applied.get(term, 0),
            highest_source=fold.highest_source,
            events=fold.events + (alter == "events"),
            aggregates=fold.aggregates,
            commands_topic_id=self._topics.commands,
            events_topic_id=self._topics.events,
            folded_by=FoldedBy(version or self._aggregate.version, self._catalog.state_fingerprint(self._aggregate)),
        )
        self._store.claim(self._key, term, self._topics.events)
        run = self._store.add_segments(self._key, term, build_blocks(entries.items(), states_per_block=3))
        stored = StoredCheckpoint(uuid.uuid4(), checkpoint, (run,), datetime.now(UTC))
        self._store.commit(self._key, stored, self._head)
        self._head = stored.id
        return stored

    def _fold(self, below: int) -> PartitionFold:
        fold = PartitionFold(self._aggregate, self._catalog)
        for record in self._records:
            if record.offset < below:
                fold.feed(record.offset, record.key, record.value, record.timestamp_ms)
        fold.finish()
        return fold

    def _entries(self, fold: PartitionFold, alter: str = "") -> Entries:
        write = self._catalog.snapshot_writer(self._aggregate)
        for each in fold.live.values():
            if alter == "field":
                each.total = 77
            if alter == "above":
                each._eventsrc_sequence = 9
        if alter == "lacking":
            fold.live[b"somebody"] = fold.live.popitem()[1]
        return {
            key: entry(each._eventsrc_sequence, each._eventsrc_memory, write(each)) for key, each in fold.live.items()
        }

    def _anchor(self, below: int, time_us: int) -> Anchor:
        record = max((each for each in self._records if each.offset < below), key=lambda each: each.offset)
        assert record.key is not None
        return Anchor(
            Offset(record.offset), record.key, zlib.crc32((record.key or b"") + (record.value or b"")), time_us
        )
