"""Writes events partitions as a worker would, with times, commands and causes of a test's choosing.

Transactions, a barrier per partition, keys and metas by the contract; no engine, no worker.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, Producer, murmur2

from eventsrc import Pipeline
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.control import Barrier, write_barrier
from eventsrc.codec.keys import barrier_key, event_key
from eventsrc.engine.notes import TopicIds
from eventsrc.model.identity import event_id, event_id_text
from eventsrc.model.names import events_topic


class WrittenLog:
    """One transactional producer; `commit` makes what was appended since the last one visible."""

    def __init__(
        self, pipeline: Pipeline, bootstrap_servers: str, topics: Mapping[str, TopicIds] | None = None
    ) -> None:
        """`topics`: what its barriers name, by aggregate."""
        self._pipeline = pipeline
        self._topics = topics or {}
        self._catalog = Catalog(pipeline, None)
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "transactional.id": f"written-{uuid.uuid4()}", "linger.ms": 5}
        )
        self._producer.init_transactions(30)
        self.timestamp_ms: int | None = None  # of every record, instead of its event's time
        self._sequences: dict[tuple[str, str], int] = defaultdict(int)
        self._terms: dict[tuple[str, int], int] = {}
        self._commands = 0
        self._open = False
        self._before: dict[tuple[str, str], int] = {}

    def append(
        self, aggregate: str, id: str, events: Sequence[Any], times_us: Sequence[int], cause: bytes | None = None
    ) -> bytes:
        """One command's events; returns the id of the last one."""
        number = murmur2(id.encode(), self._pipeline.settings.partitions)
        if (aggregate, number) not in self._terms:
            self._write_barrier(aggregate, number, times_us[0])
        self._begin()
        self._commands += 1
        command_id = uuid.uuid4().bytes
        topic = events_topic(self._pipeline.name, aggregate)
        kind = self._pipeline.aggregates[aggregate]
        for index, (event, time_us) in enumerate(zip(events, times_us, strict=True)):
            sequence = self._sequences[aggregate, id] = self._sequences[aggregate, id] + 1
            write = self._catalog.event_writer(kind, type(event))
            value = write(command_id, None, cause, self._commands, index, len(events), time_us, bytes(8), event)
            key = event_key(id.encode(), sequence, self._terms[aggregate, number])
            timestamp_ms = time_us // 1000 if self.timestamp_ms is None else self.timestamp_ms
            self._producer.produce(topic, value, key, number, timestamp=timestamp_ms)
        return self.event_id(aggregate, id)

    def event_id(self, aggregate: str, id: str) -> bytes:
        """Of its last event."""
        return event_id(event_id_text(aggregate, id, self._sequences[aggregate, id]))

    def commit(self) -> None:
        if self._open:
            self._producer.commit_transaction(30)
            self._open = False

    def abort(self) -> None:
        """What was appended since the last commit stays in the log, unseen, and its sequences are given anew."""
        self._producer.flush(10)
        self._producer.abort_transaction(30)
        self._open = False
        self._sequences = defaultdict(int, self._before)

    def erase(self, aggregate: str, id: str, sequence: int) -> None:
        """A tombstone for that event."""
        self._begin()
        number = murmur2(id.encode(), self._pipeline.settings.partitions)
        key = event_key(id.encode(), sequence, self._terms[aggregate, number])
        self._producer.produce(events_topic(self._pipeline.name, aggregate), None, key, number)

    def _begin(self) -> None:
        if not self._open:
            self._producer.begin_transaction()
            self._open = True
            self._before = dict(self._sequences)

    def _write_barrier(self, aggregate: str, number: int, time_us: int) -> None:
        def delivered(error: KafkaError | None, message: Any) -> None:
            assert error is None
            self._terms[aggregate, number] = message.offset()

        self._begin()
        ids = self._topics.get(aggregate, TopicIds("", ""))
        value = write_barrier(Barrier("written", "written", "test", ids.events, ids.commands, 0, time_us))
        topic = events_topic(self._pipeline.name, aggregate)
        self._producer.produce(
            topic, value, barrier_key(uuid.uuid4()), number, on_delivery=delivered, timestamp=time_us // 1000
        )
        deadline = time.monotonic() + 10
        while (aggregate, number) not in self._terms:
            self._producer.poll(0.1)
            assert time.monotonic() < deadline
