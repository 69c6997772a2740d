"""One aggregate's history and state, read from the events topic: `get`, `history`, `show`, `log`.

Owns which partition is read, and up to where; the fold itself is the engine's. Folds from the log's beginning.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import murmur2

from eventsrc.adapters.kafka.history import HistoryReader
from eventsrc.engine.fold import PartitionFold
from eventsrc.errors import InvalidSettings, LogInconsistent, TopicsInvalid
from eventsrc.model.names import events_topic
from eventsrc.model.recorded import Recorded

if TYPE_CHECKING:
    from eventsrc.codec.catalog import Catalog
    from eventsrc.model.aggregate import AggregateType
    from eventsrc.model.pipeline import Pipeline

_READABLE_WITHIN_S = 10.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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

    def __init__(
        self, pipeline: Pipeline, catalog: Catalog, bootstrap_servers: str, kafka: Mapping[str, str] | None = None
    ) -> None:
        self._pipeline = pipeline
        self._catalog = catalog
        self._reader = HistoryReader(bootstrap_servers, kafka)
        self._verified: set[str] = set()
        self._turn = threading.Lock()

    def steps(
        self, aggregate: AggregateType, key: bytes, *, at_least: int = 0, at: datetime | None = None
    ) -> Iterator[Step]:
        """The aggregate's events in order, each with the state after it.

        Up to the last stable offset, and on until sequence `at_least` has come; with `at`, up to that moment. Raises
        `Unreachable`, `TopicsInvalid`, `LogInconsistent`, `UnknownSchema`. Others wait until the iterator is done or
        closed.
        """
        fold = PartitionFold(aggregate, self._catalog, key)
        partition = murmur2(key, self._pipeline.settings.partitions)

        def complete() -> bool:
            return at is not None or _sequence(fold, key) >= at_least

        for recorded in self._records(fold, partition, complete, _milliseconds(at)):
            yield Step(recorded, fold.live[key])

    def fold(self, aggregate: AggregateType, key: bytes, *, at_least: int = 0, at: datetime | None = None) -> Any:
        """The aggregate's state; None if it never existed (or not yet, at that moment)."""
        state = None
        for step in self.steps(aggregate, key, at_least=at_least, at=at):
            state = step.aggregate
        return state

    def events_of_commands(
        self, aggregate: AggregateType, partition: int, wanted: Sequence[PastCommand]
    ) -> dict[bytes, tuple[Any, ...]]:
        """The events that these commands of one partition made, by command id, in one pass over its log."""
        last = {each.key: max(other.sequence for other in wanted if other.key == each.key) for each in wanted}
        found: dict[bytes, list[Any]] = {each.command_id: [] for each in wanted}
        only = wanted[0].key if len(last) == 1 else None
        fold = PartitionFold(aggregate, self._catalog, only)

        def complete() -> bool:
            return all(_sequence(fold, key) >= sequence for key, sequence in last.items())

        for recorded in self._records(fold, partition, complete, None):
            events = found.get(recorded.meta.command_id)
            if events is not None:
                events.append(recorded.event)
        return {command_id: tuple(events) for command_id, events in found.items()}

    def close(self) -> None:
        with self._turn:
            self._reader.close()

    def _records(
        self, fold: PartitionFold, partition: int, complete: Callable[[], bool], until_ms: int | None
    ) -> Iterator[Recorded]:
        topic = events_topic(self._pipeline.name, fold.aggregate.name)
        try:
            with self._turn:
                self._check_partitions(topic)
                for record in self._reader.read(topic, partition, satisfied=complete, wait_s=_READABLE_WITHIN_S):
                    if until_ms is not None and record.timestamp_ms > until_ms:
                        return
                    recorded = fold.feed(*record)
                    if recorded is not None:
                        yield recorded._replace(offset=record.offset)
            if fold.only is not None:  # past the last stable offset, other ids may be in the middle of a command
                fold.finish()
        except LogInconsistent as error:
            raise LogInconsistent(f"{topic}/{partition}: {error}") from error

    def _check_partitions(self, topic: str) -> None:
        if topic not in self._verified:
            check_partition_count(topic, self._reader.partition_count(topic), self._pipeline.settings.partitions)
            self._verified.add(topic)


def check_partition_count(topic: str, found: int, declared: int) -> None:
    """Raises `TopicsInvalid`: with another count an id would be looked for, or sent, where it is not."""
    if found != declared:
        problem = f"{topic} has {found} partitions, the pipeline declares {declared}"
        raise TopicsInvalid(f"{problem}: see `eventsrc topics verify`", [problem])


def _milliseconds(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidSettings(f"the time {moment.isoformat()} names no zone: give an aware datetime")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _sequence(fold: PartitionFold, key: bytes) -> int:
    instance = fold.live.get(key)
    return instance._eventsrc_sequence if instance is not None else 0
