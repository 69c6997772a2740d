"""Checks checkpoints against the log: every state that a kept one holds must be the fold of its aggregate's events.

One pass over the log of each partition; each state is compared at its own sequence, when the fold is there. Owns what is
read and in which order; reads only.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from eventsrc.adapters.kafka.history import Bounds
from eventsrc.adapters.kafka.log_reader import LogReader, TopicPlace
from eventsrc.codec.blocks import Block, StoredRuns, entry_sequence, split_entry
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.keys import id_in
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.notes import TopicIds
from eventsrc.engine.partition import PartitionKey
from eventsrc.engine.snapshots import refusal
from eventsrc.errors import DecodingError, LogInconsistent, SnapshotDamaged
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.names import events_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.snapshot import DamagedCheckpoint, Segment, StoredCheckpoint
from eventsrc.ports import SnapshotStore
from eventsrc.runtime.catalogs import open_catalog
from eventsrc.runtime.reading import check_partition_count
from eventsrc.runtime.settings import Settings
from eventsrc.runtime.starting_points import folded_by, topic_ids


class Difference(NamedTuple):
    """Where a checkpoint and the log part ways. `id` None: in what the checkpoint says of itself. `field` None: in the bytes
    alone. A stored sequence of None: the checkpoint lacks the aggregate."""

    aggregate: str
    partition: int
    id: bytes | None
    sequence: int | None
    field: str | None
    stored: Any
    folded: Any
    checkpoint: uuid.UUID


@dataclass(slots=True)
class Comparison:
    """What was compared; `damaged`: checkpoints that cannot be read, which no recovery uses; `skipped`: those that this code and
    this log cannot be held against, and why. `difference`: the first of a sound one."""

    checkpoints: int = 0
    states: int = 0
    difference: Difference | None = None
    damaged: list[Difference] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def first(self) -> Difference | None:
        """What is wrong first of all: a sound checkpoint that says something else, or else a damaged one."""
        return self.difference or next(iter(self.damaged), None)


def compare(
    pipeline: Pipeline,
    settings: Settings,
    *,
    aggregate: AggregateType | None = None,
) -> Comparison:
    """Every kept checkpoint of every partition, up to the first difference; damaged ones are told, and passed over.

    Raises `Unreachable`, `TopicsInvalid`, `SnapshotsUnavailable`; `LogInconsistent` and `UnknownSchema` where the log
    cannot be folded.
    """
    from eventsrc.adapters.postgres.reading import read_only_snapshots

    store = read_only_snapshots(settings.require_database_url(), pipeline.name, "compare")
    catalog = open_catalog(pipeline, settings)
    aggregates = pipeline.aggregates.values() if aggregate is None else [aggregate]
    comparison = Comparison()
    try:
        with LogReader(settings.require_bootstrap_servers(), settings.kafka) as reader:
            topics = topic_ids(pipeline, settings.require_bootstrap_servers(), settings.kafka)
            for each in aggregates:
                topic = events_topic(pipeline.name, each.name)
                check_partition_count(topic, reader.partition_count(topic), pipeline.settings.partitions)
                for number in range(pipeline.settings.partitions):
                    _Partition(each, number, catalog, store, topics[each.name], comparison).compare(reader, topic)
                    if comparison.difference is not None:
                        return comparison
    finally:
        store.close()
    return comparison


class _Held(NamedTuple):
    """A checkpoint with its states."""

    stored: StoredCheckpoint
    states: StoredRuns


class _Found(Exception):  # noqa: N818 - raised and caught within this module
    def __init__(self, difference: Difference) -> None:
        super().__init__()
        self.difference = difference


class _Partition:
    """One partition's checkpoints against one pass over its log."""

    def __init__(
        self,
        aggregate: AggregateType,
        number: int,
        catalog: Catalog,
        store: SnapshotStore,
        topics: TopicIds,
        comparison: Comparison,
    ) -> None:
        self._aggregate, self._number, self._catalog, self._store = aggregate, number, catalog, store
        self._topics, self._comparison = topics, comparison
        self._write = catalog.state_writer(aggregate)
        self._read = catalog.state_reader(aggregate)
        self._blocks: dict[uuid.UUID, Block] = {}
        self._segment_of: dict[uuid.UUID, uuid.UUID] = {}
        self._expected: dict[bytes, dict[int, list[tuple[bytes, uuid.UUID]]]] = defaultdict(dict)

    def compare(self, reader: LogReader, topic: str) -> None:
        place = TopicPlace(topic, self._number)
        kept = self._store.checkpoints(PartitionKey(self._aggregate.name, self._number))
        bounds = reader.bounds(place)  # after them: what they have seen is committed
        try:
            held = self._load(kept, bounds.stable_end)
            if held:
                self._follow(reader, place, bounds, held)
        except _Found as found:
            self._comparison.difference = found.difference

    def _load(self, kept: Sequence[StoredCheckpoint | DamagedCheckpoint], stable_end: int) -> list[_Held]:
        """By position, those that can be read, and whose events can."""
        held = []
        for each in kept:
            if isinstance(each, DamagedCheckpoint):
                self._damaged(each.id, each.reason, "its row as it was written")
                continue
            reason = refusal(each.checkpoint, self._topics, folded_by(self._catalog, self._aggregate))
            if reason is None and each.checkpoint.seen.offset >= stable_end:
                reason = (
                    f"it has seen events up to offset {each.checkpoint.seen.offset}, and an open transaction lets nobody read "
                    f"them from offset {stable_end} on; compare again once it has ended (kafka-transactions.sh find-hanging)"
                )
            if reason is not None:
                self._comparison.skipped.append(
                    f"{self._aggregate.name}/{self._number}: checkpoint {each.id}: {reason}"
                )
                continue
            try:
                states = StoredRuns([[self._block(segment) for segment in run] for run in each.runs])
                self._expect(each)
            except (SnapshotDamaged, DecodingError) as damage:
                if self._is_still_kept(each.id):  # else its owner collected it while we read
                    self._damaged(each.id, str(damage), "blocks as they were written")
                continue
            held.append(_Held(each, states))
        return sorted(held, key=lambda one: one.stored.checkpoint.position)

    def _damaged(self, checkpoint: uuid.UUID, reason: str, instead_of: str) -> None:
        found = Difference(self._aggregate.name, self._number, None, None, None, reason, instead_of, checkpoint)
        self._comparison.damaged.append(found)

    def _block(self, segment: Segment) -> Block:
        """Checkpoints share segments: each is read once."""
        if segment.id not in self._blocks:
            (encoded,) = self._store.read([segment])
            self._blocks[segment.id] = Block(encoded)
        return self._blocks[segment.id]

    def _is_still_kept(self, checkpoint: uuid.UUID) -> bool:
        kept = self._store.listed(PartitionKey(self._aggregate.name, self._number))
        return any(each.id == checkpoint for each in kept)

    def _expect(self, stored: StoredCheckpoint) -> None:
        """Notes what each state of its segments must be at its sequence; of a segment with a state that cannot be read, nothing,
        so that every checkpoint that names it is found damaged."""
        for segment in (each for run in stored.runs for each in run):
            if segment.id in self._segment_of:
                continue
            states = [(key, *self._hashed(key, encoded)) for key, encoded in self._blocks[segment.id]]
            self._segment_of[segment.id] = stored.id
            self._comparison.states += len(states)
            for key, sequence, hashed in states:
                self._expected[key].setdefault(sequence, []).append((hashed, segment.id))
        self._comparison.checkpoints += 1

    def _hashed(self, key: bytes, encoded: bytes) -> tuple[int, bytes]:
        """Its sequence, and a hash of it."""
        sequence, memory, _ = split_entry(encoded)
        return sequence, _hash(self._write(self._instance(key, encoded)), memory)

    def _follow(self, reader: LogReader, place: TopicPlace, bounds: Bounds, held: list[_Held]) -> None:
        reader.start(place, bounds.start, bounds.stable_end)
        fold = PartitionFold(self._aggregate, self._catalog)
        waiting = iter([*held, None])
        following = next(waiting)
        for _, offset, key, value, timestamp_ms in reader.records():
            while following is not None and offset >= following.stored.checkpoint.position:
                self._check_covered(following, fold)
                following = next(waiting)
            try:
                recorded = fold.feed(offset, key, value, timestamp_ms)
            except LogInconsistent as error:
                raise LogInconsistent(f"{place.topic}/{place.partition}: {error}", error.code) from error
            if recorded is not None and key is not None:
                self._check_state(fold, id_in(key), recorded.sequence)
        fold.finish()
        while following is not None:
            self._check_covered(following, fold)
            following = next(waiting)
        self._check_all_were_reached(fold)

    def _check_state(self, fold: PartitionFold, key: bytes, sequence: int) -> None:
        wanted = self._expected.get(key)
        stored = wanted.pop(sequence, None) if wanted else None
        if stored is None:
            return
        instance = fold.live[key]
        hashed = _hash(self._write(instance), instance._eventsrc_memory)
        for other, segment in stored:
            if other != hashed:
                raise self._first_field(key, sequence, segment, instance)

    def _check_covered(self, held: _Held, fold: PartitionFold) -> None:
        """Where the fold stands at the checkpoint's position: it covers every event below, and counted them right."""
        said = held.stored.checkpoint
        for name, stored, folded in (
            ("events", said.events, fold.events),
            ("aggregates", said.aggregates, fold.aggregates),
        ):
            if stored != folded:
                raise self._difference(held.stored.id, None, None, name, stored, folded)
        for key, instance in fold.live.items():
            encoded, sequence = held.states.get(key), instance._eventsrc_sequence
            stored_sequence = None if encoded is None else entry_sequence(encoded)
            if stored_sequence is None or stored_sequence < sequence:
                raise self._difference(held.stored.id, key, sequence, "sequence", stored_sequence, sequence)

    def _check_all_were_reached(self, fold: PartitionFold) -> None:
        for key, wanted in self._expected.items():
            for sequence, stored in wanted.items():
                last = fold.live[key]._eventsrc_sequence if key in fold.live else 0
                raise self._difference(self._segment_of[stored[0][1]], key, sequence, "sequence", sequence, last)

    def _first_field(self, key: bytes, sequence: int, segment: uuid.UUID, folded: Any) -> _Found:
        encoded = self._blocks[segment].get(key) or b""
        stored = self._instance(key, encoded)
        checkpoint = self._segment_of[segment]
        for each in self._aggregate.record.fields:
            one, other = getattr(stored, each.name), getattr(folded, each.name)
            if one != other:
                return self._difference(checkpoint, key, sequence, each.name, one, other)
        if stored._eventsrc_memory != folded._eventsrc_memory:
            return self._difference(
                checkpoint, key, sequence, "commands remembered", stored._eventsrc_memory, folded._eventsrc_memory
            )
        return self._difference(checkpoint, key, sequence, None, self._write(stored), self._write(folded))

    def _instance(self, key: bytes, encoded: bytes) -> Any:
        instance = self._aggregate.new(key)
        instance._eventsrc_sequence, instance._eventsrc_memory, state = split_entry(encoded)
        self._read(state, instance)
        return instance

    def _difference(
        self, checkpoint: uuid.UUID, key: bytes | None, sequence: int | None, name: str | None, stored: Any, folded: Any
    ) -> _Found:
        return _Found(Difference(self._aggregate.name, self._number, key, sequence, name, stored, folded, checkpoint))


def _hash(state: bytes, memory: bytes) -> bytes:
    return hashlib.blake2b(b"%d:%b%b" % (len(state), state, memory), digest_size=16).digest()
