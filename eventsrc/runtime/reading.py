"""One aggregate's history and state, read from the events topic: `get`, `history`, `show`, `log`.

Owns which partition is read, and up to where; the fold itself is the engine's, and what a past moment means is its cut.
Folds from the log's beginning.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import murmur2

from eventsrc.adapters.kafka.history import StoredRecord
from eventsrc.codec.catalog import flat
from eventsrc.codec.framing import prefix_of
from eventsrc.codec.keys import id_in, parse_event_key
from eventsrc.engine.cut import PartitionCut, bounds_of, check_within
from eventsrc.engine.fold import PartitionFold
from eventsrc.errors import DecodingError, InvalidMoment, InvalidSchema, LogInconsistent, TopicsInvalid
from eventsrc.model.moments import AtSequence, Moment, Place
from eventsrc.model.names import events_topic
from eventsrc.model.recorded import Recorded

if TYPE_CHECKING:
    from eventsrc.codec.catalog import Catalog
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.model.pipeline import Pipeline
    from eventsrc.runtime.connection import Connection

_READABLE_WITHIN_S = 10.0
_CLOCK_SLACK_MS = 60_000
"""A record's timestamp is its event's hybrid time; another program's may differ, so it alone never ends a reading so soon."""


class Step(NamedTuple):
    """An event of the aggregate, and the aggregate after it: the fold's own object, which the next step changes."""

    recorded: Recorded
    aggregate: Any


class PastCommand(NamedTuple):
    """A command that took effect before; `sequence` is its aggregate's after it."""

    command_id: bytes
    key: bytes
    sequence: int


