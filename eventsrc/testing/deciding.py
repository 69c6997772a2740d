"""One aggregate and its log, without services: fold it as a replay does, and decide a command as a worker does.

The engine's own deciding and folding; here is only what puts the pieces together for a single id.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from uuid import UUID

from eventsrc.clock import HybridClock
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.keys import event_key
from eventsrc.codec.state_check import UnkeepableState
from eventsrc.engine.batch import Batch, BatchKind
from eventsrc.engine.compiled import CompiledAggregate
from eventsrc.engine.dead_letters import Refused
from eventsrc.engine.decide import Limits, SectionDecider, Surroundings
from eventsrc.engine.fold import PartitionFold
from eventsrc.engine.partition import Partition, PartitionKey
from eventsrc.engine.records import ConsumedRecord
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.identity import event_id, event_id_text
from eventsrc.model.names import commands_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Offset, Position
from eventsrc.model.recorded import Context, Recorded
from eventsrc.runtime.sending import check_handled, encoded_command
from eventsrc.testing.differences import differences
from eventsrc.testing.memory.log import MemoryRecord
from eventsrc.testing.observed import ImpureHandler, ObservedAggregate

_TERM = 0
_NO_HASH = bytes(8)

Status = Literal["ok", "rejected", "failed", "duplicate", "conflict"]


class UnsoundFold(AssertionError):  # noqa: N818 - what was found
    """The state that is folded from the log anew is another than the one that was left when the events were made, or
    cannot be kept."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An aggregate class with everything compiled that deciding it needs."""

    pipeline: Pipeline
    aggregate: AggregateType
    catalog: Catalog
    compiled: ObservedAggregate

    @property
    def name(self) -> str:
        return self.aggregate.cls.__name__


@lru_cache(maxsize=64)
def subject_of(pipeline: Pipeline, name: str) -> Subject:
    """By the aggregate's kebab-case name."""
    catalog, aggregate = Catalog(pipeline, None), pipeline.aggregates[name]
    return Subject(pipeline, aggregate, catalog, ObservedAggregate(aggregate, catalog))


