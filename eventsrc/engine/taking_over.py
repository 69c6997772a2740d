"""The steps of taking partitions over: stable offset, barrier, reading the events up to it, opening.

Every step belongs to an attempt; answers to an attempt that is over are ignored. What the verdicts are stands in
`engine.recovery`, which phases there are in `engine.takeover`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from eventsrc.clock import HybridClock
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.control import Barrier, write_barrier
from eventsrc.codec.keys import barrier_key
from eventsrc.engine.batch import Batch, BatchKind, Section
from eventsrc.engine.compiled import CompiledAggregate
from eventsrc.engine.counts import Counts
from eventsrc.engine.effects import (
    Effect,
    EventsPolled,
    FetchStableOffset,
    Instant,
    Open,
    StableOffsetFetched,
    StartReading,
    StopReading,
    TransactionCommitted,
)
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.notes import Owner, TopicIds, read_note
from eventsrc.engine.partition import Partition, PartitionKey
from eventsrc.engine.recovery import first_position, resume_position, verify_stable_offset
from eventsrc.engine.takeover import Ownership, Phase, PhaseEvent
from eventsrc.errors import LogInconsistent, UnknownSchema
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Position

logger = logging.getLogger("eventsrc.engine")

SCHEMA_RETRY_S = 1.0


@dataclass(slots=True)
class Takeovers:
    """Every partition that is ours, from its assignment on. `halt` stops one loudly and says what else that undoes."""

    pipeline: Pipeline
    catalog: Catalog
    owner: Owner
    topic_ids: Mapping[str, TopicIds]
    new_uuid: Callable[[], uuid.UUID]
    halt: Callable[[Ownership, str], list[Effect]]
    owned: dict[PartitionKey, Ownership] = field(default_factory=dict)
    compiled: dict[str, CompiledAggregate] = field(default_factory=dict)
    _attempts: int = 0

    def __post_init__(self) -> None:
        self.compiled = {
            name: CompiledAggregate(aggregate, self.catalog) for name, aggregate in self.pipeline.aggregates.items()
        }

    def take_over(self, key: PartitionKey, at: Instant) -> Effect:
        """A partition was assigned."""
        self._attempts += 1
        ownership = Ownership(key, at.monotonic_s, attempt=self._attempts, progress_s=at.monotonic_s)
        self.owned[key] = ownership
        return FetchStableOffset(key, ownership.attempt)

    def restart(self, ownership: Ownership, at: Instant) -> Effect:
        """Begin again at the stable offset, knowing nothing."""
        self._attempts += 1
        ownership.begin_again(self._attempts, at.monotonic_s)
        return FetchStableOffset(ownership.key, ownership.attempt)

    def current_attempt(self, key: PartitionKey, attempt: int) -> Ownership | None:
        """None where an answer belongs to an attempt that is over."""
        ownership = self.owned.get(key)
        return ownership if ownership is not None and ownership.attempt == attempt else None

    def fenced_off(self, fetched: StableOffsetFetched, at: Instant) -> list[Effect]:
        """Earlier owners can commit nothing any more: next is our barrier."""
        ownership = self.current_attempt(fetched.partition, fetched.attempt)
        if ownership is None or ownership.phase is not Phase.FENCING:
            return []
        ownership.proof = fetched.metadata
        ownership.committed = fetched.committed
        ownership.log_start, ownership.log_end = fetched.log_start, fetched.log_end
        ownership.events_start, ownership.events_end = fetched.events_start, fetched.events_end
        ownership.earlier = read_note(fetched.note)
        ownership.resume_from = first_position(fetched)
        ownership.progress_s = at.monotonic_s
        try:
            verify_stable_offset(ownership, self.topic_ids[ownership.key.aggregate])
        except LogInconsistent as wrong:
            return self.halt(ownership, str(wrong))
        ownership.on(PhaseEvent.STABLE_OFFSET)
        return []

    def barriers(self, at: Instant) -> Batch | None:
        """One transaction with the barriers of all partitions that hold the same proof of membership."""
        batch: Batch | None = None
        for ownership in self.owned.values():
            if ownership.phase is not Phase.CLAIMING:
                continue
            if batch is None:
                batch = Batch(BatchKind.BARRIERS, ownership.proof)
            if ownership.proof == batch.metadata:
                batch.sections[ownership.key] = self._barrier(ownership, at)
        return batch

    def _barrier(self, ownership: Ownership, at: Instant) -> Section:
        ids = self.topic_ids[ownership.key.aggregate]
        barrier = Barrier(
            self.owner.instance,
            self.owner.transactional_id,
            self.owner.deployment,
            ids.events,
            ids.commands,
            ownership.resume_from,
            at.wall_us,
        )
        section = Section(
            ownership.key, ownership.resume_from, ownership.resume_from, attempt=ownership.attempt, topics=ids
        )
        section.before = ownership.earlier.claim if ownership.earlier is not None else None
        section.records.append((barrier_key(self.new_uuid()), write_barrier(barrier), at.wall_us // 1000))
        return section

    def claimants(self, batch: Batch) -> list[Ownership]:
        """The partitions whose barriers it carries, as far as they are still ours by the same attempt."""
        if batch.kind is not BatchKind.BARRIERS:
            return []
        found = ((self.owned.get(key), section) for key, section in batch.sections.items())
        return [each for each, section in found if each is not None and each.attempt == section.attempt]

    def claimed(self, section: Section, committed: TransactionCommitted, at: Instant) -> list[Effect]:
        """Its barrier is in the log: read the events up to it."""
        ownership = self.current_attempt(section.key, section.attempt)
        if ownership is None:
            return []
        ownership.term = committed.last_offsets[section.key]
        ownership.on(PhaseEvent.BARRIER_COMMITTED)
        return self.read(ownership, at)

    def read(self, ownership: Ownership, at: Instant) -> list[Effect]:
        """Fold its events from the beginning."""
        aggregate = self.pipeline.aggregates[ownership.key.aggregate]
        ownership.fold = PartitionFold(aggregate, self.catalog)
        ownership.progress_s = at.monotonic_s
        return [StartReading(ownership.key, Position(0))]

    def events_read(self, polled: EventsPolled, at: Instant) -> list[Effect]:
        """Fold what has arrived; a partition whose own barrier is among it opens."""
        effects: list[Effect] = []
        for key, records in polled.records.items():
            ownership = self.owned.get(key)
            if ownership is None or ownership.fold is None or ownership.phase is not Phase.READING:
                continue
            ownership.progress_s = at.monotonic_s
            try:
                if ownership.fold.feed_until(records, ownership.term):
                    effects += self._recovered(ownership, at)
            except LogInconsistent as wrong:
                effects += self.halt(ownership, str(wrong))
            except UnknownSchema as unknown:
                effects += self._block(ownership, unknown, at)
        return effects

    def _recovered(self, ownership: Ownership, at: Instant) -> list[Effect]:
        fold = ownership.fold
        if fold is None or ownership.term is None:
            raise AssertionError("a partition was recovered without having been read")
        ids = self.topic_ids[ownership.key.aggregate]
        position = resume_position(ownership, fold, ids)
        clock = HybridClock()
        clock.merge(fold.last_time)
        ownership.partition = Partition(
            ownership.key,
            self.compiled[ownership.key.aggregate],
            self.pipeline.settings.partitions,
            fold.live,
            position,
            ownership.term,
            clock,
            Counts(),
        )
        ownership.fold = None
        ownership.on(PhaseEvent.OWN_BARRIER_READ)
        logger.info(
            "partition %s open: %d events folded into %d aggregates in %.2f s, commands from offset %d on, term %d",
            ownership.key, fold.events, len(fold.live), at.monotonic_s - ownership.since_s, position, ownership.term,
        )  # fmt: skip
        return [StopReading(ownership.key), Open(ownership.key, position)]

    def _block(self, ownership: Ownership, unknown: UnknownSchema, at: Instant) -> list[Effect]:
        deadline_s = self.pipeline.settings.unknown_schema_deadline
        first_s = ownership.unknown_since.setdefault(unknown.fingerprint, at.monotonic_s)
        if at.monotonic_s - first_s > deadline_s:
            return self.halt(
                ownership,
                f"an event in it is of a schema not known here for {deadline_s:g} s: {unknown}. "
                "Put its .avsc file, from the deployment that wrote it, into the schema directory and restart",
            )
        ownership.on(PhaseEvent.EVENT_SCHEMA_UNKNOWN)
        ownership.fold = None
        ownership.retry_at_s = at.monotonic_s + SCHEMA_RETRY_S
        logger.warning("partition %s waits: %s; put its file into the schema directory", ownership.key, unknown)
        return [StopReading(ownership.key)]
