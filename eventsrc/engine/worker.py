"""A whole worker as a pure machine: inputs in the past tense -> effects in the imperative.

Decides which partition is in which phase, what the one transaction carries, and what goes down with it when it
aborts. Knows no clock, socket or thread: readings come with each input, and one driver performs the effects.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eventsrc.codec.catalog import Catalog
from eventsrc.codes import HaltCode
from eventsrc.engine.announcing import Announcements
from eventsrc.engine.batch import Batch, BatchKind, Section
from eventsrc.engine.cadence import Cadence
from eventsrc.engine.checkpoint import Checkpoints
from eventsrc.engine.decide import Limits, SectionDecider, Surroundings
from eventsrc.engine.effects import (
    Assigned,
    AwaitTransaction,
    CheckpointFailed,
    CheckpointRequested,
    CheckpointWritten,
    CommandsPolled,
    Commit,
    Effect,
    EventsPolled,
    FindBlocker,
    Halt,
    Input,
    Instant,
    LogRefused,
    LoopTurned,
    Lost,
    Open,
    Pause,
    ProducerReady,
    ReloadSchemas,
    ReplaceProducer,
    Revoked,
    Revoking,
    SendAnswers,
    ShutdownRequested,
    SnapshotClaimRefused,
    SnapshotLoaded,
    SnapshotPartRead,
    StableOffsetFetched,
    StopReading,
    TakeoverRefused,
    Ticked,
    TransactionAborted,
    TransactionCommitted,
    TransactionInDoubt,
)
from eventsrc.engine.notes import Owner, TopicIds, write_note
from eventsrc.engine.overlong import Overlong
from eventsrc.engine.pacing import Pacing
from eventsrc.engine.partition import CommandPlace, Partition, PartitionKey
from eventsrc.engine.report import WorkerReport
from eventsrc.engine.reporting import report_of
from eventsrc.engine.schema_waits import SchemaWaits
from eventsrc.engine.snapshots import DISCARD
from eventsrc.engine.takeover import Ownership, Phase, PhaseEvent
from eventsrc.engine.taking_over import Takeovers
from eventsrc.engine.totals import Totals
from eventsrc.engine.transaction import TransactionEvent, TransactionLane, TransactionState
from eventsrc.errors import SnapshotDamaged
from eventsrc.model.pipeline import Pipeline

logger = logging.getLogger("eventsrc.engine")

COOLED_AT_ONCE = 2000

_ON_THE_WAY = (Phase.FENCING, Phase.CLAIMING, Phase.LOADING, Phase.READING)


@dataclass(slots=True)
class WorkerEngine:
    """One worker. `step` is its only way in; it is not reentrant, and belongs to the loop's thread."""

    pipeline: Pipeline
    catalog: Catalog
    owner: Owner
    limits: Limits
    surroundings: Surroundings
    topic_ids: Mapping[str, TopicIds]
    clock_s: Callable[[], float]
    new_uuid: Callable[[], uuid.UUID]
    has_snapshots: bool = False
    lane: TransactionLane = field(default_factory=TransactionLane)
    taken_back: int = 0
    totals: Totals = field(default_factory=Totals)
    _member: bool = False
    _revoking: bool = False
    _stopping: bool = False
    suspicious: bool = False
    overlong_before: Mapping[CommandPlace, int] = field(default_factory=dict)
    """How often deciding a command has taken too long in earlier lives."""
    _refused_for_good: dict[PartitionKey, LogRefused] = field(default_factory=dict)
    _to_claim_anew: set[PartitionKey] = field(default_factory=set)
    """Partitions of the transaction in flight, which a takeover must not overtake."""
    _announcements: Announcements = field(default_factory=Announcements)
    checkpoints: Checkpoints = field(init=False)
    _pacing: Pacing = field(init=False)
    _overlong: Overlong = field(init=False)
    _schema_waits: SchemaWaits = field(init=False)
    _takeovers: Takeovers = field(init=False)

    def __post_init__(self) -> None:
        self._pacing = Pacing(self.limits.records, self.suspicious)
        of = self.pipeline.settings
        self._overlong = Overlong(
            of.max_poll_interval, of.handler_attempts, dict(self.overlong_before), self.surroundings.isolated
        )
        self.checkpoints = Checkpoints(
            self.catalog,
            Cadence(of.recovery_time_objective, of.checkpoint_interval, of.checkpoint_overhead),
            self.lane,
            self.topic_ids,
            self.clock_s,
            self.has_snapshots,
            self.totals,
        )
        self._schema_waits = SchemaWaits(self.pipeline, self.surroundings)
        self._takeovers = Takeovers(
            self.pipeline,
            self.catalog,
            self.owner,
            self.topic_ids,
            self.new_uuid,
            self._halt,
            self._schema_waits,
            self.checkpoints,
            self.totals,
        )

    # ---- what the driver may ask

    @property
    def owned(self) -> dict[PartitionKey, Ownership]:
        """Every partition that is ours."""
        return self._takeovers.owned

    @property
    def accepts_commands(self) -> bool:
        """False while a batch is already waiting for the transaction before it, and when stopping."""
        return self.lane.ahead is None and not self._stopping and not self._revoking

    @property
    def wants_commands(self) -> bool:
        """It accepts them, and not one transaction later would be better: while one is in flight, a few commands that are
        decided at once wait for it all the same, and so do those that come after them, for the transaction of those few
        as well. Where deciding takes its time, it is done meanwhile; and the loop is not held up where it has other work."""
        if not self.accepts_commands:
            return False
        return self.lane.current is None or self._pacing.deciding_is_long or self.recovering or self.wants_turns

    @property
    def record_limit(self) -> int:
        """How many commands to poll at once."""
        return self._pacing.record_limit

    @property
    def singly(self) -> bool:
        """One command at a time, each named before it is decided."""
        return self._pacing.singly

    @property
    def proved(self) -> bool:
        """What may have ended an earlier life is behind."""
        return self._pacing.proved

    @property
    def quiet(self) -> bool:
        """Nothing is in flight or ahead: a stopping worker may leave."""
        return self.lane.current is None and self.lane.ahead is None

    @property
    def recovering(self) -> bool:
        """A partition of ours is on its way to being open, or none has been assigned yet."""
        return not self.owned or any(each.phase in _ON_THE_WAY for each in self.owned.values())

    @property
    def wants_turns(self) -> bool:
        """There is work for the moments between batches."""
        return self.checkpoints.gathering or self._too_many_live

    @property
    def _too_many_live(self) -> bool:
        limit = self._takeovers.live_limit
        return any(len(each.partition.live) > limit for each in self.checkpoints.lineages.values())

    def step(self, happened: Input, at: Instant) -> list[Effect]:
        """Take one input; returns the effects to perform, in order."""
        match happened:
            case CommandsPolled():
                return self._commands(happened, at)
            case TransactionCommitted():
                return self._committed(happened, at)
            case EventsPolled():
                return self._takeovers.events_read(happened, at)
            case Ticked():
                return self._ticked(at)
            case LoopTurned():
                return self._turned(at)
            case Assigned():
                self._member = True
                self.totals.rebalances += 1
                return [effect for key in happened.partitions for effect in self._assigned(key, at)]
            case Revoking():
                return self._hold()
            case Revoked() | Lost():
                self._member = self._member and not isinstance(happened, Lost)
                return self._leave(happened.partitions, at)
            case StableOffsetFetched():
                return self._takeovers.fenced_off(happened, at) + self._advance(at)
            case TakeoverRefused():
                ownership = self._takeovers.current_attempt(happened.partition, happened.attempt)
                if ownership is None or ownership.phase in (Phase.OPEN, Phase.WAITING) or ownership.went_on:
                    return []
                return self._halt(ownership, happened.reason, happened.code)
            case LogRefused():
                return self._refused(happened)
            case TransactionAborted():
                return self._aborted(happened, at)
            case TransactionInDoubt():
                return self._in_doubt(happened, at)
            case ProducerReady():
                self.lane.on(TransactionEvent.PRODUCER_READY)
                return self._advance(at)
            case SnapshotLoaded():
                return self._takeovers.loaded(happened, at)
            case SnapshotPartRead():
                self._takeovers.store_answered(at)
                return []
            case SnapshotClaimRefused():
                return self._takeovers.claim_refused(happened, at)
            case CheckpointWritten():
                self.checkpoints.written(happened, at)
                return []
            case CheckpointFailed():
                return self._claim_refused(happened.partition, at) if self.checkpoints.failed(happened, at) else []
            case CheckpointRequested():
                self.checkpoints.requested(happened.partition)
                return []
            case ShutdownRequested():
                self._stopping = True
                return self._advance(at)

    def report(self, at: Instant, ends: Mapping[PartitionKey, int] | None = None) -> WorkerReport:
        """What there is to say of this worker now. `ends`: of commands topics, as far as they are known."""
        of, ends = self.checkpoints, ends or {}
        return WorkerReport(
            self.owner.instance,
            at.wall_us,
            of.predicted_s,
            self.pipeline.settings.recovery_time_objective,
            of.problem if of.enabled else of.why_not(),
            of.failing_since_us,
            tuple(
                report_of(each, of.lineages.get(key), of.cadence, at, ends.get(key))
                for key, each in sorted(self.owned.items())
            ),
            self.pipeline.name,
            self._member,
            self._stopping,
            self.pipeline.settings.max_poll_interval,
            self.totals.report(),
        )

    # ---- commands

    def _commands(self, polled: CommandsPolled, at: Instant) -> list[Effect]:
        effects: list[Effect] = []
        batch = Batch(BatchKind.COMMANDS, polled.metadata)
        deadline_s = at.monotonic_s + self.pipeline.settings.transaction_interval
        limits = self.limits
        for key, records in polled.records.items():
            ownership = self.owned.get(key)
            if ownership is None or ownership.phase is not Phase.OPEN or ownership.partition is None:
                continue  # fetched before it was paused, or left: its owner reads it again
            partition = ownership.partition
            if not partition.follows(records):
                effects.append(Open(key, partition.reopened()))
                continue
            decider = SectionDecider(partition, batch, limits, self.surroundings, at.wall_us)
            try:
                taken = decider.run(records, self.clock_s, deadline_s)
            except SnapshotDamaged as damaged:
                decider.take_back()
                effects += self._halt(ownership, f"{damaged}. {DISCARD}", HaltCode.CHECKPOINT_DAMAGED)
                continue
            if partition.waiting_for is not None:
                effects += self._schema_waits.command(ownership, at)
            elif taken < len(records):
                effects.append(Open(key, partition.reopened()))  # the batch is full: read the rest again
        for section in batch.sections.values():
            partition = self._partition(section)
            section.applied = partition.counts.applied
            section.counts_after = partition.counts.copy()
            section.note = write_note(
                self.owner, partition.term, partition.counts, self.topic_ids[partition.key.aggregate]
            )
        if batch.sections:
            if self.lane.ahead is not None:
                raise AssertionError("commands were polled while a batch was already ahead")
            took_s = self.clock_s() - at.monotonic_s
            effects += self._overlong.decided(batch, took_s)
            self._pacing.decided(took_s)
            self.lane.ahead = batch
            effects += self._advance(at)
        return effects

    # ---- the transaction

    def _advance(self, at: Instant) -> list[Effect]:
        """Send what is next, if the producer is free: barriers first, then the batch processed ahead. A worker that stops
        takes nothing over any more, and waits for no producer: what has not begun is the next owner's."""
        if self._stopping and self.lane.state is TransactionState.ABSENT:
            return self._drop_ahead()
        if self.lane.state is not TransactionState.IDLE or self._revoking or self._pacing.holds_off(at):
            return []
        barriers = None if self._stopping else self._takeovers.barriers(at)
        batch = barriers or self.lane.take_ahead()
        if batch is None:
            return []
        self.lane.send(batch)
        self.totals.sent(at.monotonic_s)
        return [Commit(batch)]

    def _committed(self, committed: TransactionCommitted, at: Instant) -> list[Effect]:
        batch = committed.batch
        self.lane.decided(batch, producer_usable=not committed.producer_suspect)
        self._pacing.committed(batch)
        self.totals.transaction_committed(batch, at.monotonic_s)
        effects: list[Effect] = []
        if committed.producer_suspect:
            effects.append(self._replace_producer("a late copy of its last commit request may still reach the broker"))
        if batch.kind is BatchKind.BARRIERS:
            for section in () if self._stopping else batch.sections.values():
                effects += self._takeovers.claimed(section, committed, at)
        else:
            for section in batch.sections.values():
                effects += self._note_offset(section, committed)
            effects += self.checkpoints.decided(batch)
            self._announcements.dead_letters(batch, at)
            if batch.answers:
                effects.append(SendAnswers(batch.answers))
        return effects + self._claim_anew(at) + self._advance(at)

    def _note_offset(self, section: Section, committed: TransactionCommitted) -> list[Effect]:
        """An offset that went back means another log under the same name."""
        ownership = self.owned.get(section.key)
        offset = committed.last_offsets.get(section.key)
        self.checkpoints.committed(section, offset)
        if ownership is None or ownership.partition is not section.partition or offset is None:
            return []
        partition = self._partition(section)
        before, partition.last_event_offset = partition.last_event_offset or partition.term, offset
        if offset <= before:
            return self._halt(
                ownership,
                f"an event was written at offset {offset} after one at {before}: the events topic was deleted and made "
                "anew under a running worker. Stop the workers; restore the topic, or start under another pipeline name",
                HaltCode.TOPIC_RECREATED,
            )
        return []

    def _aborted(self, aborted: TransactionAborted, at: Instant) -> list[Effect]:
        self.lane.decided(aborted.batch, producer_usable=aborted.producer_usable)
        self.totals.aborted += 1
        logger.info("a transaction was aborted and will be repeated: %s", aborted.cause)
        effects = self._take_back_all(aborted.batch)
        if not aborted.producer_usable:
            effects.append(self._replace_producer(aborted.cause))
        for ownership in self._takeovers.claimants(aborted.batch):
            ownership.on(PhaseEvent.BARRIER_ABORTED)
            effects.append(self._takeovers.restart(ownership, at))
        self._pacing.not_committed(at)
        return effects + self._claim_anew(at) + self._advance(at)

    def _in_doubt(self, doubt: TransactionInDoubt, at: Instant) -> list[Effect]:
        """Nothing is guessed: every partition in it loses its memory and is taken over anew."""
        self.lane.decided(doubt.batch, producer_usable=False)
        self.totals.in_doubt += 1
        logger.warning(
            "the outcome of a transaction is not known; its partitions are rebuilt from the log: %s", doubt.cause
        )
        if doubt.timed_out:
            self._pacing.timed_out(doubt.batch)
        effects = self._drop_ahead()
        effects.append(self._replace_producer(doubt.cause))
        for ownership in self._takeovers.claimants(doubt.batch) or self._concerned(doubt.batch):
            if ownership.partition is not None:
                ownership.since_s = at.monotonic_s  # it was open: from here on it is being recovered
            ownership.on(PhaseEvent.IN_DOUBT)
            self.checkpoints.left(ownership.key)
            effects += [Pause(ownership.key), self._takeovers.restart(ownership, at)]
        self._to_claim_anew.clear()  # those are taken over
        self._pacing.not_committed(at)
        return effects

    def _claim_refused(self, key: PartitionKey, at: Instant) -> list[Effect]:
        """Of an open partition, because the snapshot store was away when it was taken over: another owner came after us, or
        the log was truncated meanwhile. A new takeover shows which, and halts where it is the log. It waits for our own
        transaction: nothing fences that one, and the new barrier would commit the offset that it read before it."""
        self.checkpoints.left(key)
        self._to_claim_anew.add(key)
        in_flight = self.lane.current
        return self._claim_anew(at) if in_flight is None or key not in in_flight.sections else []

    def _claim_anew(self, at: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for key in sorted(self._to_claim_anew):
            ownership = self.owned.get(key)
            if ownership is None or ownership.phase not in (Phase.OPEN, Phase.WAITING):
                continue
            effects += self._drop_ahead()
            ownership.since_s = at.monotonic_s
            ownership.on(PhaseEvent.CLAIM_REFUSED)
            effects += [Pause(key), self._takeovers.restart(ownership, at)]
        self._to_claim_anew.clear()
        return effects

    def _concerned(self, batch: Batch) -> list[Ownership]:
        """The partitions it carries commands of, as far as they are still ours with the same memory."""
        found = ((self.owned.get(key), section) for key, section in batch.sections.items())
        return [
            each
            for each, section in found
            if each is not None and each.partition is not None and each.partition is section.partition
        ]

    def _take_back_all(self, batch: Batch) -> list[Effect]:
        """Undo the batch ahead, then this one: newest first. Each partition is read again from where they began."""
        effects = self._drop_ahead()
        if batch.kind is BatchKind.COMMANDS:
            effects += self._take_back(batch)
        return effects

    def _drop_ahead(self) -> list[Effect]:
        """The batch decided and not produced is undone, and read again."""
        ahead = self.lane.take_ahead()
        return self._take_back(ahead) if ahead is not None else []

    def _take_back(self, batch: Batch) -> list[Effect]:
        effects: list[Effect] = []
        for ownership in self._concerned(batch):
            section = batch.sections[ownership.key]
            self.taken_back += self._partition(section).take_back(section)
            self.checkpoints.taken_back(ownership.key)
            if ownership.phase is Phase.WAITING:
                ownership.on(PhaseEvent.RETRY)
            effects.append(Open(section.key, section.start))
        return effects

    # ---- membership

    def _assigned(self, key: PartitionKey, at: Instant) -> list[Effect]:
        asked = self._takeovers.take_over(key, at)
        refused = self._refused_for_good.get(key)
        return [asked] if refused is None else self._halt(self.owned[key], refused.reason, refused.code)

    def _refused(self, refused: LogRefused) -> list[Effect]:
        if refused.for_good:  # also for a partition that is not ours now: it would be the same log if it came to us
            self._refused_for_good[refused.partition] = refused
        ownership = self.owned.get(refused.partition)
        if ownership is None or ownership.phase is Phase.HALTED:
            return []
        return self._halt(ownership, refused.reason, refused.code)

    def _hold(self) -> list[Effect]:
        """Before partitions are given up: no new transaction, the batch ahead is dropped, the open one is decided."""
        self._revoking = True
        effects = self._drop_ahead()
        if self.lane.state is TransactionState.IN_FLIGHT:
            effects.append(AwaitTransaction())
        return effects

    def _leave(self, partitions: Sequence[PartitionKey], at: Instant) -> list[Effect]:
        self._revoking = False
        effects = self._drop_ahead()
        for key in partitions:
            ownership = self.owned.pop(key, None)
            self._to_claim_anew.discard(key)
            self.checkpoints.left(key)
            if ownership is not None and ownership.fold is not None:
                effects.append(StopReading(key))
        effects = [
            effect for effect in effects if not (isinstance(effect, Open) and effect.partition not in self.owned)
        ]
        return effects + self._advance(at)

    # ---- time, and ends

    def _ticked(self, at: Instant) -> list[Effect]:
        self._pacing.looked(at, idle=self.quiet and not self.recovering)
        effects: list[Effect] = []
        due = [each for each in self.owned.values() if self._schema_waits.due(each, at)]
        if due:
            effects.append(ReloadSchemas())
        for ownership in due:
            effects += self._look_again(ownership, at)
        for ownership in self.owned.values():
            stalled_s = at.monotonic_s - ownership.progress_s
            if ownership.phase not in _ON_THE_WAY or stalled_s <= self.pipeline.settings.recovery_stall_deadline:
                continue
            ownership.progress_s = ownership.stalled_at_s = at.monotonic_s
            if ownership.phase is Phase.READING:
                words = f"recovery has read nothing for {stalled_s:.0f} s before its own barrier at offset {ownership.term},"
                effects.append(FindBlocker(ownership.key, ownership.attempt, words))
            else:
                logger.warning(
                    "partition %s is %s for %.0f s", ownership.key, ownership.phase.value, stalled_s,
                    extra={"partition": str(ownership.key)},
                )  # fmt: skip
        self._announcements.waiting_letters(at)
        self._announcements.progress(self.owned.values(), at)
        effects += self._takeovers.waited_for_snapshot(at)
        if not self._stopping:
            self.checkpoints.begin_due(at)
        self._announcements.objective(self.checkpoints, at)
        return effects + self._advance(at)

    def _turned(self, at: Instant) -> list[Effect]:
        effects: list[Effect] = list(self.checkpoints.gather(at))
        limit = self._takeovers.live_limit
        for lineage in self.checkpoints.lineages.values():
            partition = lineage.partition
            over = len(partition.live) - limit
            if over > 0:
                partition.states.cool(min(over, COOLED_AT_ONCE), self._uncommitted(partition.key))
        return effects

    def _uncommitted(self, key: PartitionKey) -> set[bytes]:
        """Aggregates whose changes are not committed yet."""
        batches = (self.lane.current, self.lane.ahead)
        sections = [batch.sections[key] for batch in batches if batch is not None and key in batch.sections]
        return {identity for section in sections for identity in section.undo}

    def _look_again(self, ownership: Ownership, at: Instant) -> list[Effect]:
        """The schema that it waits for may be there now."""
        blocked = ownership.phase is Phase.BLOCKED
        ownership.on(PhaseEvent.RETRY)
        return self._takeovers.read(ownership, at) if blocked else self._schema_waits.read_again(ownership, at)

    def _halt(self, ownership: Ownership, reason: str, code: str) -> list[Effect]:
        """Stop this partition loudly. What it decided and did not commit goes back; nothing more is written for it."""
        effects = self._drop_ahead()
        effects = [effect for effect in effects if not (isinstance(effect, Open) and effect.partition == ownership.key)]
        if ownership.fold is not None:
            effects.append(StopReading(ownership.key))
        ownership.on(PhaseEvent.HALT)
        ownership.reason, ownership.code = reason, code
        self.totals.halts += 1
        self.checkpoints.left(ownership.key)
        ownership.begin_again(0, ownership.progress_s)  # of no attempt: whatever is still answered is too late
        return [*effects, Pause(ownership.key), Halt(ownership.key, reason, code)]

    # ---- small things

    def _replace_producer(self, reason: str) -> ReplaceProducer:
        self.totals.producers_replaced += 1
        return ReplaceProducer(reason)

    @staticmethod
    def _partition(section: Section) -> Partition:
        if section.partition is None:
            raise AssertionError("a batch of commands has a section without a partition")
        return section.partition
