"""Reads an events partition as any outside reader may: committed records only, up to the last stable offset.

Knows offsets and bytes; what the records mean is the fold's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.connecting import NO_ANSWER, kafka_log, partition_count, unreadable, watermarks
from eventsrc.adapters.kafka.errors import is_about_unused_group
from eventsrc.errors import Unreachable
from eventsrc.model.position import Offset, Position

_POLL_S = 0.1
_BATCH = 1000
_STALL_S = 10.0


class StoredRecord(NamedTuple):
    offset: Offset
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


class Bounds(NamedTuple):
    """A partition's first position that is still there, and its last stable offset."""

    start: Position
    stable_end: Position


class HistoryReader:
    """One consumer, one partition at a time; not for several threads at once."""

    def __init__(self, bootstrap_servers: str, kafka: Mapping[str, str] | None = None) -> None:
        self._bootstrap_servers, self._kafka = bootstrap_servers, dict(kafka or {})
        self._consumer = Consumer(
            {
                "fetch.wait.max.ms": 10,
                "fetch.queue.backoff.ms": 10,
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
        return partition_count(self._consumer, topic, self._bootstrap_servers, self._kafka)

    def bounds(self, topic: str, partition: int) -> Bounds:
        """Raises `Unreachable`, `NotAuthorized`, `TopicsInvalid`."""
        start, end = watermarks(self._consumer, topic, partition, self._bootstrap_servers, self._kafka)
        return Bounds(Position(start), Position(end))

    def read(
        self,
        topic: str,
        partition: int,
        start: Position | None = None,
        *,
        satisfied: Callable[[], bool] = lambda: True,
        wait_s: float = _STALL_S,
    ) -> Iterator[StoredRecord]:
        """Every committed record from `start` (None: the log's start) to the last stable offset of this moment.

        While `satisfied()` is false there, goes on for up to `wait_s`: a commit returns before its records are
        readable. Raises `Unreachable` when nothing comes for too long, or time is up.
        """
        for message in self.messages(topic, partition, start, satisfied=satisfied, wait_s=wait_s):
            yield _stored(message)

    def messages(
        self,
        topic: str,
        partition: int,
        start: Position | None = None,
        *,
        satisfied: Callable[[], bool] = lambda: True,
        wait_s: float = _STALL_S,
    ) -> Iterator[Message]:
        """As `read`, with what else stands in a record: its headers."""
        bounds = self.bounds(topic, partition)
        first = max(start or bounds.start, bounds.start)
        if first >= bounds.stable_end and satisfied():
            return
        self._consumer.assign([TopicPartition(topic, partition, first)])
        try:
            yield from self._until(topic, partition, bounds.stable_end, satisfied, wait_s)
        finally:
            self._consumer.unassign()

    def _until(
        self, topic: str, partition: int, end: Position, satisfied: Callable[[], bool], wait_s: float
    ) -> Iterator[Message]:
        heard = time.monotonic()
        reached_at: float | None = None
        while True:
            messages = self._consumer.consume(1, _POLL_S)
            if messages:
                messages += self._consumer.consume(_BATCH, 0)
            for message in messages:
                error = message.error()
                if error is None:
                    heard = time.monotonic()
                    yield message
                    position = _offset(message) + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = _offset(message)
                elif error.code() in NO_ANSWER or is_about_unused_group(error, message.topic()):
                    continue
                else:
                    raise unreadable(topic, partition, error, self._kafka)
                if position >= end and reached_at is None:
                    reached_at = time.monotonic()
                if reached_at is not None and satisfied():
                    return
            now = time.monotonic()
            if reached_at is not None and now - reached_at > wait_s:
                raise Unreachable(
                    f"{topic}/{partition}: a committed event was not readable within {wait_s:g} s: another program's "
                    "open transaction may hold it back; try again"
                )
            if reached_at is None and now - heard > _STALL_S:
                raise Unreachable(f"{topic}/{partition}: Kafka sent nothing for {_STALL_S:g} s before position {end}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._consumer.close()


def _stored(message: Message) -> StoredRecord:
    return StoredRecord(Offset(_offset(message)), message.key(), message.value(), message.timestamp()[1])


def _offset(message: Message) -> int:
    offset = message.offset()
    if offset is None:
        raise AssertionError("a consumed message has an offset")
    return offset