class AggregateReader:
    """Reads aggregates of one pipeline. Safe for several threads: they take turns."""

    def __init__(self, pipeline: Pipeline, catalog: Catalog, connection: Connection) -> None:
        self._pipeline = pipeline
        self._catalog = catalog
        self._reader = connection.history()
        self._verified: set[str] = set()
        self._turn = threading.Lock()

    def steps(
        self, aggregate: AggregateType, key: bytes, *, at_least: int = 0, at: Moment | None = None
    ) -> Iterator[Step]:
        """The aggregate's events in order, each with the state after it.

        Up to the last stable offset, and on until sequence `at_least` has come; with `at`, up to that moment, the last
        command whole. Raises `InvalidMoment` where the history has no such moment; `Unreachable`, `TopicsInvalid`,
        `LogInconsistent`, `UnknownSchema`. Others wait until the iterator is done or closed.
        """
        fold = PartitionFold(aggregate, self._catalog, key)
        count = self._pipeline.settings.partitions
        partition = murmur2(key, count)
        cut = None
        if at is not None:
            counts = dict.fromkeys(self._pipeline.aggregates, count)
            (bound,) = bounds_of(at, counts, (aggregate.name, partition, key)).values()
            cut = PartitionCut(bound)

        def complete() -> bool:
            return _sequence(fold, key) >= at_least

        for _, recorded in self._records(fold, partition, complete, cut):
            yield Step(recorded, fold.live[key])
        last = _sequence(fold, key)
        if isinstance(at, AtSequence) and 0 < last < at.sequence:
            name = key.decode(errors="backslashreplace")
            raise InvalidMoment(f"{aggregate.name} {name} has no sequence {at.sequence}: its last is {last}")

    def fold(self, aggregate: AggregateType, key: bytes, *, at_least: int = 0, at: Moment | None = None) -> Any:
        """The aggregate's state; None if it never existed (or not yet, at that moment)."""
        state = None
        for step in self.steps(aggregate, key, at_least=at_least, at=at):
            state = step.aggregate
        return state

    def events_of_commands(
        self, aggregate: AggregateType, partition: int, wanted: Sequence[PastCommand]
    ) -> dict[bytes, tuple[Any, ...]]:
        """The events that these commands of one partition made, by command id, in one pass over its log: of one that was
        forgotten and applied anew, those of the application with that sequence."""
        last = {each.key: max(other.sequence for other in wanted if other.key == each.key) for each in wanted}
        found: dict[bytes, list[Any]] = {each.command_id: [] for each in wanted}
        asked = {each.command_id: each for each in wanted}
        only = wanted[0].key if len(last) == 1 else None
        fold = PartitionFold(aggregate, self._catalog, only)

        def complete() -> bool:
            return all(_sequence(fold, key) >= sequence for key, sequence in last.items())

        for key, recorded in self._records(fold, partition, complete, None):
            of = asked.get(recorded.meta.command_id)
            if of is None or key != of.key or recorded.sequence > of.sequence:
                continue
            if recorded.meta.index == 0:
                found[of.command_id].clear()
            found[of.command_id].append(recorded.event)
        return {command_id: tuple(events) for command_id, events in found.items()}

    def close(self) -> None:
        with self._turn:
            self._reader.close()

    def _records(
        self, fold: PartitionFold, partition: int, complete: Callable[[], bool], cut: PartitionCut | None
    ) -> Iterator[tuple[bytes, Recorded]]:
        """The aggregate's id, and the event."""
        topic = events_topic(self._pipeline.name, fold.aggregate.name)
        try:
            with self._turn:
                self._check_partitions(topic)
                if cut is not None and cut.bound.position:
                    log = self._reader.bounds(topic, partition)
                    check_within(Place(fold.aggregate.name, partition), cut.bound, log.start, log.stable_end)
                for record in self._reader.read(topic, partition, satisfied=complete, wait_s=_READABLE_WITHIN_S):
                    if cut is not None and self._is_above(cut, fold, record):
                        break
                    recorded = fold.feed(*record)
                    if recorded is not None:
                        yield id_in(record.key or b""), self._as_written(fold.aggregate, recorded, record)
            if fold.only is not None:  # past the last stable offset, other ids may be in the middle of a command
                fold.finish()
        except LogInconsistent as error:
            raise LogInconsistent(f"{topic}/{partition}: {error}", error.code) from error

    def _as_written(self, aggregate: AggregateType, recorded: Recorded, record: StoredRecord) -> Recorded:
        """The event that was folded may share its containers with the state, which changes them: it is decoded once more."""
        event = recorded.event
        if record.value is not None and not flat(aggregate.events[type(event)].record):
            event = self._catalog.event_reader(aggregate, prefix_of(record.value))(record.value)[1]
        return recorded._replace(event=event, offset=record.offset)

    def _is_above(self, cut: PartitionCut, fold: PartitionFold, record: StoredRecord) -> bool:
        """Whether nothing from this record on belongs to the cut. Only the followed id's events are decoded for it."""
        if record.key is None or record.value is None:
            return False
        parsed = parse_event_key(record.key)
        if parsed is None or parsed[2] != fold.highest_term:
            return False
        if parsed[0] != fold.only:
            return cut.is_passed(record.offset, (record.timestamp_ms - _CLOCK_SLACK_MS) * 1000)
        try:
            meta, _ = self._catalog.event_reader(fold.aggregate, prefix_of(record.value))(record.value)
        except (DecodingError, InvalidSchema):
            return False  # the fold says what is wrong with it
        return not cut.admits(record.offset, parsed[0], parsed[1], meta)

    def _check_partitions(self, topic: str) -> None:
        if topic not in self._verified:
            check_partition_count(topic, self._reader.partition_count(topic), self._pipeline.settings.partitions)
            self._verified.add(topic)


def check_partition_count(topic: str, found: int, declared: int) -> None:
    """Raises `TopicsInvalid`: with another count an id would be looked for, or sent, where it is not."""
    if found != declared:
        problem = f"{topic} has {found} partitions, the pipeline declares {declared}"
        raise TopicsInvalid(f"{problem}: see `eventsrc topics verify`", [problem])


def _sequence(fold: PartitionFold, key: bytes) -> int:
    instance = fold.live.get(key)
    return instance._eventsrc_sequence if instance is not None else 0
