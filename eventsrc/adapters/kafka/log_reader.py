"""Reads ranges of many partitions with one consumer, as any outside reader may: committed records only, no group.

Knows offsets and bytes; what the records mean is the fold's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.connecting import (
    CONNECT_TIMEOUT_S,
    NO_ANSWER,
    kafka_log,
    partition_count,
    unreachable,
    unreadable,
    watermarks,
)
from eventsrc.adapters.kafka.errors import is_about_unused_group, is_refused
from eventsrc.adapters.kafka.history import Bounds
from eventsrc.errors import Unreachable
from eventsrc.model.position import Position

_POLL_S = 0.1
_BATCH = 1000
_STALL_S = 10.0


class TopicPlace(NamedTuple):
    topic: str
    partition: int


Read = tuple[TopicPlace, int, bytes | None, bytes | None, int]
"""Place, offset, key, value, timestamp in milliseconds."""


class LogReader:
    """Not for several threads at once."""

    def __init__(self, bootstrap_servers: str, kafka: Mapping[str, str] | None = None) -> None:
        self._bootstrap_servers, self._kafka = bootstrap_servers, dict(kafka or {})
        self._ends: dict[tuple[str, int], Position] = {}
        self._places: dict[tuple[str, int], TopicPlace] = {}
        self._restarted: set[TopicPlace] = set()
        self._consumer = Consumer(
            {
                "fetch.wait.max.ms": 10,
                "fetch.queue.backoff.ms": 10,
                "queued.max.messages.kbytes": 65_536,
                **client_config(bootstrap_servers, kafka),
                "group.id": "eventsrc-reader",  # a name is wanted; no group is joined, nothing is committed
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "check.crcs": True,
            },
            logger=kafka_log,
        )

    def partition_count(self, topic: str) -> int:
        """Raises `Unreachable`, `TopicsInvalid`."""
        return partition_count(self._consumer, topic, self._bootstrap_servers, self._kafka)

    def bounds(self, place: TopicPlace) -> Bounds:
        """Raises `Unreachable`, `TopicsInvalid`."""
        start, end = watermarks(self._consumer, place.topic, place.partition, self._bootstrap_servers, self._kafka)
        return Bounds(Position(start), Position(end))

    def first_since(self, places: Mapping[TopicPlace, int]) -> dict[TopicPlace, Position | None]:
        """Per partition, where the first record is whose timestamp is at or after these milliseconds; None: there is none."""
        asked = [TopicPartition(*place, max(milliseconds, 0)) for place, milliseconds in places.items()]
        try:
            answered = self._consumer.offsets_for_times(asked, timeout=CONNECT_TIMEOUT_S)
        except KafkaException as error:
            raise unreachable(error, self._bootstrap_servers, self._kafka) from error
        return {
            TopicPlace(each.topic, each.partition): Position(each.offset) if each.offset >= 0 else None
            for each in answered
        }

    def start(self, place: TopicPlace, position: Position, end: Position) -> None:
        """Read it from there up to `end`, which is at most a last stable offset seen before. From there again if it was
        being read."""
        if place in self._ends:
            self._restarted.add(place)
        self.stop(place)
        if position < end:
            self._ends[place], self._places[place] = end, place
            self._consumer.incremental_assign([TopicPartition(*place, position)])

    def stop(self, place: TopicPlace) -> None:
        """Nothing more of it comes."""
        if self._ends.pop(place, None) is not None:
            self._consumer.incremental_unassign([TopicPartition(*place)])

    def records(self) -> Iterator[Read]:
        """Of all started partitions, those of each in order, until each has reached its end or was stopped.

        Raises `Unreachable` when nothing comes for too long, `TopicsInvalid` where a partition cannot be read.
        """
        heard = time.monotonic()
        while self._ends:
            self._restarted.clear()
            messages = self._consumer.consume(1, _POLL_S)
            if messages:
                messages += self._consumer.consume(_BATCH, 0)
                heard = time.monotonic()
            elif time.monotonic() - heard > _STALL_S:
                stuck = ", ".join(f"{topic}/{partition}" for topic, partition in self._ends)
                raise Unreachable(f"Kafka sent nothing for {_STALL_S:g} s while {stuck} was being read")
            for message in messages:
                error = message.error()
                if error is not None and is_refused(error) and not is_about_unused_group(error, message.topic()):
                    raise unreadable(message.topic() or "", message.partition() or 0, error, self._kafka)
                key = message.topic(), message.partition()
                end = self._ends.get(key)  # type: ignore[arg-type]  # a consumed message has both
                if end is None:
                    continue  # stopped: these had been fetched already
                place = self._places[key]  # type: ignore[index]  # as above
                if self._restarted and place in self._restarted:
                    continue
                offset = message.offset() or 0
                if error is None:
                    if offset < end:
                        yield place, offset, message.key(), message.value(), message.timestamp()[1]
                    position = offset + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = offset
                elif error.code() in NO_ANSWER:
                    continue
                else:
                    raise unreadable(*place, error, self._kafka)
                if position >= end:
                    self.stop(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._consumer.close()
