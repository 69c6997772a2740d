"""Answers commands without the product's engine: the wire contract alone, in a thread of the test.

One transaction a command: its events, keyed under this responder's own barrier; the answer after the commit. What it
decides is the test's: a function of the aggregate's id, the command and the sequence so far.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from eventsrc import Pipeline
from eventsrc.codec.catalog import Catalog
from eventsrc.codec.control import Barrier, Reply, ReplyStatus, write_barrier, write_reply
from eventsrc.codec.keys import barrier_key, event_key
from eventsrc.model.aggregate import AggregateType
from eventsrc.model.names import commands_topic, events_topic, replies_topic
from eventsrc.model.recorded import CommandMeta


class Answered(NamedTuple):
    """What the responder does with a command. `answer` False: it commits, and the answer is lost."""

    status: ReplyStatus = "ok"
    events: tuple[Any, ...] = ()
    reason: str | None = None
    details: dict[str, Any] = {}
    answer: bool = True
    delay_s: float = 0.0


Decide = Callable[[str, Any, CommandMeta], Answered]


class Responder:
    def __init__(self, pipeline: Pipeline, bootstrap_servers: str, decide: Decide) -> None:
        self._pipeline = pipeline
        self._decide = decide
        self._catalog = Catalog(pipeline, None)
        self._aggregate: AggregateType = next(iter(pipeline.aggregates.values()))
        common: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "retry.backoff.ms": 10, "log_level": 3}
        self._consumer = Consumer({**common, "group.id": f"responder-{uuid.uuid4()}", "enable.auto.commit": False})
        self._replies = Producer({**common, "linger.ms": 0})
        self._events = Producer({**common, "transactional.id": f"responder-{uuid.uuid4()}", "linger.ms": 0})
        self._terms: dict[int, int] = {}
        self.sequences: dict[str, int] = {}
        self.known: dict[bytes, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        topic = commands_topic(self._pipeline.name, self._aggregate.name)
        partitions = range(self._pipeline.settings.partitions)
        self._events.init_transactions(30)
        self._events.begin_transaction()
        for number in partitions:
            value = write_barrier(Barrier("responder", "responder", "test", "", "", 0, time.time_ns() // 1000))
            self._produce_event(number, barrier_key(uuid.uuid4()), value)
        self._events.flush(10)
        self._events.commit_transaction(10)
        self._consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._replies.flush(5)
        self._consumer.close()
        if self.failure is not None:
            raise self.failure

    def _serve(self) -> None:
        try:
            while not self._stopping.is_set():
                message = self._consumer.poll(0.05)
                if message is not None and message.error() is None:
                    self._take(message.partition() or 0, message.offset() or 0, message.key(), message.value())
        except BaseException as error:  # noqa: BLE001 - handed to the test, which raises it
            self.failure = error

    def _take(self, partition: int, offset: int, key: Any, value: Any) -> None:
        meta, _, command = self._catalog.command_reader(self._aggregate, value[:10])(value)
        aggregate_id = key.decode()
        if meta.id in self.known:
            self._answer(meta, Answered("duplicate"), self.known[meta.id], [])
            return
        decided = self._decide(aggregate_id, command, meta)
        self._stopping.wait(decided.delay_s)
        encoded = self._commit(partition, offset, aggregate_id, meta, decided) if decided.events else []
        if decided.answer:
            self._answer(meta, decided, self.sequences.get(aggregate_id, 0), encoded)

    def _commit(
        self, partition: int, offset: int, aggregate_id: str, meta: CommandMeta, decided: Answered
    ) -> list[bytes]:
        encoded = []
        self._events.begin_transaction()
        for index, event in enumerate(decided.events):
            sequence = self.sequences.get(aggregate_id, 0) + 1
            self.sequences[aggregate_id] = sequence
            write = self._catalog.event_writer(self._aggregate, type(event))
            now = time.time_ns() // 1000
            encoded.append(write(meta.id, None, None, offset, index, len(decided.events), now, bytes(8), event))
            self._produce_event(
                partition, event_key(aggregate_id.encode(), sequence, self._terms[partition]), encoded[-1]
            )
        self._events.commit_transaction(10)
        self.known[meta.id] = self.sequences[aggregate_id]
        return encoded

    def _produce_event(self, partition: int, key: bytes, value: bytes) -> None:
        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is None and partition not in self._terms:
                self._terms[partition] = message.offset()

        topic = events_topic(self._pipeline.name, self._aggregate.name)
        self._events.produce(topic, value, key, partition, on_delivery=delivered)

    def _answer(self, meta: CommandMeta, decided: Answered, sequence: int, encoded: list[bytes]) -> None:
        assert meta.reply_partition is not None
        reply = Reply(meta.id, decided.status, sequence, encoded, decided.reason, decided.details)
        self._replies.produce(replies_topic(self._pipeline.name), write_reply(reply), meta.id, meta.reply_partition)
        self._replies.poll(0)