class Sending(NamedTuple):
    """What stands around a command. `uuids` and `random_seed`: what the context gives, where that is set."""

    time_us: int
    command_id: bytes
    correlation_id: bytes | None = None
    causation_id: bytes | None = None
    uuids: tuple[UUID, ...] = ()
    random_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a command. `failure`: what its handler, or an `@apply` method, raised."""

    asked: Any
    status: Status
    events: tuple[Any, ...] = ()
    reason: str | None = None
    details: Any = None
    failure: BaseException | None = None


@dataclass(frozen=True, slots=True)
class AggregateLog:
    """The events of one aggregate, as they stand in its topic: keys and values. `offset`: of the next command."""

    subject: Subject
    key: bytes
    records: tuple[tuple[bytes, bytes], ...] = ()
    last_us: int = 0
    offset: int = 0

    @property
    def sequence(self) -> int:
        return len(self.records)

    def recorded(self, after: int = 0) -> list[Recorded]:
        """Every event after that sequence, decoded."""
        reader = self.subject.catalog.event_reader
        read = [reader(self.subject.aggregate, value[:10])(value) for _, value in self.records[after:]]
        return [Recorded(event, number, number - 1, meta) for number, (meta, event) in enumerate(read, after + 1)]

    def fold(self) -> PartitionFold:
        """As a replay of the topic folds it."""
        fold = PartitionFold(self.subject.aggregate, self.subject.catalog, highest_term=_TERM, applied={_TERM: 0})
        for offset, (key, value) in enumerate(self.records):
            fold.feed(offset, key, value, 0)
        return fold

    def state(self) -> Any:
        """The aggregate as its events tell it, new with every call; with every default where there is none."""
        folded = self.fold().live.get(self.key)
        return self.subject.aggregate.new(self.key) if folded is None else folded

    def appended(self, event: Any, time_us: int, command_id: bytes) -> AggregateLog:
        """With one event more, of a command that made it alone. Raises EncodingError; whatever the `@apply` method's
        failure makes of a replay."""
        write = self.subject.catalog.event_writer(self.subject.aggregate, type(event))
        at = max(time_us, self.last_us + 1)
        value = write(command_id, None, None, self.offset, 0, 1, at, _NO_HASH, event)
        record = (event_key(self.key, self.sequence + 1, _TERM), value)
        longer = replace(self, records=(*self.records, record), last_us=at, offset=self.offset + 1)
        longer.fold()
        return longer

    def decide(self, command: Any, sending: Sending, *, check_fold: bool = True) -> tuple[Decision, AggregateLog]:
        """Raises InvalidCommand, as a client does before it sends; ImpureHandler; UnsoundFold, where that is to be checked."""
        subject = self.subject
        check_handled(subject.aggregate, type(command))
        value = encoded_command(
            subject.pipeline.commands[type(command)].validate,
            subject.catalog.command_writer(subject.aggregate, type(command)),
            subject.pipeline.settings.max_command_bytes,
            command,
            sending.command_id,
            sending.correlation_id,
            sending.causation_id,
            sending.time_us,
            0,
        )
        compiled = _with_context(subject.compiled, value, sending)
        return self._decide(command, value, sending, compiled, check_fold=check_fold)

    def compensate(self, recorded: Recorded, sending: Sending) -> tuple[Decision, AggregateLog]:
        """Take an event of this log back, by its `@compensate` method: what that returns is encoded and applied as a
        handler's events are."""
        subject = self.subject
        how = subject.aggregate.compensations[type(recorded.event)]
        more = (recorded,) if how.wants_recorded else ()
        caused_by = event_id(event_id_text(subject.aggregate.name, self.key.decode(), recorded.sequence))

        def read(value: bytes) -> Any:
            return sending.command_id, sending.correlation_id, caused_by, 0, len(value), recorded.event

        value = b"compensate"
        decide = subject.compiled.watched(how.function)
        way = (read, lambda instance, event: decide(instance, event, *more), False, None, 0)
        compiled = ObservedAggregate(subject.aggregate, subject.catalog)
        compiled.commands[value] = way
        return self._decide(recorded.event, value, sending, compiled, check_fold=True)

    def _decide(
        self, asked: Any, value: bytes, sending: Sending, compiled: CompiledAggregate, *, check_fold: bool
    ) -> tuple[Decision, AggregateLog]:
        partition = self._partition(compiled)
        batch = Batch(BatchKind.COMMANDS, b"")
        settings = self.subject.pipeline.settings
        limits = Limits(
            handler_attempts=1,
            max_command_bytes=settings.max_command_bytes,
            max_event_bytes=settings.max_command_bytes,
            purity_sample=1,
        )
        topic = commands_topic(self.subject.pipeline.name, self.subject.aggregate.name)
        around = Surroundings(lambda name: topic, lambda key, count: 0)
        decider = _Decider(partition, batch, limits, around, sending.time_us)
        record = MemoryRecord(topic, 0, Offset(self.offset), self.key, value, sending.time_us // 1000)
        decider.run([record], lambda: 0.0, 1.0)
        made = batch.sections[partition.key].records
        longer = replace(
            self,
            records=(*self.records, *((key, written) for key, written, _ in made)),
            last_us=partition.clock.last_us,
            offset=self.offset + 1,
        )
        if isinstance(decider.failure, ImpureHandler | KeyboardInterrupt):
            raise decider.failure
        if check_fold and isinstance(decider.failure, UnkeepableState):
            raise UnsoundFold(str(decider.failure)) from decider.failure
        if made and check_fold:
            longer.check_fold(partition.live[self.key])
        if decider.failure is not None:
            return Decision(asked, "failed", failure=decider.failure), longer
        answer = batch.answers[-1]
        events = tuple(each.event for each in longer.recorded(self.sequence))
        return Decision(asked, answer.status, events, answer.reason, answer.details), longer

    def _partition(self, compiled: CompiledAggregate) -> Partition:
        clock = HybridClock()
        clock.merge(self.last_us)
        key, states = PartitionKey(self.subject.aggregate.name, 0), self.fold().states
        return Partition(key, compiled, 1, states, Position(self.offset), _TERM, clock)

    def check_fold(self, left: Any) -> None:
        """What was left in memory against a replay. Raises UnsoundFold."""
        write, name = self.subject.catalog.state_writer(self.subject.aggregate), self.subject.name
        replayed = self.state()
        if write(left) != write(replayed):
            lines = state_differences(self.subject.aggregate, left, replayed, ("was", "replayed"))
            raise UnsoundFold(
                f"{name}: a replay of the same events makes another state, so an @apply method depends on something that is "
                "not in its event (a clock, chance, the order of a set, a value shared by all):\n  "
                + "\n  ".join(lines)
            )


def state_differences(aggregate: AggregateType, one: Any, other: Any, words: tuple[str, str]) -> list[str]:
    """The declared fields that are not equal, down to where they part."""
    return [
        line
        for field in aggregate.record.fields
        for line in differences(getattr(one, field.name), getattr(other, field.name), field.name, words=words)
    ]


class _Decider(SectionDecider):
    """Keeps what a handler raised, which a dead letter has as text."""

    failure: BaseException | None = None

    def _bury(self, record: ConsumedRecord, refusal: Refused, caller: tuple[bytes, int | None] | None = None) -> None:
        self.failure = sys.exception()
        super()._bury(record, refusal, caller)


class _GivenContext(Context):
    """A handler's context, some of whose values are set."""

    __slots__ = ("_given_uuids",)

    _given_uuids: list[UUID]

    @classmethod
    def of(cls, context: Context, sending: Sending) -> _GivenContext:
        seed = context._seed if sending.random_seed is None else b"%d" % sending.random_seed
        made = cls(context._timestamp_ms, context._command_id, context._correlation_id, context._causation_id, seed)
        made._given_uuids = list(sending.uuids)
        return made

    def uuid(self) -> UUID:
        return self._given_uuids.pop(0) if self._given_uuids else super().uuid()


def _with_context(compiled: ObservedAggregate, value: bytes, sending: Sending) -> CompiledAggregate:
    """The same, but for what the context gives."""
    if not sending.uuids and sending.random_seed is None:
        return compiled
    read, handle, wants_context, validate, seed = compiled.command(value)

    def handle_in_context(instance: Any, command: Any, context: Context) -> Any:
        return handle(instance, command, _GivenContext.of(context, sending))

    changed = ObservedAggregate(compiled.type, compiled.catalog)
    decide: Callable[..., Any] = handle_in_context if wants_context else handle
    changed.commands[value[:10]] = (read, decide, wants_context, validate, seed)
    return changed
