"""A plain owner of one partition: consumer, transactional producer and the group metadata that fences it.

For showing at protocol level what the broker refuses and what it does not. A deposed owner is made without waiting: its
consumer leaves the group while its producer, and the metadata captured before, live on, as in a process that was
stopped and does not know yet.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.harness.collect import Reader
from tests.harness.evidence import LogRecord

PROMPT: dict[str, str | int | float | bool] = {"retry.backoff.ms": 5, "retry.backoff.max.ms": 20}


class LogLines(logging.Handler):
    """Collects librdkafka's log lines; `signs` are those that tell of an EndTxn that may still be on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def signs(self) -> list[str]:
        return [line for line in self.lines if "TxnCoordinator" in line and ("FAIL" in line or "REQTMOUT" in line)]


def transactional(
    bootstrap_servers: str, transactional_id: str, lines: logging.Handler | None = None, **config: str | int
) -> Producer:
    """A producer whose `init_transactions` has run: whoever held the id before is fenced. Underscores are dots."""
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap_servers,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": 60_000,
        "linger.ms": 0,
        "log_level": 6 if lines is not None else 0,
        **PROMPT,
        **{name.replace("_", "."): value for name, value in config.items()},
    }
    if lines is not None:
        logger = logging.Logger(transactional_id, logging.DEBUG)  # not registered: it ends with the test
        logger.addHandler(lines)
        settings["logger"] = logger
    producer = Producer(settings)
    producer.list_topics(timeout=30)
    producer.init_transactions(40)
    return producer


class Owner:
    """Owns partition 0 of `commands`, writes to partition 0 of `events`."""

    def __init__(
        self,
        bootstrap_servers: str,
        group: str,
        commands: str,
        events: str,
        *,
        isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    ) -> None:
        self.commands, self.events = commands, events
        self.transactional_id = f"{group}-{time.monotonic_ns()}"
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": isolation,
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
                "log_level": 0,
                **PROMPT,
            }
        )
        self.consumer.subscribe([commands])
        self.producer = transactional(bootstrap_servers, self.transactional_id)
        deadline = time.monotonic() + 40
        while not self.consumer.assignment():
            self.consumer.poll(0.02)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{group} gave no assignment")
        self.metadata = self.consumer.consumer_group_metadata()

    def depose(self) -> None:
        """Another member may take the partition over; the producer does not know it."""
        self.consumer.close()

    def committed(self, timeout_s: float = 30.0) -> int | None:
        """None where it did not answer: offsets are pending, and this reader asks for stable ones only."""
        try:
            return int(self.consumer.committed([TopicPartition(self.commands, 0)], timeout_s)[0].offset)
        except KafkaException as error:
            if error.args[0].code() in (KafkaError._TIMED_OUT, KafkaError.UNSTABLE_OFFSET_COMMIT):
                return None
            raise

    def write(self, *keys: str) -> None:
        """Within an open transaction; on the broker when this returns."""
        for key in keys:
            self.producer.produce(self.events, key=key.encode(), value=key.encode(), partition=0)
        self.producer.flush(30)

    def send_offset(self, position: int, metadata: Any = None) -> None:
        place = TopicPartition(self.commands, 0, position)
        self.producer.send_offsets_to_transaction([place], metadata or self.metadata, 30)

    def transaction(self, keys: Sequence[str], position: int) -> None:
        """Begin, write, send the offset, commit: raises what the first of them raises."""
        self.producer.begin_transaction()
        self.write(*keys)
        self.send_offset(position)
        self.producer.commit_transaction(30)


def seed(bootstrap_servers: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 0, "log_level": 0})
    for number in range(count):
        producer.produce(topic, b"command %d" % number, partition=0)
    producer.flush(30)


def visible(reader: Reader, topic: str) -> list[str]:
    return [key_of(record) for record in reader.read(topic)]


def key_of(record: LogRecord) -> str:
    return (record.key or b"").decode()


def code_of(error: KafkaException) -> int:
    return int(error.args[0].code())
