"""Reads events partitions during recovery: a consumer outside any group, committed records only."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from eventsrc.adapters.kafka.config import Config
from eventsrc.adapters.kafka.errors import access_denied, is_refused, translate
from eventsrc.engine.partition import PartitionKey
from eventsrc.model.position import Position

logger = logging.getLogger("eventsrc.kafka")

_PERMANENT = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._BAD_MSG})


def events_reader_config(common: Config, group_id: str) -> Config:
    """The group id is required by the client and never joined."""
    return {
        "fetch.wait.max.ms": 10,
        "fetch.message.max.bytes": 4_194_304,
        "queued.max.messages.kbytes": 65_536,
        **common,
        "group.id": group_id,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
    }


class EventsReader:
    """On the loop's thread. The client is made when first something is to be read."""

    def __init__(
        self, config: Config, topics: Mapping[str, str], on_partition_error: Callable[[PartitionKey, str], None]
    ) -> None:
        self._on_partition_error = on_partition_error
        self._config = config
        self._topics = topics
        self._aggregates = {topic: aggregate for aggregate, topic in topics.items()}
        self._reading: set[PartitionKey] = set()
        self._consumer: Consumer | None = None

    @property
    def active(self) -> bool:
        return bool(self._reading)

    def start(self, key: PartitionKey, position: Position) -> None:
        """Read from that position on, from there again if it was being read."""
        if self._consumer is None:
            self._consumer = Consumer(self._config, logger=logging.getLogger("eventsrc.librdkafka"))
            with contextlib.suppress(KafkaException):  # only speed: the first partitions wait for a metadata refresh
                self._consumer.list_topics(timeout=5.0)
        self.stop(key)
        self._consumer.incremental_assign([TopicPartition(self._topics[key.aggregate], key.number, position)])
        self._reading.add(key)

    def stop(self, key: PartitionKey) -> None:
        """Other partitions are read on."""
        if key in self._reading and self._consumer is not None:
            self._reading.discard(key)
            self._consumer.incremental_unassign([TopicPartition(self._topics[key.aggregate], key.number)])

    def poll(self, limit: int, timeout_s: float) -> dict[PartitionKey, list[Message]]:
        """What has arrived, by partition, in offset order. Raises AccessDenied."""
        if self._consumer is None:
            return {}
        try:
            messages = self._consumer.consume(1, timeout_s)
            if messages:
                messages += self._consumer.consume(limit - 1, 0)
        except KafkaException as exception:
            raise translate(exception, "reading events") from exception
        polled: dict[PartitionKey, list[Message]] = {}
        for message in messages:
            key = PartitionKey(self._aggregates.get(message.topic() or "", ""), message.partition() or 0)
            error = message.error()
            if error is not None:
                self._failed(key, error)
            elif key in self._reading:
                polled.setdefault(key, []).append(message)
        return polled

    def _failed(self, key: PartitionKey, error: KafkaError) -> None:
        if key in self._reading and is_refused(error):
            raise access_denied(error, "reading events")
        if key in self._reading and error.code() in _PERMANENT:
            self._on_partition_error(
                key,
                f"its events cannot be read: {error.str()}. The events topic was truncated, or a copy of it is damaged: "
                "restore it, and restart this worker",
            )
        else:
            logger.info("while reading events: %s: %s", error.name(), error.str())

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
            self._reading.clear()
