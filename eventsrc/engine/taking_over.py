"""The steps of taking partitions over: stable offset, barrier, snapshot, reading the events up to the barrier, opening.

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
from eventsrc.codec.control import Barrier
from eventsrc.codec.keys import barrier_key
from eventsrc.codes import HaltCode
from eventsrc.engine.batch import Batch, BatchKind, Section
from eventsrc.engine.cadence import Cadence
from eventsrc.engine.checkpoint import Checkpoints
from eventsrc.engine.compiled import CompiledAggregate
from eventsrc.engine.counts import Counts
from eventsrc.engine.effects import (
    Effect,
    EventsPolled,
    FetchStableOffset,
    Instant,
    LoadSnapshot,
    Open,
    SnapshotClaimRefused,
    SnapshotLoaded,
    StableOffsetFetched,
    StartReading,
    StopReading,
    TransactionCommitted,
)
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.notes import Owner, TopicIds, read_note
from eventsrc.engine.partition import Partition, PartitionKey
from eventsrc.engine.recovery import first_position, resume_position, verify_stable_offset
from eventsrc.engine.schema_waits import SchemaWaits
from eventsrc.engine.snapshots import DISCARD, verify_below
from eventsrc.engine.takeover import Ownership, Phase, PhaseEvent
from eventsrc.engine.totals import Totals
from eventsrc.errors import LogInconsistent, SnapshotDamaged, UnknownSchema
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Position
from eventsrc.model.snapshot import FoldedBy

logger = logging.getLogger("eventsrc.engine")

SNAPSHOT_DEADLINE_S = 10.0
CLAIMS = 2


@dataclass(slots=True)
class _Replay:
    """Of all partitions that are read at the same time, as they share one reader."""

    since_s: float
    events: int = 0


@dataclass(slots=True)
class Takeovers:
    """Every partition that is ours, from its assignment on. `halt` stops one loudly and says what else that undoes."""

    pipeline: Pipeline
    catalog: Catalog
    owner: Owner
    topic_ids: Mapping[str, TopicIds]
    new_uuid: Callable[[], uuid.UUID]
    halt: Callable[[Ownership, str, str], list[Effect]]
    schema_waits: SchemaWaits
    checkpoints: Checkpoints
    totals: Totals
    owned: dict[PartitionKey, Ownership] = field(default_factory=dict)
    compiled: dict[str, CompiledAggregate] = field(default_factory=dict)
    _attempts: int = 0
    _replay: _Replay = field(default_factory=lambda: _Replay(0.0))
    _said_problem: str | None = None

    def __post_init__(self) -> None:
        self.compiled = {
            name: CompiledAggregate(aggregate, self.catalog) for name, aggregate in self.pipeline.aggregates.items()
        }

    @property
    def has_store(self) -> bool:
        return self.checkpoints.enabled

    @property
    def cadence(self) -> Cadence:
        return self.checkpoints.cadence

    @property
    def live_limit(self) -> int:
        """How many aggregates of one partition may be objects at once."""
        return max(1, self.pipeline.settings.live_aggregates // max(1, len(self.owned)))

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
            return self.halt(ownership, str(wrong), wrong.code)
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
        section.records.append(
            (
                barrier_key(self.new_uuid()),
                self.compiled[ownership.key.aggregate].write_barrier(barrier),
                at.wall_us // 1000,
            )
        )
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
        ownership.barrier = section.records[0][:2]
        ownership.on(PhaseEvent.BARRIER_COMMITTED)
        ownership.progress_s = ownership.loading_since_s = at.monotonic_s
        if not self.has_store:
            ownership.on(PhaseEvent.SNAPSHOT_LOADED)
            return self.read(ownership, at)
        aggregate = self.pipeline.aggregates[ownership.key.aggregate]
        folded_by = FoldedBy(aggregate.version, self.catalog.state_fingerprint(aggregate))
        ids = self.topic_ids[ownership.key.aggregate]
        return [LoadSnapshot(ownership.key, ownership.attempt, ownership.term, ids, folded_by)]

    def loaded(self, loaded: SnapshotLoaded, at: Instant) -> list[Effect]:
        """What the store has is known: read the events after it."""
        ownership = self.current_attempt(loaded.partition, loaded.attempt)
        if ownership is None or ownership.phase is not Phase.LOADING or ownership.term is None:
            return []
        if loaded.problem is None:
            self.store_answered(at)
        for line in loaded.refused:
            logger.warning("partition %s recovers from further back: %s", ownership.key, line, extra=_about(ownership))
        if loaded.problem is not None and loaded.problem != self._said_problem:
            logger.warning("partition %s, and others, recover from their logs alone: %s", ownership.key, loaded.problem)
        self._said_problem = loaded.problem
        if loaded.checkpoint is not None:
            try:
                verify_below(loaded.checkpoint.checkpoint, ownership.term)
            except LogInconsistent as wrong:
                return self.halt(ownership, str(wrong), wrong.code)
            self.cadence.loaded(loaded.checkpoint.size_bytes, loaded.took_s)
        ownership.snapshot, ownership.claims_refused = loaded, 0
        ownership.on(PhaseEvent.SNAPSHOT_LOADED)
        return self.read(ownership, at)

    def store_answered(self, at: Instant) -> None:
        """It loads one partition after the other: that one, and those that wait for their turn, go on waiting."""
        for ownership in self.owned.values():
            if ownership.phase is Phase.LOADING:
                ownership.loading_since_s = at.monotonic_s

    def claim_refused(self, refused: SnapshotClaimRefused, at: Instant) -> list[Effect]:
        """Another owner came after us, and a new takeover will show it; or the log was truncated, and it will not."""
        ownership = self.current_attempt(refused.partition, refused.attempt)
        if ownership is None or ownership.phase is not Phase.LOADING:
            return []
        ownership.claims_refused += 1
        if ownership.claims_refused > CLAIMS:
            return self.halt(
                ownership,
                f"{refused.reason}, at {ownership.claims_refused} takeovers in a row: the events topic was truncated, or its "
                f"owner changes all the time. Stop the workers and restore the topic. {DISCARD}",
                HaltCode.CLAIM_REFUSED,
            )
        logger.warning("partition %s: %s; taking it over again", ownership.key, refused.reason, extra=_about(ownership))
        ownership.on(PhaseEvent.CLAIM_REFUSED)
        return [self.restart(ownership, at)]

    def waited_for_snapshot(self, at: Instant) -> list[Effect]:
        """A store that does not answer must not hold recovery back: the log alone is enough."""
        effects: list[Effect] = []
        for ownership in self.owned.values():
            if ownership.phase is Phase.LOADING and at.monotonic_s - ownership.loading_since_s > SNAPSHOT_DEADLINE_S:
                problem = f"the snapshot store has not answered for {SNAPSHOT_DEADLINE_S:g} s"
                given_up = SnapshotLoaded(ownership.key, ownership.attempt, None, None, None, False, (), problem)
                effects += self.loaded(given_up, at)
        return effects

    def read(self, ownership: Ownership, at: Instant) -> list[Effect]:
        """Fold its events from the checkpoint that was loaded, or from the beginning."""
        aggregate = self.pipeline.aggregates[ownership.key.aggregate]
        snapshot = ownership.snapshot
        if snapshot is None or snapshot.checkpoint is None:
            ownership.fold = PartitionFold(aggregate, self.catalog)
            ownership.reading_from = Position(0)
        else:
            start = snapshot.checkpoint.checkpoint
            ownership.fold = PartitionFold(aggregate, self.catalog, start=start, stored=snapshot.states)
            ownership.reading_from = Position(start.anchor.offset)
        ownership.progress_s = ownership.reading_since_s = at.monotonic_s
        if not any(each.phase is Phase.READING and each is not ownership for each in self.owned.values()):
            self._replay = _Replay(at.monotonic_s)
        return [StartReading(ownership.key, ownership.reading_from)]

    def events_read(self, polled: EventsPolled, at: Instant) -> list[Effect]:
        """Fold what has arrived; a partition whose own barrier is among it opens."""
        effects: list[Effect] = []
        for key, records in polled.records.items():
            ownership = self.owned.get(key)
            if ownership is None or ownership.fold is None or ownership.phase is not Phase.READING:
                continue
            ownership.progress_s = at.monotonic_s
            try:
                fold = ownership.fold
                if fold.feed_until(records, ownership.term):
                    effects += self._recovered(ownership, at)
                elif len(fold.live) > self.live_limit:
                    fold.states.cool(len(fold.live) - self.live_limit, ())
            except LogInconsistent as wrong:
                effects += self.halt(ownership, str(wrong), wrong.code)
            except SnapshotDamaged as damaged:
                effects += self.halt(ownership, f"{damaged}. {DISCARD}", HaltCode.CHECKPOINT_DAMAGED)
            except UnknownSchema as unknown:
                too_long = self.schema_waits.too_long(ownership, unknown, at)
                if too_long is None:
                    effects += self.schema_waits.event(ownership, unknown, at)
                else:
                    effects += self.halt(ownership, too_long, HaltCode.EVENT_SCHEMA_MISSING)
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
            fold.states,
            position,
            ownership.term,
            clock,
            Counts(),
        )
        ownership.fold = None
        ownership.on(PhaseEvent.OWN_BARRIER_READ)
        start = fold.start
        replayed = fold.events - (start.events if start is not None else 0)
        self._replay.events += replayed
        self.totals.recovered(at.monotonic_s - ownership.since_s, replayed)
        if not any(each.phase is Phase.READING for each in self.owned.values()):
            self.cadence.replayed(self._replay.events, at.monotonic_s - self._replay.since_s)
        logger.info(
            "partition %s open after %.2f s: %d aggregates, %s and %d events after it; commands from offset %d on, term %d",
            ownership.key, at.monotonic_s - ownership.since_s, fold.aggregates,
            "the log's beginning" if start is None else f"the checkpoint at position {start.position}", replayed, position,
            ownership.term,
            extra={"partition": str(ownership.key), "offset": position, "term": ownership.term, "events": replayed},
        )  # fmt: skip
        if fold.ignored:
            logger.warning(
                "partition %s: %d events of owners that had been deposed are ignored, the first at offset %d; none of ours "
                "writes such: look who else does", ownership.key, fold.ignored, fold.first_ignored,
            )  # fmt: skip
        self._enter(ownership, fold, at)
        return [StopReading(ownership.key), Open(ownership.key, position)]

    def _enter(self, ownership: Ownership, fold: PartitionFold, at: Instant) -> None:
        """It is open: its checkpoints begin."""
        snapshot, partition, barrier = ownership.snapshot, ownership.partition, ownership.barrier
        if partition is None or barrier is None:
            raise AssertionError("a partition is open without its state or its barrier")
        if snapshot is None:
            self.checkpoints.opened(partition, fold, barrier, None, None, False, at.monotonic_s)
            return
        self.checkpoints.opened(
            partition, fold, barrier, snapshot.checkpoint, snapshot.head, snapshot.claimed, at.monotonic_s
        )
        if snapshot.problem is not None:
            self.checkpoints.trouble(snapshot.problem, at)
        ownership.snapshot = None


def _about(ownership: Ownership) -> dict[str, object]:
    """What a log line is about."""
    return {"partition": str(ownership.key), "term": ownership.term}
