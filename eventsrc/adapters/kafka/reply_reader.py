"""Reads the answers to commands from one partition of the replies topic, from its end on.

The position is fixed before the first command names the partition: no answer can come before the reader is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, TopicPartition

from eventsrc.adapters.kafka.config import client_config
from eventsrc.adapters.kafka.connecting import kafka_log, partition_count, watermarks
from eventsrc.adapters.kafka.errors import is_about_unused_group, is_refused, refused
from eventsrc.adapters.kafka.rights import Right

_MOST_AT_ONCE = 1000


class ReplyReader:
    """`poll` on one thread. `choice` is any number: modulo the partition count it picks the partition."""

    def __init__(self, bootstrap_servers: str, kafka: Mapping[str, str] | None, topic: str, choice: int) -> None:
        self._kafka = dict(kafka or {})
        self._needed = Right("Read", "topic", topic, "answers are read")
        self._consumer = Consumer(
            {
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 10,
                **client_config(bootstrap_servers, kafka),
                "group.id": "eventsrc-replies",  # a name is wanted; no group is joined, nothing is committed
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
            },
            logger=kafka_log,
        )
        try:
            self.partition = choice % partition_count(self._consumer, topic, bootstrap_servers, self._kafka)
            _, end = watermarks(self._consumer, topic, self.partition, bootstrap_servers, self._kafka)
            self._consumer.assign([TopicPartition(topic, self.partition, end)])
        except BaseException:
            self._consumer.close()
            raise

    def poll(self, timeout_s: float) -> Sequence[bytes]:
        """The answers that have come, waiting up to `timeout_s` for a first one. Raises NotAuthorized."""
        messages = self._consumer.consume(1, timeout_s)
        if messages:
            messages += self._consumer.consume(_MOST_AT_ONCE, 0)
        values = []
        for message in messages:
            if (error := message.error()) is not None:
                if is_about_unused_group(error, message.topic()):
                    continue
                if is_refused(error):
                    raise refused(error, "reading answers", self._kafka, [self._needed])
                kafka_log.warning("replies: %s", error.str())
            elif (value := message.value()) is not None:
                values.append(value)
        return values

    def close(self) -> None:
        self._consumer.close()
