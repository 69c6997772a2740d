"""Taking checkpoints: which partition's is due, gathering its states between batches, and when they may be written.

    IDLE --due--> GATHERING --every state taken--> SETTLING --the last batch they saw committed--> WRITING --> IDLE
                    ^                                 |
                    +------ a batch was taken back ---+

States are encoded on the loop's thread in slices; live objects carry changes that are not committed yet, so the bytes
go to the writer only once every batch that had been processed by then has committed. The checkpoint's position is where
the partition stood, committed, when gathering began: each state is at least as new. One partition at a time.
Knows nothing of the database: `WriteCheckpoint` is performed elsewhere, and answered.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from eventsrc.codec.catalog import Catalog
from eventsrc.codec.control import Barrier
from eventsrc.codec.framing import prefix_of
from eventsrc.codec.keys import is_control_key
from eventsrc.engine.batch import Batch, Section
from eventsrc.engine.cadence import Cadence
from eventsrc.engine.effects import CheckpointFailed, CheckpointWritten, Instant, WriteCheckpoint
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.lineage import Committed, Gathering, Lineage, Stage, is_nearly_all
from eventsrc.engine.notes import TopicIds
from eventsrc.engine.partition import Partition, PartitionKey
from eventsrc.engine.totals import Totals
from eventsrc.engine.transaction import TransactionLane
from eventsrc.errors import EncodingError, SnapshotDamaged
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.position import Offset
from eventsrc.model.snapshot import Anchor, Checkpoint, FoldedBy, StoredCheckpoint

logger = logging.getLogger("eventsrc.checkpoint")

SLICE_STATES = 400
SLICE_BYTES = 1 << 20
LAST_RETRY_S = 30.0
HANGING_S = 10.0


@dataclass(slots=True)
class Checkpoints:
    """Of one worker. `enabled`: there is a snapshot store."""

    catalog: Catalog
    cadence: Cadence
    lane: TransactionLane
    topic_ids: Mapping[str, TopicIds]
    clock_s: Callable[[], float]
    enabled: bool
    totals: Totals
    lineages: dict[PartitionKey, Lineage] = field(default_factory=dict)
    problem: str | None = None
    failing_since_us: int | None = None
    _active: Lineage | None = None
    _attempts: int = 0
    _failures: int = 0
    _retry_at_s: float = 0.0
    _requested: set[PartitionKey] = field(default_factory=set)

    # ---- partitions

    def opened(
        self,
        partition: Partition,
        fold: PartitionFold,
        barrier: tuple[bytes, bytes],
        loaded: StoredCheckpoint | None,
        head: uuid.UUID | None,
        claimed: bool,
        now_s: float,
    ) -> None:
        """It was recovered from `loaded`, or from the whole log. `barrier`: key and value of our own."""
        committed = Committed(
            Offset(partition.term),
            *barrier,
            partition.position,
            0,
            fold.highest_source,
            fold.events,
            fold.aggregates,
            fold.last_time,
        )
        dirty = None if loaded is None else fold.states.touched()
        due_s = now_s + self.cadence.interval_s
        self.lineages[partition.key] = Lineage(partition, committed, loaded, head, claimed, dirty, due_s)

    def left(self, key: PartitionKey) -> None:
        """It is no longer open here. What is being written for it may still become its head, or be void."""
        lineage = self.lineages.pop(key, None)
        if lineage is not None and lineage is self._active:
            self._active = None

    # ---- batches

    def committed(self, section: Section, offset: Offset | None) -> None:
        """A batch of commands has committed; `offset` is that of its last record in this partition."""
        lineage = self.lineages.get(section.key)
        if lineage is None or lineage.partition is not section.partition:
            return
        at = lineage.committed
        at.commands_position, at.applied = section.position, section.applied
        if offset is None:
            if section.records:
                raise AssertionError(f"events of partition {section.key} were committed at an offset that is not known")
            return
        at.offset = offset
        at.key, at.value, _ = section.records[-1]
        at.events += len(section.records)
        at.aggregates += section.created
        if lineage.dirty is not None:
            lineage.dirty.update(section.undo)
            if is_nearly_all(lineage, lineage.dirty):
                lineage.dirty = None  # the next one holds every state: which of them have changed is of no use to it

    def decided(self, batch: Batch) -> list[WriteCheckpoint]:
        """Every section of it was told to `committed`: what waited for it may be written."""
        active = self._active
        if active is None or active.gathering is None or active.gathering.awaits is not batch:
            return []
        return [self._write(active, active.gathering)]

    def taken_back(self, key: PartitionKey) -> None:
        """States may have been encoded with changes that are gone: they are gathered again."""
        lineage = self._active
        if lineage is None or lineage.partition.key != key or lineage.gathering is None:
            return
        gathering = lineage.gathering
        if gathering.stage is not Stage.WRITING:
            of_all = is_nearly_all(lineage, gathering.changed)
            lineage.gathering = replace(
                gathering, stage=Stage.GATHERING, of_all=of_all, slices=None, entries=[], awaits=None
            )

    # ---- gathering

    @property
    def gathering(self) -> bool:
        """A slice can be taken now."""
        active = self._active
        return active is not None and active.gathering is not None and active.gathering.stage is Stage.GATHERING

    def begin_due(self, at: Instant) -> None:
        """Begin with the partition that needs it most, if one is due."""
        self._notice_hanging(at)
        if self._active is not None or not self.enabled or at.monotonic_s < self._retry_at_s:
            return
        able = [each for each in self.lineages.values() if each.retry_at_s <= at.monotonic_s]
        changed = [each for each in able if each.changed]
        asked = next((each for each in able if each.partition.key in self._requested), None)
        if asked is not None:
            self._begin(asked)
        elif changed and self.cadence.affords(at.monotonic_s):
            if self.cadence.is_near(self.predicted_s, sum(each.tail for each in self.lineages.values())):
                longest = max(changed, key=lambda each: each.tail)
                if longest.tail:
                    self._begin(longest)
            else:
                overdue = min(changed, key=lambda each: each.due_s)
                if at.monotonic_s >= overdue.due_s:
                    self._begin(overdue)

    def _notice_hanging(self, at: Instant) -> None:
        gathering = self._active.gathering if self._active is not None else None
        if gathering is None or gathering.stage is not Stage.WRITING:
            return
        gathering.writing_since_s = gathering.writing_since_s or at.monotonic_s
        waited_s = at.monotonic_s - gathering.writing_since_s
        if waited_s > HANGING_S:
            self.trouble(f"the snapshot store has not answered for {waited_s:.0f} s", at)

    @property
    def predicted_s(self) -> float:
        """How long this worker would take to recover, were it killed now."""
        of = self.lineages.values()
        return self.cadence.predicted_s(sum(each.tail for each in of), sum(each.size_bytes for each in of))

    def why_not(self) -> str:
        """What keeps checkpoints from holding the objective."""
        if not self.enabled:
            return "no database is configured, so there are no checkpoints (set DATABASE_URL)"
        if self.problem is not None:
            return self.problem
        loading_s = self.cadence.predicted_s(0, sum(each.size_bytes for each in self.lineages.values()))
        if loading_s > self.cadence.objective_s:
            return (
                f"starting and loading the states takes {loading_s:.1f} s of it, by the latest load of this worker, and no "
                "checkpoint shortens that; declare a longer objective, or add workers"
            )
        return (
            f"checkpoints come as fast as checkpoint_overhead ({self.cadence.budget:g}) lets them; allow more, declare a longer "
            "objective, or add workers"
        )

    def requested(self, key: PartitionKey) -> None:
        """An operator wants one now, or as soon as the partition is open."""
        self._requested.add(key)

    def _begin(self, lineage: Lineage) -> None:
        self._attempts += 1
        changed = None if lineage.newest is None else lineage.dirty
        lineage.dirty = set()
        requested = lineage.partition.key in self._requested
        self._requested.discard(lineage.partition.key)
        lineage.gathering = Gathering(
            self._attempts,
            replace(lineage.committed),
            changed,
            is_nearly_all(lineage, changed),
            requested=requested,
            began_s=self.clock_s(),
        )
        self._active = lineage

    def gather(self, at: Instant) -> list[WriteCheckpoint]:
        """Encode one slice of states."""
        lineage = self._active
        if lineage is None or lineage.gathering is None or lineage.gathering.stage is not Stage.GATHERING:
            return []
        gathering, began_s = lineage.gathering, self.clock_s()
        try:
            done = self._encode_slice(lineage, gathering)
        except (EncodingError, SnapshotDamaged) as wrong:
            self._unencodable(lineage, gathering, str(wrong), at)
            return []
        finally:
            self.cadence.spent(self.clock_s() - began_s)
        if not done:
            return []
        key = lineage.partition.key
        pending = [batch for batch in (self.lane.ahead, self.lane.current) if batch is not None]
        gathering.awaits = next((batch for batch in pending if key in batch.sections), None)
        gathering.stage = Stage.SETTLING
        return [] if gathering.awaits is not None else [self._write(lineage, gathering)]

    @staticmethod
    def _encode_slice(lineage: Lineage, gathering: Gathering) -> bool:
        """Whether it was the last one."""
        if gathering.slices is None:
            gathering.slices = lineage.states.slices(None if gathering.of_all else gathering.changed)
        try:
            gathering.entries += gathering.slices.take(SLICE_STATES, SLICE_BYTES)
        except EncodingError as wrong:
            raise EncodingError(f"the state of {lineage.partition.key.aggregate} {wrong}") from wrong
        return gathering.slices.done

    def _write(self, lineage: Lineage, gathering: Gathering) -> WriteCheckpoint:
        gathering.stage, gathering.awaits = Stage.WRITING, None
        partition, began, now = lineage.partition, gathering.at, lineage.committed
        aggregate = partition.compiled.type
        ids = self.topic_ids[aggregate.name]
        anchor, source = self._anchor(aggregate, began)
        seen = anchor if now.offset == began.offset else self._anchor(aggregate, now)[0]
        checkpoint = Checkpoint(
            anchor=anchor,
            seen=seen,
            commands_position=began.commands_position,
            term=partition.term,
            applied=began.applied,
            highest_source=began.highest_source if source is None else source,
            events=began.events,
            aggregates=began.aggregates,
            commands_topic_id=ids.commands,
            events_topic_id=ids.events,
            folded_by=FoldedBy(aggregate.version, self.catalog.state_fingerprint(aggregate)),
        )
        entries, gathering.entries = gathering.entries, []
        return WriteCheckpoint(
            partition.key,
            gathering.attempt,
            checkpoint,
            entries,
            lineage.newest,
            lineage.head,
            lineage.claimed,
            gathering.of_all,
        )

    def _anchor(self, aggregate: AggregateType, at: Committed) -> tuple[Anchor, int | None]:
        """And the offset of the command that made it: commands are decided in order, so that one is the highest."""
        source: int | None = None
        if is_control_key(at.key):
            control = self.catalog.control_reader(prefix_of(at.value))(at.value)
            if not isinstance(control, Barrier):
                raise AssertionError(f"a {type(control).__name__} was written as a batch's last record")
            time = max(control.time, at.last_time)
        else:
            meta, _ = self.catalog.event_reader(aggregate, prefix_of(at.value))(at.value)
            time, source = meta.time, meta.source_offset
        return Anchor.of(at.offset, at.key, at.value, time), source

    # ---- answers

    def written(self, happened: CheckpointWritten, at: Instant) -> None:
        """It is the head now; `merged` ones replace it later under the same states."""
        lineage = self.lineages.get(happened.partition)
        if happened.attempt is None:
            if lineage is not None and lineage.newest is not None and lineage.newest.id == happened.replaces:
                lineage.newest, lineage.head = happened.stored, happened.stored.id
            return
        gathering = self._answered(happened.partition, happened.attempt)
        if lineage is None or gathering is None:
            return
        lineage.head, lineage.claimed = happened.stored.id, True
        if not gathering.extends_damaged:
            lineage.newest = happened.stored
        lineage.due_s = at.monotonic_s + self.cadence.interval_s
        written = [segment for run in happened.stored.runs[-1:] for segment in run if happened.states]
        self.totals.checkpoint_written(
            sum(segment.size_bytes for segment in written), self.clock_s() - gathering.began_s
        )
        if self.problem is not None:
            logger.info("snapshots are written again")
        self.problem, self.failing_since_us, self._failures = None, None, 0
        logger.debug(
            "checkpoint of partition %s at position %d: %d states changed, %d bytes in all",
            happened.partition, happened.stored.checkpoint.position, happened.states, happened.stored.size_bytes,
            extra={"partition": str(happened.partition), "offset": happened.stored.checkpoint.position},
        )  # fmt: skip

    def failed(self, happened: CheckpointFailed, at: Instant) -> bool:
        """Its states are dirty again; where the head is not ours to extend, the next one holds every state. Returns whether
        our claim was refused: a later term has the head."""
        lineage = self.lineages.get(happened.partition)
        if happened.attempt is None:
            if lineage is not None:
                self._nothing_to_extend(lineage)
            return False
        gathering = self._answered(happened.partition, happened.attempt)
        if lineage is None or gathering is None:
            return False
        self._give_back(lineage, gathering)
        self.totals.checkpoints_failed += 1
        refused = happened.superseded and not lineage.claimed
        if happened.superseded:
            lineage.newest, lineage.dirty, lineage.claimed = None, None, False
        self._failures += 1
        self._retry_at_s = at.monotonic_s + min(LAST_RETRY_S, 0.5 * 2 ** min(self._failures, 10))
        self.trouble(happened.reason, at)
        return refused

    def _give_back(self, lineage: Lineage, gathering: Gathering) -> None:
        """What it would have stored is changed still, and wanted still."""
        if gathering.changed is None:
            lineage.dirty = None
        elif lineage.dirty is not None:
            lineage.dirty |= gathering.changed
        if gathering.requested:
            self._requested.add(lineage.partition.key)

    def _unencodable(self, lineage: Lineage, gathering: Gathering, reason: str, at: Instant) -> None:
        """An `apply` put a value into a field that its type does not hold (another event may mend it), or what was stored is
        no entry: no checkpoint of this partition for now. Commands go on, as they would without snapshots."""
        lineage.gathering, self._active = None, None
        self._give_back(lineage, gathering)
        self.totals.checkpoints_failed += 1
        lineage.retry_at_s = at.monotonic_s + LAST_RETRY_S
        self.trouble(reason, at)

    def _nothing_to_extend(self, lineage: Lineage) -> None:
        lineage.newest, lineage.dirty = None, None
        gathering = lineage.gathering
        if gathering is not None and gathering.stage is Stage.WRITING:
            gathering.extends_damaged = True
        elif gathering is not None:
            lineage.gathering, self._active = None, None
            self._give_back(lineage, gathering)
            lineage.newest, lineage.dirty = None, None

    def trouble(self, reason: str, at: Instant) -> None:
        """The store does not work; told once."""
        if self.problem is None:
            self.failing_since_us = at.wall_us
            logger.warning(
                "no checkpoint can be written: %s. Processing goes on; a recovery would read more of the log", reason
            )
        self.problem = reason

    def _answered(self, key: PartitionKey, attempt: int) -> Gathering | None:
        lineage = self.lineages.get(key)
        gathering = lineage.gathering if lineage is not None else None
        if lineage is None or gathering is None or (gathering.attempt, gathering.stage) != (attempt, Stage.WRITING):
            return None
        lineage.gathering = None
        self._active = None
        return gathering
