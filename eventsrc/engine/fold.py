"""Folding an events partition, with the proof that it is whole.

The log verifies itself: terms, gaps in a sequence, incomplete commands, two events at one place. Recovery, `get`,
`show` and `log` all read through this, so no state is ever shown that the worker would not have computed. What
contradicts itself raises `LogInconsistent` and is never repaired silently.

Records must be fed in offset order, committed ones only, from the partition's beginning, or, where it starts from a
checkpoint, from that one's anchor on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from eventsrc.codec.blocks import StoredRuns
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.control import Barrier
from eventsrc.codec.framing import parse_prefix, prefix_of
from eventsrc.codec.keys import is_control_key, parse_event_key
from eventsrc.codes import HaltCode
from eventsrc.engine.memory import remember
from eventsrc.engine.records import ConsumedRecord
from eventsrc.engine.states import States
from eventsrc.errors import ClassChanged, DecodingError, InvalidSchema, LogInconsistent, UnknownSchema
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.position import Offset, Position
from eventsrc.model.recorded import EventMeta, Recorded
from eventsrc.model.snapshot import Anchor, Checkpoint

Apply = Callable[..., None]


_RESTORE = (
    "Stop the workers and restore the topic. To go on with what is there instead, discard this partition's checkpoints: "
    "eventsrc checkpoint discard"
)


class _Unfinished(NamedTuple):
    """A command of several events, some of which have been read."""

    command_id: bytes
    next_index: int
    total: int
    offset: int


class _Ahead(NamedTuple):
    """A state of the checkpoint had `sequence` when it was loaded; `following`: the next of its events that the log shows."""

    sequence: int
    following: int | None


class _Gap(NamedTuple):
    expected: int
    found: int
    offset: int


@dataclass(slots=True, eq=False)
class PartitionFold:
    """State of a partition as its events tell it.

    `start` and `stored`: the checkpoint to start from, and its states. `states`: the aggregates; `live`: those of them
    that an event has touched, as instances by id. `highest_term`: offset of the latest barrier. `highest_source`: highest
    offset of a command that made an event. `last_time`: the latest hybrid time, of events and barriers. `barriers`:
    offsets of all barriers read. `applied`: commands that made events, by term. `events`, `aggregates`: how many the log
    has told of. `only`: fold one id alone (terms are still followed).
    """

    aggregate: AggregateType
    catalog: Catalog
    only: bytes | None = None
    start: Checkpoint | None = None
    stored: StoredRuns | None = None
    states: States = field(init=False)
    live: dict[bytes, Any] = field(init=False)
    highest_term: int | None = None
    highest_source: int | None = None
    last_time: int = 0
    last_barrier: Barrier | None = None
    writer_commands_topic_id: str | None = None
    barriers: set[int] = field(default_factory=set)
    applied: dict[int, int] = field(default_factory=dict)
    events: int = 0
    aggregates: int = 0
    ignored: int = 0
    first_ignored: int | None = None
    last_offset: int | None = None
    _appliers: dict[type, tuple[Apply, bool]] = field(default_factory=dict)
    _readers: dict[bytes, Callable[[bytes], tuple[EventMeta, Any]]] = field(default_factory=dict)
    _unfinished: dict[bytes, _Unfinished] = field(default_factory=dict)
    _gaps: dict[bytes, _Gap] = field(default_factory=dict)
    _ahead: dict[bytes, _Ahead] = field(default_factory=dict)
    _anchors: list[Anchor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._appliers = {cls: (how.function, how.wants_recorded) for cls, how in self.aggregate.appliers.items()}
        self.states = States(self.aggregate, self.catalog, self.stored)
        self.live = self.states.live
        start = self.start
        if start is not None:
            self._anchors = [start.anchor] if start.seen == start.anchor else [start.anchor, start.seen]
            self.highest_term, self.barriers = start.term, {start.term}
            self.applied, self.highest_source = {start.term: start.applied}, start.highest_source
            self.last_time, self.events, self.aggregates = start.anchor.time, start.events, start.aggregates
            self.writer_commands_topic_id = start.commands_topic_id if start.events else None

    @property
    def position(self) -> Position:
        """The next offset to feed."""
        if self.last_offset is not None:
            return Position(self.last_offset + 1)
        return Position(0 if self.start is None else self.start.anchor.offset)

    def feed(self, offset: int, key: bytes | None, value: bytes | None, timestamp_ms: int) -> Recorded | None:
        """Fold one record. Returns the event if it was folded: it is not where it is a barrier, a tombstone, of a
        deposed owner, or of an id not followed. Raises LogInconsistent, UnknownSchema."""
        if self.last_offset is not None and offset <= self.last_offset:
            raise LogInconsistent(
                f"offset {offset} was read after offset {self.last_offset}: the log was rewritten",
                HaltCode.EVENTS_TRUNCATED,
            )
        if self._anchors and offset >= self._anchors[0].offset and self._is_anchor(offset, key, value):
            return None
        parsed = parse_event_key(key) if key is not None else None
        if parsed is None:
            self._control(offset, key, value)
            self.last_offset = offset
            return None
        if value is None:
            self.last_offset = offset
            return None  # a tombstone takes back an earlier record; the gap it leaves is judged on its own
        identity, sequence, term = parsed
        if term != self.highest_term and not self._accepts(term, offset, key):
            self.last_offset = offset
            self.ignored += 1
            self.first_ignored = offset if self.first_ignored is None else self.first_ignored
            return None
        if self.only is not None and identity != self.only:
            self.last_offset = offset
            return None
        recorded = self._event(offset, identity, sequence, value)
        self.last_offset = offset
        return recorded

    def feed_until(self, records: Sequence[ConsumedRecord], barrier: int | None) -> bool:
        """Feed records up to the barrier at that offset; True once it has been read and the log below it is whole.

        Never stop earlier, at an end offset or a watermark: a decided commit may not be readable yet."""
        for record in records:
            offset = record.offset()
            if offset is None or barrier is None or offset > barrier:
                raise LogInconsistent(
                    f"our own barrier at offset {barrier} was not in the log when offset {offset} was read",
                    HaltCode.EVENTS_TRUNCATED,
                )
            self.feed(offset, record.key(), record.value(), record.timestamp()[1])
            if offset == barrier:
                if barrier not in self.barriers:
                    raise LogInconsistent(
                        f"the record at offset {barrier}, where our own barrier was written, is another",
                        HaltCode.EVENTS_TRUNCATED,
                    )
                self.finish()
                return True
        return False

    def finish(self) -> None:
        """The verdicts that need the whole log: call it once the reader has reached its end or its barrier."""
        for wrong in self.verdicts():
            raise wrong

    def verdicts(self) -> Iterator[LogInconsistent]:
        """All that `finish` might raise: one for each aggregate that is not whole."""
        if self._anchors:
            yield self._other_log(self._anchors[0], "the log ends below it")
        for identity, gap in self._gaps.items():
            yield LogInconsistent(
                f"{self._name(identity)} has no event of sequence {gap.expected}: sequence {gap.found} follows at offset "
                f"{gap.offset}, and no pruning record covers what is missing",
                HaltCode.SEQUENCE_MISSING,
            )
        for identity, left in self._unfinished.items():
            yield self._half(identity, left)
        for identity, (latest, following) in self._ahead.items():
            if following is not None and following <= latest:
                yield LogInconsistent(
                    f"{self._name(identity)} has no event of sequence {following}, and its state in the checkpoint has seen all "
                    f"up to sequence {latest}: the brokers lost committed records. {_RESTORE}",
                    HaltCode.EVENTS_LOST,
                )

    def _is_anchor(self, offset: int, key: bytes | None, value: bytes | None) -> bool:
        """Holds a record against the next anchor; True where it lies below the checkpoint, and is done with."""
        anchor = self._anchors.pop(0)
        if offset != anchor.offset:
            raise self._other_log(anchor, f"the record at offset {offset} comes in its place")
        if not anchor.is_record(key, value):
            raise self._other_log(anchor, f"a record with the key {key!r} is there, or its value is another")
        if self.start is None or offset != self.start.anchor.offset:
            return False
        self.last_offset = offset
        return True

    def _other_log(self, anchor: Anchor, found: str) -> LogInconsistent:
        return LogInconsistent(
            f"the checkpoint that it starts from knows the record with key {anchor.key!r} at offset {anchor.offset}, and "
            f"{found}: the events topic was truncated, or is another one. {_RESTORE}",
            HaltCode.EVENTS_TRUNCATED,
        )

    def _accepts(self, term: int, offset: int, key: bytes | None) -> bool:
        highest = self.highest_term
        if highest is not None and term < highest:
            return False  # its writer had been deposed when it wrote this
        raise LogInconsistent(
            f"the record at offset {offset} (key {key!r}) names term {term}, but the latest barrier before it is "
            f"{'missing' if highest is None else f'at offset {highest}'}: no owner of this partition wrote it",
            HaltCode.FOREIGN_RECORD,
        )

    def _control(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        if key is None or not is_control_key(key):
            raise LogInconsistent(
                f"the record at offset {offset} has the key {key!r}, which is neither an event's nor a control record's: "
                "another program wrote it",
                HaltCode.FOREIGN_RECORD,
            )
        if value is None:
            return
        try:
            control = self.catalog.control_reader(prefix_of(value))(value)
        except InvalidSchema as damaged:
            raise UnknownSchema(parse_prefix(value), str(damaged)) from damaged
        except DecodingError as unreadable:
            raise LogInconsistent(
                f"the control record at offset {offset} cannot be read: {unreadable}", HaltCode.RECORD_UNREADABLE
            ) from unreadable
        if isinstance(control, Barrier):
            self.highest_term = offset
            self.applied[offset] = 0
            self.last_barrier = control
            self.barriers.add(offset)
            self.last_time = max(self.last_time, control.time)  # later events are later than it, for readers by time
            for identity, left in self._unfinished.items():
                raise self._half(identity, left)
            return
        raise LogInconsistent(
            f"the control record at offset {offset} is a {type(control).__name__}, which this version does not fold: "
            "run the version that wrote it",
            HaltCode.RECORD_OF_A_NEWER_VERSION,
        )

    def _event(self, offset: int, identity: bytes, sequence: int, value: bytes) -> Recorded | None:
        meta, event = self._read(offset, identity, sequence, value)
        instance = self.live.get(identity)
        if instance is None:
            instance = self._hydrated(identity)
        seen = False
        if sequence != instance._eventsrc_sequence + 1:
            if identity in self._gaps:
                return None  # nothing after a gap can be folded; the verdict comes at the end
            if sequence > instance._eventsrc_sequence:
                self._gaps[identity] = _Gap(instance._eventsrc_sequence + 1, sequence, offset)
                return None
            seen = self._has_seen(identity, sequence, instance._eventsrc_sequence, offset)
        if meta.count != 1 or identity in self._unfinished:
            self._follow(identity, meta, offset)
        elif meta.index != 0:
            raise self._half(identity, _Unfinished(meta.command_id, meta.index, meta.count, offset))
        self._count(sequence, meta)
        if seen:
            return None
        instance._eventsrc_sequence = sequence
        apply, wants_recorded = self._appliers[type(event)]
        try:
            if wants_recorded:
                apply(instance, event, Recorded(event, sequence, None, meta))
            else:
                apply(instance, event)
        except Exception as failure:
            raise LogInconsistent(
                f"the event at offset {offset} ({self._name(identity)} sequence {sequence}, {type(event).__name__}) was applied "
                f"when it was written and cannot be now: {type(failure).__name__} in its @apply method. Mend that method",
                HaltCode.APPLY_FAILED,
            ) from failure
        if meta.index == meta.count - 1:
            instance._eventsrc_memory = remember(
                instance._eventsrc_memory,
                self.aggregate.deduplicate,
                meta.command_id,
                meta.time,
                meta.count,
                meta.payload_hash,
            )
        return Recorded(event, sequence, Offset(offset), meta)

    def _hydrated(self, identity: bytes) -> Any:
        was_cooled = self.states.is_cooled(identity)
        instance = self.states.hydrate(identity)
        if instance is None:
            instance = self.live[identity] = self.aggregate.new(identity)
        elif self.start is not None and not was_cooled:
            self._ahead[identity] = _Ahead(instance._eventsrc_sequence, None)
        return instance

    def _has_seen(self, identity: bytes, sequence: int, latest: int, offset: int) -> bool:
        """Whether a state of the checkpoint, newer than its position, holds this event already. Raises LogInconsistent where
        the log has it twice."""
        start, ahead = self.start, self._ahead.get(identity)
        if (
            start is None
            or ahead is None
            or offset >= start.seen_position
            or latest != ahead.sequence
            or sequence != (ahead.following or sequence)
        ):
            raise LogInconsistent(
                f"{self._name(identity)} has sequence {sequence} twice: once more at offset {offset} "
                f"(term {self.highest_term}); its last was {latest}. Another program wrote one of them",
                HaltCode.SEQUENCE_TWICE,
            )
        self._ahead[identity] = _Ahead(latest, sequence + 1)
        return True

    def _count(self, sequence: int, meta: EventMeta) -> None:
        self.events += 1
        if sequence == 1:
            self.aggregates += 1
        if meta.index == meta.count - 1:
            self.applied[self.highest_term or 0] += 1
        if self.highest_source is None or meta.source_offset > self.highest_source:
            self.highest_source = meta.source_offset
        self.last_time = max(self.last_time, meta.time)
        if self.last_barrier is not None:
            self.writer_commands_topic_id = self.last_barrier.commands_topic_id

    def _read(self, offset: int, identity: bytes, sequence: int, value: bytes) -> tuple[EventMeta, Any]:
        read = self._readers.get(value[:10]) or self._readers.get(value[:5])  # the second: a registry's framing
        try:
            if read is None:
                prefix = prefix_of(value)
                read = self._readers[prefix] = self.catalog.event_reader(self.aggregate, prefix)
            return read(value)
        except InvalidSchema as damaged:  # a file on its way here, or edited: no verdict on the log
            raise UnknownSchema(parse_prefix(value), str(damaged)) from damaged
        except ClassChanged as changed:
            raise LogInconsistent(
                f"the event at offset {offset} ({self._name(identity)} sequence {sequence}) is sound, and its class takes it no "
                f"more: {changed}. Mend the class (eventsrc check names the way: a default, or the old name as an alias)",
                HaltCode.EVENT_CLASS_CHANGED,
            ) from changed
        except DecodingError as unreadable:
            raise LogInconsistent(
                f"the event at offset {offset} ({self._name(identity)} sequence {sequence}) cannot be read: {unreadable}",
                HaltCode.RECORD_UNREADABLE,
            ) from unreadable

    def _follow(self, identity: bytes, meta: EventMeta, offset: int) -> None:
        """Events of one command stand together: 0, 1, ... count - 1, of the same command."""
        left = self._unfinished.pop(identity, None)
        expected = left.next_index if left is not None else 0
        same = left is None or (left.command_id, left.total) == (meta.command_id, meta.count)
        if meta.index != expected or meta.index >= meta.count or not same:
            raise self._half(identity, left or _Unfinished(meta.command_id, meta.index, meta.count, offset))
        if meta.index + 1 < meta.count:
            self._unfinished[identity] = _Unfinished(meta.command_id, meta.index + 1, meta.count, offset)

    def _half(self, identity: bytes, left: _Unfinished) -> LogInconsistent:
        return LogInconsistent(
            f"command {left.command_id.hex()} on {self._name(identity)} is half applied: event {left.next_index} of its "
            f"{left.total} is missing near offset {left.offset}",
            HaltCode.HALF_APPLIED,
        )

    def _name(self, identity: bytes) -> str:
        return f'{self.aggregate.name} "{identity.decode(errors="backslashreplace")}"'
