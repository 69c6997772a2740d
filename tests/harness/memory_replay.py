"""Replays and comparisons of a pipeline in memory: the real ones, over a reader of its broker's logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from eventsrc.adapters.kafka.history import Bounds
from eventsrc.adapters.kafka.log_reader import LogReader, Read, TopicPlace
from eventsrc.engine.notes import TopicIds
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.moments import Moment
from eventsrc.model.names import events_topic
from eventsrc.model.pipeline import Pipeline
from eventsrc.model.position import Position
from eventsrc.runtime.comparing import Comparison, _Partition
from eventsrc.runtime.partition_replay import DecodingOnce
from eventsrc.runtime.replaying import Replayed, _Replay
from eventsrc.runtime.starting_points import CheckpointStarts
from eventsrc.testing.memory.broker import MemoryBroker
from eventsrc.testing.memory.pipeline import MemoryPipeline
from eventsrc.testing.memory_snapshots import MemorySnapshots


class MemoryLogReader:
    """As `LogReader`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._reading: dict[TopicPlace, Iterator[Any]] = {}

    def partition_count(self, topic: str) -> int:
        return self._broker.partitions

    def bounds(self, place: TopicPlace) -> Bounds:
        return Bounds(Position(0), self._broker.log(*place).last_stable)

    def first_since(self, places: Mapping[TopicPlace, int]) -> dict[TopicPlace, Position | None]:
        return {
            place: next((Position(each.at) for each in self._records(place, 0) if each.time_ms >= since), None)
            for place, since in places.items()
        }

    def start(self, place: TopicPlace, position: Position, end: Position) -> None:
        self._reading.pop(place, None)
        if position < end:
            self._reading[place] = (each for each in self._records(place, position) if each.at < end)

    def stop(self, place: TopicPlace) -> None:
        self._reading.pop(place, None)

    def records(self) -> Iterator[Read]:
        while self._reading:
            place, reading = next(iter(self._reading.items()))
            record = next(reading, None)
            if record is None:
                del self._reading[place]
            else:
                yield place, record.at, record.of_key, record.of_value, record.time_ms

    def _records(self, place: TopicPlace, position: int) -> list[Any]:
        log = self._broker.log(*place)
        return log.committed(Position(position), log.end)


def replay_in_memory(memory: MemoryPipeline, pipeline: Pipeline, until: Moment, *, from_log: bool) -> Replayed:
    """Of the whole pipeline; from its checkpoints unless from the log."""
    catalog = DecodingOnce(pipeline, None)
    starts = None if from_log else CheckpointStarts(MemorySnapshots(memory._database), catalog, _topic_ids(pipeline))
    return _Replay(pipeline, catalog, _reader(memory), until, None, None, None).run(starts)


def compare_in_memory(memory: MemoryPipeline, pipeline: Pipeline, key: PartitionKey) -> Comparison:
    comparison = Comparison()
    aggregate, store = pipeline.aggregates[key.aggregate], MemorySnapshots(memory._database)
    of = _Partition(
        aggregate, key.number, DecodingOnce(pipeline, None), store, _topic_ids(pipeline)[key.aggregate], comparison
    )
    of.compare(_reader(memory), events_topic(pipeline.name, key.aggregate))
    return comparison


def _reader(memory: MemoryPipeline) -> LogReader:
    return cast(LogReader, MemoryLogReader(memory._broker))


def _topic_ids(pipeline: Pipeline) -> dict[str, TopicIds]:
    return {name: TopicIds(f"{name}-commands", f"{name}-events") for name in pipeline.aggregates}
