"""Puts commands into Kafka: idempotent, to an explicit partition, with only failures reported.

Knows bytes, topics and partitions; nothing of pipelines, answers or futures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.connecting import kafka_log, partition_count
from eventsrc.adapters.kafka.errors import is_refused
from eventsrc.adapters.kafka.rights import Right, not_authorized
from eventsrc.errors import NotAuthorized, Unreachable

_QUEUE_FULL_WAIT_S = 0.01

# The broker, or the library before it asked, refused the record: certain that nothing was written.
_REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD,
        KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.POLICY_VIOLATION,
        KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.INVALID_TIMESTAMP,
    }
)  # fmt: skip


class NotDelivered(NamedTuple):
    """A command that was not acknowledged. `certain`: it was never written; otherwise it may have been. `refusal`: it never
    will be, before a right is granted."""

    value: bytes
    certain: bool
    reason: str
    refusal: NotAuthorized | None = None


class CommandProducer:
    """`produce` from any thread; `on_failure` is called inside `poll`, which one thread calls often."""

    def __init__(
        self, bootstrap_servers: str, kafka: Mapping[str, str] | None, on_failure: Callable[[NotDelivered], None]
    ) -> None:
        self._bootstrap_servers, self._kafka = bootstrap_servers, dict(kafka or {})
        self._on_failure = on_failure
        self._topic = ""
        self._on_report = self._report  # bound once: thousands of commands wait at a time, each costs the collector
        self._producer = Producer(
            {
                "linger.ms": 1,
                "queue.buffering.max.kbytes": 262_144,
                **client_config(bootstrap_servers, kafka),
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "delivery.report.only.error": True,
            },
            logger=kafka_log,
        )

    def partition_count(self, topic: str) -> int:
        self._topic = topic
        return partition_count(self._producer, topic, self._bootstrap_servers, self._kafka)

    def produce(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        """Queue one command. Waits while the queue is full. Raises `Unreachable` or `NotAuthorized` where the library
        refuses it: nothing was sent."""
        self._topic = topic
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=self._on_report)
                return
            except BufferError:
                self.poll(_QUEUE_FULL_WAIT_S)
            except KafkaException as error:
                if is_refused(error.args[0]):
                    raise self._refusal(error.args[0], topic) from error
                raise Unreachable(f"the command was not sent: {error.args[0].str()}") from error

    def poll(self, timeout_s: float = 0.0) -> None:
        """Raises NotAuthorized where this user may write nothing at all: then nothing was sent."""
        try:
            self._producer.poll(timeout_s)
        except (KafkaException, SystemError) as failure:
            error = _fatal_in(failure)
            if error is not None and is_refused(error):
                raise self._refusal(error, self._topic) from failure
            raise

    def close(self) -> None:
        """Drop what is not acknowledged, reporting each as uncertain. A producer that was refused meanwhile has nothing
        left to report: `poll` or `produce` told the caller, or nothing was asked of it."""
        self._producer.purge()
        try:
            self._producer.flush(1.0)
        except (KafkaException, SystemError) as failure:
            if _fatal_in(failure) is None:
                raise

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            refusal = self._refusal(error, message.topic() or "") if is_refused(error) else None
            certain = error.code() in _REFUSALS
            self._on_failure(NotDelivered(message.value() or b"", certain, error.str(), refusal))

    def _refusal(self, error: KafkaError, topic: str) -> NotAuthorized:
        """Without any right to write, Kafka refuses the producer itself, and speaks of the cluster."""
        return not_authorized(self._kafka, [Right("Write", "topic", topic, "commands are sent")], error.str())


def _fatal_in(failure: Exception) -> KafkaError | None:
    """The library raises a fatal error in place of its reports, which may fail for it in turn."""
    error = failure if isinstance(failure, KafkaException) else failure.__cause__
    return error.args[0] if isinstance(error, KafkaException) else None
